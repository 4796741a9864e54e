"""Run a command under a filter that denies system calls: `denied NUMBER,... ERRNO|kill COMMAND...`."""

from __future__ import annotations

import os
import sys

from tests.support import filters

if __name__ == "__main__":
    action = filters.KILL_PROCESS if sys.argv[2] == "kill" else filters.ERRNO | int(sys.argv[2])
    filters.install(filters.denying([int(number) for number in sys.argv[1].split(",")], action))
    os.execvp(sys.argv[3], sys.argv[3:])
