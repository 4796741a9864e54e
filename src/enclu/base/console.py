"""Messages to people: one line each, on standard error."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator

STDERR = 2
DEBUG = "ENCLU_DEBUG"
"""Environment variable: show where failures come from."""
PATIENCE = 2.0
"""Seconds that something may take before people are told what it is."""
SAVE_CURSOR, RESTORE_CURSOR, ERASE_TO_END = "\x1b7", "\x1b8", "\x1b[K"


def say(text: str) -> None:
    """Write `enclu: text`.  Past sys.stderr, which is None or broken where the program's user closed descriptor 2."""
    write(f"enclu: {text}\n")


def write(text: str) -> None:
    """All of `text`, also where the program has made standard error non-blocking."""
    data = text.encode(errors="backslashreplace")
    with contextlib.suppress(OSError):  # nobody is there to be told
        while data:
            try:
                data = data[os.write(STDERR, data) :]
            except BlockingIOError:
                select.select([], [STDERR], [])


def printable(text: str) -> str:
    """On one line: a process can call itself anything."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def offer(text: str) -> None:
    """`say`, unless that would have to wait: what is nice to know must hold nobody up."""
    poll = select.poll()
    poll.register(STDERR, select.POLLOUT)
    if [event for _, event in poll.poll(0)] == [select.POLLOUT]:
        say(text)


def null(descriptor: int, flags: int = os.O_RDWR) -> None:
    """Let a descriptor lead nowhere."""
    try:
        nowhere = os.open("/dev/null", flags | os.O_CLOEXEC)
    except OSError:
        nowhere = os.memfd_create("null", os.MFD_CLOEXEC)  # a chroot may have no /dev
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Tell what it is that takes so long, if it does, at a terminal; take it back afterwards."""
    if not os.isatty(STDERR) or os.environ.get("TERM", "dumb") == "dumb":
        yield
        return
    import threading

    done = threading.Event()

    def tell() -> None:
        if not done.wait(PATIENCE):
            write(f"{SAVE_CURSOR}enclu: {what} ...")
            done.wait()
            write(f"{RESTORE_CURSOR}{ERASE_TO_END}")

    teller = threading.Thread(target=tell, daemon=True)
    try:
        teller.start()
    except RuntimeError:  # no threads can be created here: nobody is told
        yield
        return
    try:
        yield
    finally:
        done.set()
        teller.join()


class Piecemeal:
    """Work that begins now and is done in pieces, between which the program runs: told in lines of their own.

    What stands on a terminal cannot be taken back when others may have written since.  So there is one line when the
    work takes too long, and at a terminal another whenever it has taken twice the time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._due = self._start + PATIENCE

    def done(self, how_far: Callable[[float], str]) -> None:
        """A piece is.  `how_far` makes the line, of the seconds that it took so far."""
        now = self._clock()
        if now < self._due:
            return
        taken = now - self._start
        offer(how_far(taken))
        self._due = now + taken if os.isatty(STDERR) else float("inf")
