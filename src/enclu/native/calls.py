"""What a handler of a system call says that it means, and how that is done to the thread that makes it.

A handler gives the call's result; None if the host kernel is to make the call; `Instead` if it is to make it with
other arguments; `Again` if the thread is to make the call anew.  It neither finishes the call nor resumes the thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enclu.native.thread import Thread


class Instead:
    """The host kernel makes the call with these first arguments; the program finds its own in the registers then."""

    def __init__(self, *arguments: int) -> None:
        self.arguments = arguments


class Again:
    """There is no answer yet: the thread makes the call once more as soon as it goes on, and it is asked about then."""


Outcome = int | Instead | Again | None
Handler = Callable[["Thread"], Outcome]


def replace(thread: Thread, registers: tuple[str, ...], instead: Instead) -> None:
    """Give the call that the thread is entering its other arguments, in the registers of its kind of call."""
    changed = registers[: len(instead.arguments)]
    thread.own_arguments = {name: getattr(thread.regs, name) for name in changed}
    for name, value in zip(changed, instead.arguments, strict=True):
        setattr(thread.regs, name, value)
    thread.store()
    thread.to_syscall_exit = True


def give_back(thread: Thread) -> None:
    """The call is over, or has done its work: the thread gets its own arguments back."""
    own, thread.own_arguments = thread.own_arguments, {}
    put_arguments(thread, own)
    thread.to_syscall_exit = False


def put_arguments(thread: Thread, arguments: dict[str, int]) -> None:
    """Set registers of a stopped thread, which have been fetched."""
    if arguments:
        for name, value in arguments.items():
            setattr(thread.regs, name, value)
        thread.store()
