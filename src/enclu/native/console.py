"""Messages to people: one line each, on standard error."""

from __future__ import annotations

import contextlib
import os

STDERR = 2


def say(text: str) -> None:
    """Write `enclu: text`.  Past sys.stderr, which is None or broken where the program's user closed descriptor 2."""
    with contextlib.suppress(OSError):  # nobody is there to be told
        os.write(STDERR, f"enclu: {text}\n".encode(errors="backslashreplace"))


def null(descriptor: int, flags: int = os.O_RDWR) -> None:
    """Let a descriptor lead nowhere."""
    try:
        nowhere = os.open("/dev/null", flags | os.O_CLOEXEC)
    except OSError:
        nowhere = os.memfd_create("null", os.MFD_CLOEXEC)  # a chroot may have no /dev
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)
