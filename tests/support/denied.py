"""Run a command under a filter that denies system calls: `denied NUMBER,... ERRNO|kill COMMAND...`.

`NUMBER:FIRST` denies a call with this first argument alone.
"""

from __future__ import annotations

import os
import sys

from tests.support import filters

if __name__ == "__main__":
    action = filters.KILL_PROCESS if sys.argv[2] == "kill" else filters.ERRNO | int(sys.argv[2])
    what, _, first = sys.argv[1].partition(":")
    if first:
        filters.install(filters.denying_with(int(what), int(first), action))
    else:
        filters.install(filters.denying([int(number) for number in what.split(",")], action))
    os.execvp(sys.argv[3], sys.argv[3:])
