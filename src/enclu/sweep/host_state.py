"""The host's side of a call that stands interrupted, kept and brought back: shared memory, entries, the call itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from enclu.host.arena import Blocks
from enclu.host.errors import ProcessDied
from enclu.host.thread import STACK

if TYPE_CHECKING:
    from enclu.host.agent_process import AgentProcess
    from enclu.host.call import Call

_COPIED = (list, dict, set, bytearray)


def shared(process: AgentProcess) -> dict[int, bytes]:
    """The blocks of memory that host and enclave share, by address: all that the host has taken for itself."""
    arena = process.arena
    own = set(process.own_blocks)
    blocks = ((address, size) for address, size in arena.blocks if address not in own)
    return {address: process.memory.read(address, size) for address, size in blocks}


class OwnMemory:
    """What Python and the agent tell each other by, which lies where enclaves may write: as it is, to be compared."""

    def __init__(self, process: AgentProcess) -> None:
        self._process = process
        self._known = self._now()

    def _now(self) -> list[int]:
        return [int(thread.channel.struct.tid) for thread in (self._process.control, *self._process.threads)]

    @property
    def intact(self) -> bool:
        """Whether no enclave has overwritten it, as far as can be told."""
        now = self._now()
        return now[: len(self._known)] == self._known

    def check(self) -> None:
        """Raises ProcessDied where it is not: that process is of no use any more, and is ended."""
        if not self.intact:
            self._process.close()
            raise ProcessDied("the enclave has overwritten the host's own memory")


class HostState:
    """At an AEX of a call."""

    def __init__(self, call: Call, ursp: int, top: int) -> None:
        """`ursp` is GPRSGX.URSP, and `top` what it was at the call's first EENTER.

        In between, on the thread's stack, the enclave may have put something for its host.
        """
        self._call = call
        process = call.enclave.process
        self._process = process
        self._shared = shared(process)
        thread = call.thread
        self.stack = (ursp, process.memory.read(ursp, top - ursp)) if _between(ursp, top, thread.stack) else None
        """Where the agent itself has its stack until it enters the enclave again: `Stepping.arm` puts it back."""
        self._event = call.entry.event
        self._standing = thread.standing
        self._attributes = dict(vars(call))
        self._copies = {name: value.copy() for name, value in _containers(call)}

    def restore(self) -> None:
        """Raises ProcessDied."""
        call, memory = self._call, self._process.memory
        call.thread.leave(self._standing)
        self._give_back()
        vars(call).update(self._attributes)
        for name, value in _containers(call):
            if isinstance(value, list | bytearray):
                value[:] = self._copies[name]
            else:
                value.clear()
                value.update(self._copies[name])
        call.entry.event = self._event
        for address, content in self._shared.items():
            memory.write(address, content)

    def _give_back(self) -> None:
        """Blocks that the call has taken since."""
        blocks = self._call.blocks
        kept = set(self._copies["blocks"])
        extra = Blocks(self._process.arena)
        for address in [address for address in blocks if address not in kept]:
            blocks.remove(address)
            extra.append(address)
        extra.give_back()


def _between(ursp: int, top: int, stack: int) -> bool:
    return stack - STACK < ursp < top < stack


def _containers(call: Call) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in vars(call).items() if isinstance(value, _COPIED))
