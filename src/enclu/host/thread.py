"""A thread of the agent, and the entries of enclaves on its stack.

An exception (of a signal's handler, KeyboardInterrupt before all) may break into Python between any two bytecodes,
here, too.  What the agent does is therefore told by what it wrote itself: whose turn it is, and how many of its frames
there are.  Who is broken into has the agent stop what it was doing.  Should that be broken into as well, it is done by
the next who uses the thread: a command or a call whose Python frame is no longer being executed is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from enclu.base.abi import NR
from enclu.host.arena import Arena, Blocks
from enclu.host.channel import INTERRUPTED, TURN_AGENT, Channel, Command
from enclu.host.delay import STEP, Delay
from enclu.host.errors import HostError, ProcessDied
from enclu.host.events import EnclaveException, Event, Exit, Interrupted
from enclu.host.frames import Registers
from enclu.linux.delivery.usage import REGISTERS
from enclu.sgx.structs import EncluLeaf

if TYPE_CHECKING:
    from enclu.host.designs import Design
    from enclu.host.guard import Guard

STACK = 8 << 20
"""Bytes of stack of each thread: enclaves put data there, too."""
INTERRUPT = signal.SIGRTMIN
"""Stops an enclave: the AEX that it causes is reported as Interrupted.  System calls go on, or begin again."""
BREAK = signal.SIGRTMIN + 1
"""Stops a system call: EINTR."""
_ENTRIES = frozenset({Command.ENTER, Command.AGAIN, Command.RESUME})
_AGAIN = 0.02
"""Seconds after which a signal is sent again, as it may have come too early for what it was to stop."""
_MASK = (1 << 64) - 1
_T = TypeVar("_T")


def executing(frame: FrameType | None) -> bool:
    """Whether a frame, of a function that is no generator, is executed by any Python thread.

    Frames that are executed cannot be cleared, and the others are of no use any more.  Looking for it from
    sys._current_frames() on could wait for ever for a thread that ends.
    """
    if frame is None:
        return False
    try:
        frame.clear()
    except RuntimeError:
        return True
    return False


class Owner(Protocol):
    """The process, as its threads know it."""

    arena: Arena
    delivery: str
    design: Design
    stepping: bool

    @property
    def pid(self) -> int: ...

    @property
    def alive(self) -> bool: ...

    def check(self) -> None:
        """Raises HostError, ProcessDied where there is none to give commands to."""

    def interrupt(self, thread: HostThread, signo: int = INTERRUPT) -> None:
        """Send the thread a signal."""


class CallUnderWay(Protocol):
    """An ECALL, as the thread knows it that it is made on, and other calls of the same enclave."""

    thread: HostThread
    tcs: int
    depth: int
    frame: FrameType | None
    leased: list[int]
    tokens: list[Guard]
    blocks: Blocks
    entry: Entry
    """Once the enclave has been entered."""

    @property
    def enclave(self) -> object: ...

    def left(self) -> float | None:
        """Seconds until it shall be over; None for any time."""

    def close(self) -> None:
        """Give back what it holds."""


class HostThread:
    """One thread of the agent.  Not to be used by two Python threads at once."""

    def __init__(self, process: Owner, channel: Channel, stack: int) -> None:
        self.process = process
        self.channel = channel
        self.stack = stack
        """Where its stack ends."""
        self.entries: list[Entry] = []
        """Under way, the outermost first."""
        self.calls: list[CallUnderWay] = []
        """ECALLs under way, the outermost first; the last ones perhaps no longer executed: `tidy`."""
        self.user = ""
        """Name of the Python thread that uses it, or used it last."""
        self.kept = Blocks(process.arena)
        """Memory that a system call may still be using which was broken into."""
        self._delay: Delay | None = None
        """Once it was asked for."""
        self._command: FrameType | None = None
        """Who waits for a command, from before it is given until its results are read."""

    @property
    def tid(self) -> int:
        return int(self.channel.struct.tid)

    @property
    def depth(self) -> int:
        """How many entries there are, as the agent says."""
        self._await_leave()
        return int(self.channel.struct.depth)

    @property
    def broken(self) -> bool:
        """Whether it has a command for which nobody waits any more."""
        return self._command is not None and not executing(self._command)

    def free(self) -> bool:
        """Tidied, and not waiting for a command."""
        self.tidy()
        return self._command is None

    def syscall(self, name: str | int, *args: int) -> int:
        """Make a system call in the process, by name or number.  Returns what it returns.

        Raises OSError, ProcessDied; HostError for a name that is not in `base.abi.NR`.
        """
        number = name if isinstance(name, int) else NR.get(name)
        if number is None:
            raise HostError(f"the system call {name!r} is not known by name: give its number")
        if len(args) > 6:
            raise HostError(f"{name}: a system call has six arguments, not {len(args)}")
        result = self.do(Command.SYSCALL, number, *args)
        if -4096 < result < 0:
            raise OSError(-result, f"{name}: {os.strerror(-result)}")
        return result

    def enter(
        self, tcs: int, *, rdi: int = 0, rsi: int = 0, rdx: int = 0, r8: int = 0, r9: int = 0, r10: int = 0,
        timeout: float | None = None,
    ) -> Entry:  # fmt: skip
        """EENTER.  The entry stands at its first event.

        With `timeout` (seconds), an enclave that does not leave by itself in time is left by an AEX: the event is
        Interrupted.  An exception that breaks in leaves the enclave by an AEX, too, and there is no entry.  Raises
        ProcessDied.
        """
        entry = Entry(self, tcs)
        inputs = entry._inputs((rdi, rsi, rdx, r8, r9, r10))
        self.tidy()
        before = self.standing
        self.entries.append(entry)
        try:
            entry._go(Command.ENTER, inputs, timeout, tcs)
        except BaseException:
            self.leave(before)
            raise
        return entry

    def do(self, command: Command, *args: int) -> int:
        """Have the agent do a command; its result.  Raises ProcessDied."""
        return self.command(command, args, None, None, lambda: int(self.channel.struct.result))

    def command(
        self, command: Command, args: tuple[int, ...], inputs: tuple[int, ...] | None, timeout: float | None,
        read: Callable[[], _T],
    ) -> _T:  # fmt: skip
        """The one way in which commands are given; what `read` finds when it is done.

        After `timeout` seconds an enclave is interrupted; of a process that steps, those do not count in which others
        had the processor.  Raises ProcessDied; HostError if the thread waits for another command already, into which a
        signal's handler has broken.
        """
        self.process.check()
        if self._command is not None:
            self.tidy()
            if self._command is not None:
                raise HostError("the thread is waiting for the agent: a signal's handler has broken into that")
        channel = self.channel
        self._await_leave()
        self._command = sys._getframe()
        try:
            for i, value in enumerate(args):
                channel.struct.args[i] = value & _MASK
            if inputs is not None:
                channel.struct.inputs[:] = inputs
            channel.give(command)
            if timeout is None:
                channel.await_turn()
            elif not self._await(timeout):
                self._stop()
            result = read()
        except ProcessDied:
            self._command = None
            raise
        except BaseException:
            self._settle()
            raise
        self._command = None
        return result

    def clock(self) -> float:
        """Seconds, of which limits are made.  See `command`."""
        now = time.monotonic()
        if not self.process.stepping:
            return now
        if self._delay is None:
            self._delay = Delay(self.process.pid, self.tid)
        return now - self._delay.seconds

    def _await(self, timeout: float) -> bool:
        """Wait for the agent to have done its command; False if the time has come before."""
        end, left = self.clock() + timeout, timeout
        while not self.channel.await_turn(time.monotonic() + left):
            left = end - self.clock()
            if left < STEP:
                return False
        return True

    def tidy(self) -> None:
        """Give back what Python has left that was broken into, and is not executed any more."""
        if self.broken:
            self._settle()
        while self.calls and not executing(self.calls[-1].frame):
            self.calls[-1].close()
        while self.entries and not self.entries[-1].known and not executing(self.entries[-1].maker):
            self.leave((len(self.entries) - 1, self.entries[-1].depth))

    @property
    def standing(self) -> tuple[int, int]:
        """How many entries there are, as is known here, and as the agent says: what `leave` goes back to."""
        return len(self.entries), self.depth

    def settle(self) -> None:
        """If the agent is still doing what it was told by somebody who was broken into, have it stop."""
        if self._command is not None:
            self._settle()

    def leave(self, before: tuple[int, int]) -> None:
        """Give up all entries but those of `standing` before.  May be broken into, and called again."""
        count, depth = before
        with contextlib.suppress(ProcessDied):
            if self.process.alive:
                self.settle()
                while self.depth > depth + 1:
                    self.do(Command.LEAVE)
                if self.depth > depth:
                    self.channel.give(Command.LEAVE)  # nobody waits: who gives the next command does
        while len(self.entries) > count:
            self.entries[-1].open = False
            self.entries.pop()

    def _await_leave(self) -> None:
        """Without a command, all that the agent may be doing is to leave an entry."""
        if self._command is None and self.channel.struct.turn == TURN_AGENT:
            self.channel.wake()
            self.channel.await_turn()

    def _settle(self) -> None:
        """Whatever the agent was doing, it waits for a command afterwards."""
        try:
            self.channel.wake()
            if self._stop():
                # A signal that came too late for what it was to stop is over before anything else begins.
                self.channel.struct.args[0] = NR["getpid"]
                self.channel.give(Command.SYSCALL)
                self.channel.await_turn()
        except ProcessDied:
            self._command = None
            return
        self._command = None
        self.kept.give_back()

    def _stop(self) -> bool:
        """Interrupt an enclave or system call until the turn is here again; whether a signal was needed."""
        sent = False
        while not self.channel.await_turn(time.monotonic() + _AGAIN * sent):
            signo = INTERRUPT if self.channel.struct.command in _ENTRIES else BREAK
            self.process.interrupt(self, signo)
            sent = True
        return sent


class Entry:
    """An enclave was entered, and left at `event`; what it was entered from is kept until `close`."""

    event: Event

    def __init__(self, thread: HostThread, tcs: int) -> None:
        self.thread = thread
        self.tcs = tcs
        self.depth = thread.depth
        """How many entries the agent had before it."""
        self.open = True
        self.maker: FrameType | None = sys._getframe(1)
        """What has it until the enclave was entered and left."""

    @property
    def known(self) -> bool:
        """Whether the enclave was entered and left."""
        return self.maker is None

    @property
    def running(self) -> bool:
        """The enclave has not been left yet, as other threads than the entry's own may see."""
        return self.thread.entries[-1:] == [self] and self.thread.channel.struct.turn == TURN_AGENT

    def enter(
        self, *, rdi: int = 0, rsi: int = 0, rdx: int = 0, r8: int = 0, r9: int = 0, r10: int = 0,
        timeout: float | None = None,
    ) -> Event:  # fmt: skip
        """EENTER again, to the same TCS and with the stack as it was left: the way back from an OCALL."""
        self._check()
        self._go(Command.AGAIN, self._inputs((rdi, rsi, rdx, r8, r9, r10)), timeout)
        return self.event

    def resume(self, timeout: float | None = None) -> Event:
        """ERESUME, with registers as at the AEP: an enclave that is notified of the AEX sees them.

        Raises HostError under a design that has no way to do so.
        """
        if not self.thread.process.design.resumes:
            raise HostError(f"`{self.thread.process.delivery}` has no way to resume an enclave after an exception")
        self._check()
        self._go(Command.RESUME, (0,) * len(REGISTERS), timeout)
        return self.event

    def close(self) -> None:
        """Give up the stack frame; an enclave that stands at an AEX stays interrupted.  Nothing if closed already."""
        if not self.open:
            return
        self._check()
        self.thread.leave((len(self.thread.entries) - 1, self.depth))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.thread.process.alive:
            self.close()

    def _check(self) -> None:
        self.thread.tidy()
        if not self.open:
            raise HostError("the entry is closed")
        if self.thread.entries[-1] is not self:
            raise HostError("another entry on this thread was made later and is not closed")

    def _go(self, command: Command, inputs: tuple[int, ...] | None, timeout: float | None, *args: int) -> None:
        try:
            self.thread.command(command, args, inputs, timeout, self._read)
        except BaseException:
            if self.known and self.thread.process.alive:
                self._read()
            raise

    def _inputs(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """Registers as they are passed.  Raises HostError for one that the design does not pass."""
        process = self.thread.process
        passed = process.design.registers
        lost = [name for name, value in zip(REGISTERS, inputs, strict=True) if value and name not in passed]
        if lost:
            raise HostError(
                f"`{process.delivery}` enters enclaves with {', '.join(passed)} only, not {', '.join(lost)}"
            )
        return tuple(value & _MASK for value in inputs)

    def _read(self) -> None:
        """The event, from the channel."""
        struct = self.thread.channel.struct
        registers = Registers(*struct.out)
        leaf = struct.leaf
        event: Event
        if leaf == EncluLeaf.EEXIT:
            event = Exit(registers)
        elif leaf == INTERRUPTED:
            event = Interrupted(registers)
        else:
            event = EnclaveException(struct.vector, struct.error_code, struct.address, EncluLeaf(leaf), registers)
        self.event = event
        self.maker = None
