"""A thread of the agent, and the entries of enclaves on its stack."""

from __future__ import annotations

import os
import signal
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from enclu.host.channel import TURN_AGENT, Channel, Command
from enclu.host.errors import HostError
from enclu.host.events import EnclaveException, Event, Exit, Interrupted, Registers
from enclu.linux.delivery.usage import REGISTERS
from enclu.native.syscalls import NR
from enclu.sgx.structs import EncluLeaf

if TYPE_CHECKING:
    from enclu.host.process import Process

STACK = 8 << 20
"""Bytes of stack of each thread: enclaves put data there, too."""
INTERRUPT = signal.SIGRTMIN
"""Stops an enclave: the AEX that it causes is reported as Interrupted."""
_INTERRUPTED = 0
_AGAIN = 0.02
"""Seconds after which the interrupting signal is sent again, as it may have come where there was no enclave."""


class HostThread:
    """One thread of the agent.  Not to be used by two Python threads at once."""

    def __init__(self, process: Process, channel: Channel, stack: int) -> None:
        self.process = process
        self.channel = channel
        self.stack = stack
        """Where its stack ends."""
        self.entries: list[Entry] = []
        """Under way, the outermost first."""
        self.user = ""
        """Name of the Python thread that uses it, or used it last."""

    @property
    def tid(self) -> int:
        return int(self.channel.struct.tid)

    def syscall(self, name: str, *args: int) -> int:
        """Make a system call in the process.  Returns what it returns; raises OSError, ProcessDied."""
        result = self.channel.call(Command.SYSCALL, NR[name], *args)
        if -4096 < result < 0:
            raise OSError(-result, f"{name}: {os.strerror(-result)}")
        return result

    def enter(
        self, tcs: int, *, rdi: int = 0, rsi: int = 0, rdx: int = 0, r8: int = 0, r9: int = 0, r10: int = 0,
        timeout: float | None = None,
    ) -> Entry:  # fmt: skip
        """EENTER.  The entry stands at its first event.

        With `timeout` (seconds), an enclave that does not leave by itself in time is left by an AEX: the event is
        Interrupted.  Raises ProcessDied.
        """
        entry = Entry(self, tcs)
        entry._check_registers((rdi, rsi, rdx, r8, r9, r10))
        self.entries.append(entry)
        self.channel.struct.args[0] = tcs
        entry._go(Command.ENTER, (rdi, rsi, rdx, r8, r9, r10), timeout)
        return entry


class Entry:
    """An enclave was entered, and left at `event`; what it was entered from is kept until `close`."""

    event: Event

    def __init__(self, thread: HostThread, tcs: int) -> None:
        self.thread = thread
        self.tcs = tcs
        self._open = True

    @property
    def running(self) -> bool:
        """The enclave has not been left yet, as other threads than the entry's own may see."""
        return self.thread.entries[-1:] == [self] and self.thread.channel.struct.turn == TURN_AGENT

    def enter(
        self, *, rdi: int = 0, rsi: int = 0, rdx: int = 0, r8: int = 0, r9: int = 0, r10: int = 0,
        timeout: float | None = None,
    ) -> Event:  # fmt: skip
        """EENTER again, to the same TCS and with the stack as it was left: the way back from an OCALL."""
        self._go(Command.AGAIN, (rdi, rsi, rdx, r8, r9, r10), timeout)
        return self.event

    def resume(self, timeout: float | None = None) -> Event:
        """ERESUME.  Raises HostError under a design that has no way to do so."""
        if not self.thread.process.design.resumes:
            raise HostError(f"`{self.thread.process.delivery}` has no way to resume an enclave after an exception")
        self._go(Command.RESUME, None, timeout)
        return self.event

    def close(self) -> None:
        """Give up the stack frame; an enclave that stands at an AEX stays interrupted.  Nothing if closed already."""
        if not self._open:
            return
        self._check()
        self._open = False
        self.thread.entries.pop()
        self.thread.channel.call(Command.LEAVE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.thread.process.alive:
            self.close()

    def _check(self) -> None:
        if not self._open:
            raise HostError("the entry is closed")
        if self.thread.entries[-1] is not self:
            raise HostError("another entry on this thread was made later and is not closed")

    def _go(self, command: Command, inputs: tuple[int, ...] | None, timeout: float | None) -> None:
        self._check()
        channel = self.thread.channel
        if inputs is not None:
            self._check_registers(inputs)
            channel.struct.inputs[:] = [value & (1 << 64) - 1 for value in inputs]
        channel.give(command)
        if timeout is None:
            channel.await_turn()
        elif not channel.await_turn(time.monotonic() + timeout):
            while True:
                self.thread.process.interrupt(self.thread)
                if channel.await_turn(time.monotonic() + _AGAIN):
                    break
        self.event = self._read()

    def _check_registers(self, inputs: tuple[int, ...]) -> None:
        process = self.thread.process
        passed = process.design.registers
        lost = [name for name, value in zip(REGISTERS, inputs, strict=True) if value and name not in passed]
        if lost:
            raise HostError(
                f"`{process.delivery}` enters enclaves with {', '.join(passed)} only, not {', '.join(lost)}"
            )

    def _read(self) -> Event:
        struct = self.thread.channel.struct
        registers = Registers(*struct.out)
        leaf = struct.leaf
        if leaf == EncluLeaf.EEXIT:
            return Exit(registers)
        if leaf == _INTERRUPTED:
            return Interrupted(registers)
        return EnclaveException(struct.vector, struct.error_code, struct.address, EncluLeaf(leaf), registers)
