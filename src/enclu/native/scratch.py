"""What the arguments of the machine's own system calls point to.

It is put into the scratch memory of the address space right before the call, and read right after it.  The supervisor
makes one call after the other, so it is one thread's at a time, and nobody's while threads run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from enclu.native.address_space import SCRATCH

if TYPE_CHECKING:
    from enclu.native.address_space import AddressSpace

Argument = int | bytes | bytearray
"""Of a system call: a number; or what it gets a pointer to, which of a bytearray it changes."""
FIRST = SCRATCH
"""Where the first that is no number is, for what points to itself."""
_ALIGNMENT = 16
_WORD = (1 << 64) - 1


def _placed(arguments: Sequence[Argument]) -> list[int]:
    """Each as a register has it."""
    words, at = [], FIRST
    for argument in arguments:
        if isinstance(argument, int):
            words.append(argument & _WORD)
        else:
            words.append(at)
            at += -(-len(argument) // _ALIGNMENT) * _ALIGNMENT
    return words


def put(space: AddressSpace, arguments: Sequence[Argument]) -> list[int]:
    """What the registers of the call are to have.  Raises OSError where there is no scratch memory any more."""
    words = _placed(arguments)
    for argument, address in zip(arguments, words, strict=True):
        if not isinstance(argument, int):
            space.poke(address, bytes(argument))
    return words


def fill(space: AddressSpace, arguments: Sequence[Argument]) -> None:
    """After the call: what it has changed.  Where there is no scratch memory any more, nothing."""
    for argument, address in zip(arguments, _placed(arguments), strict=True):
        if isinstance(argument, bytearray):
            argument[:] = space.peek(address, len(argument)) or argument
