"""The `enclu` command.

Nothing is imported here that takes time or may fail: that is done where failures are told in one line.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

# First of all: Ctrl-C ends enclu as it ends any program, without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from enclu.base import console

LEAST_MEMORY = 64 << 20
"""Bytes of address space.  With less, a library that enclu loads may abort without a word."""


def main() -> None:
    """The command line."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_MEMORY:
        console.say(f"too little memory: {limit >> 20} MiB; raise it with `ulimit -v`")
        sys.exit(125)
    try:
        from enclu.cli import commands
    except (ImportError, OSError, MemoryError) as error:
        if os.environ.get(console.DEBUG):
            raise
        console.say(f"cannot load: {error}; too little memory (ulimit -v), or to be installed again?")
        sys.exit(125)
    sys.exit(commands.main())


if __name__ == "__main__":
    main()
