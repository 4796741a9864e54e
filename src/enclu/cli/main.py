"""The `enclu` command.

Nothing is imported here that takes time or may fail: that is done where failures are told in one line.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys

# First of all: Ctrl-C ends enclu as it ends any program, without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Python takes what fits of a compiled module for the whole of it, and so do all who import it later.
if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
    sys.dont_write_bytecode = True

from enclu.base import console

LEAST_MEMORY = 64 << 20
"""Bytes of address space.  With less, a library that enclu loads may abort without a word."""


def main() -> None:
    """The command line."""
    sys.exit(_main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_MEMORY:
        console.say(f"too little memory: {limit >> 20} MiB; raise it with `ulimit -v`")
        return 125
    try:
        # A run without options has no need of the library that parses them, which takes as long to load as Python.
        plain = len(words) > 1 and words[0] == "run" and not words[1].startswith("-")
        if plain:
            gc.disable()  # all that is loaded now stays; `report.supervise` switches it on
            from enclu.cli.start import start
        else:
            from enclu.cli import commands
    except (ImportError, OSError, MemoryError) as error:
        if os.environ.get(console.DEBUG):
            raise
        console.say(f"cannot load: {error}; too little memory (ulimit -v), or to be installed again?")
        return 125
    try:
        return start(words[1], words[2:]) if plain else commands.main()
    except Exception as error:
        from enclu.cli import report

        report.failure(error)
        return 125


if __name__ == "__main__":
    main()
