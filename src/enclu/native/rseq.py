"""Restartable sequences (rseq(2)) of a stopped thread that is sent elsewhere for the machine's sake.

A thread that was off the processor within such a sequence must go on at the sequence's abort handler.  The kernel sees
to it on the way back to user mode, by the instruction pointer.  Where that is ours meanwhile, the kernel takes the
sequence for left, and forgets it (rseq_ip_fixup() in kernel/rseq.c); so the same is done before.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING

from enclu.native import ptrace

if TYPE_CHECKING:
    from enclu.native.thread import Thread

_GET_CONFIGURATION = 0x420F
"""PTRACE_GET_RSEQ_CONFIGURATION."""
_CONFIGURATION = struct.Struct("<QIIII")
"""struct ptrace_rseq_configuration: rseq_abi_pointer, rseq_abi_size, signature, flags and pad."""
_RSEQ_CS = 8
"""offsetof(struct rseq, rseq_cs)."""
_CS = struct.Struct("<IIQQQ")
"""struct rseq_cs: version, flags, start_ip, post_commit_offset and abort_ip."""
_SIGNATURE_SIZE = 4
_NO_SEQUENCE = bytes(8)
_buffer = ctypes.create_string_buffer(_CONFIGURATION.size)
_ARGUMENTS = ptrace.Word(_GET_CONFIGURATION), ptrace.Word(len(_buffer)), ptrace.Word(ctypes.addressof(_buffer))


def abort(thread: Thread) -> None:
    """If the stopped thread, whose registers are fetched, is within a sequence: it is at its abort handler afterwards.

    Left to the kernel is what it kills a thread for: no signature before the handler, an unknown version, flags (which
    before Linux 6.1 ask for no abort); and everything before Linux 5.13, which does not tell where the sequence is.
    """
    request, size, where = _ARGUMENTS
    if ptrace.raw(request, thread.word, size, where) != _CONFIGURATION.size:
        return
    area, _, signature, _, _ = _CONFIGURATION.unpack(_buffer.raw)
    if not area:
        return
    space, regs = thread.space, thread.regs
    pointer = space.peek(area + _RSEQ_CS, 8)
    if pointer in (b"", _NO_SEQUENCE):
        return
    sequence = space.peek(int.from_bytes(pointer, "little"), _CS.size)
    if len(sequence) != _CS.size:
        return
    version, flags, start, length, handler = _CS.unpack(sequence)
    if version or flags or not 0 <= regs.rip - start < length:
        return
    if space.peek(handler - _SIGNATURE_SIZE, _SIGNATURE_SIZE) != signature.to_bytes(_SIGNATURE_SIZE, "little"):
        return
    space.poke(area + _RSEQ_CS, _NO_SEQUENCE)
    regs.rip = handler
