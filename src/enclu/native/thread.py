"""A traced thread: one logical processor of the machine.  Implements `sgx.processor.Processor`."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NamedTuple

from enclu.base.protocol import Protocol
from enclu.native import extended_state, ptrace
from enclu.native.ptrace import NOTHING
from enclu.native.stop import Settled
from enclu.native.wait import ThreadGone
from enclu.sgx.enclave_mode import WORD, XSAVE, EnclaveMode
from enclu.sgx.exceptions import PFEC, PageFault
from enclu.sgx.processor import Access
from enclu.sgx.xsave import HEADER, Aside

if TYPE_CHECKING:
    from enclu.native.address_space import AddressSpace
    from enclu.native.debug_registers import Watch
    from enclu.native.process import Process
    from enclu.native.wait import Waiter
    from enclu.sgx.epc import EPCPage
    from enclu.sgx.machine import Machine

_GETREGS, _SETREGS = ptrace.Word(ptrace.GETREGS), ptrace.Word(ptrace.SETREGS)
XSTATE_BV = slice(HEADER, HEADER + 8)
RPL = 3
"""Of a selector, the bits of its requested privilege level."""
_ASIDE, _NARROW = WORD["ASIDE"], WORD["NARROW"]


class Debugger(Protocol):
    """A debugger of the run's programs."""

    def holds(self, thread: Thread, signo: int) -> bool:
        """The thread, about to go on, is to stay where it is; the debugger sees to it that it goes on."""

    def steps(self, thread: Thread) -> bool:
        """It is to execute one instruction, and stop."""


class Stepper(Protocol):
    """Who executes instructions of enclaves one by one."""

    def goes_on(self, thread: Thread) -> bool:
        """The thread is about to go on.  Whether it has, or is not to: nothing more is to be done about it then."""


class FramePatch(NamedTuple):
    """Corrections of a signal frame: trap number, error code and CR2, if they are not right."""

    trap: tuple[int, int, int] | None


class Thread:
    """One thread, stopped or running.  `regs` is current only while it is stopped and fetched.

    It has slots, for speed: what the path of an EENTER looks at are its attributes.
    """

    __slots__ = (
        "__weakref__",
        "blocked",
        "breakpoints",
        "call_abandoned",
        "deaf",
        "debugger",
        "delivering",
        "disarmed",
        "dispatching",
        "displaced",
        "exiting",
        "frame_patch",
        "in_process",
        "listening",
        "machine",
        "made_again",
        "mode",
        "own_arguments",
        "process",
        "put_off",
        "record",
        "regs",
        "regs_pointer",
        "regs_word",
        "settled",
        "slot",
        "stepper",
        "stopped",
        "taken_out",
        "tid",
        "to_syscall_exit",
        "undelivered",
        "user_dispatch",
        "waiter",
        "watches",
        "word",
    )

    def __init__(self, tid: int, process: Process, machine: Machine, slot: memoryview, waiter: Waiter) -> None:
        self.tid, self.process, self.machine, self.slot, self.waiter = tid, process, machine, slot, waiter
        self.mode = EnclaveMode(slot)
        self.regs = ptrace.UserRegs()
        self.stopped = False
        self.listening = False
        """It takes part in a stop of its process by SIGSTOP or the like, and has said so."""
        self.exiting = False
        """It will execute no more instructions: past its exit event, or killed."""
        self.deaf = False
        """It is at a stop from which no signal can be delivered, only sent, without its siginfo."""
        self.to_syscall_exit = False
        """It is to stop when the system call that it is about to make is over."""
        self.own_arguments: dict[str, int] = {}
        """Registers of the system call that it makes with others (see `native.calls`), with their values."""
        self.call_abandoned = False
        """The host kernel has made others in place of the system call that it was entering."""
        self.user_dispatch = b""
        """The configuration that the program gave PR_SET_SYSCALL_USER_DISPATCH, empty if none."""
        self.dispatching = False
        """The host kernel has it."""
        self.frame_patch: FramePatch | None = None
        """What to write into the signal frame that the kernel is about to build."""
        self.blocked = 0
        """Signals that can be forced upon it and that it has blocked, since its process uses SGX (`native.signals`)."""
        self.delivering = 0
        """A synchronous signal that it has been resumed with, until it has stopped at its handler."""
        self.made_again: tuple[int, ...] | None = None
        """Registers of a system call that it is to make once more (`native.ignored_signals`)."""
        self.undelivered = 0
        """A signal that its process was sent, and that it stopped for."""
        self.put_off: list[bytes] = []
        """siginfo of signals that came while the thread ran for the supervisor's own purposes."""
        self.record: tuple[int, int, int] | None = None
        """Trap number, error code and CR2 of its exception, once asked for: the kernel forgets them then."""
        self.in_process = False
        """It takes part in transitions in its own process (`native.in_process`)."""
        self.settled = Settled.NOTHING
        """How it was taken out of there when it stopped."""
        self.taken_out = 0
        """How often it was so where it would have made pages accessible (`native.own_aex`)."""
        self.disarmed: bytes | None = None
        """Its alternate signal stack (stack_t), if a frame for the machine's purposes has taken that away."""
        self.displaced: bytearray | None = None
        """Its extended state, where the host kernel has another until it runs again: see `native_fault`."""
        self.breakpoints: tuple[int, ...] = ()
        """What `native.debug_registers` has loaded."""
        self.watches: tuple[Watch, ...] = ()
        """The same, for a debugger."""
        self.debugger: Debugger | None = None
        """Who wants a say before it is resumed."""
        self.stepper: Stepper | None = None
        """Who decides what it executes in its enclave, and as what it leaves it."""
        self.regs_pointer = ctypes.addressof(self.regs)
        self.word, self.regs_word = ptrace.Word(tid), ptrace.Word(self.regs_pointer)

    def rename(self, tid: int) -> None:
        """It is known to the host kernel by another number since its exec."""
        self.tid = tid
        self.word = ptrace.Word(tid)

    @property
    def space(self) -> AddressSpace:
        return self.process.space

    def _check(self) -> None:
        """Nothing is to be done to what may have the thread's name after its death, by exec in another thread."""
        if self.exiting:
            raise ThreadGone

    def fetch(self) -> ptrace.UserRegs:
        """Read the registers of the stopped thread.  This and what follows raises ThreadGone if it has died."""
        self._check()
        if ptrace.raw(_GETREGS, self.word, NOTHING, self.regs_word):
            ptrace.ptrace(ptrace.GETREGS, self.tid, 0, self.regs_pointer)  # which tells the error
        in_process = self.process.space.in_process
        if in_process is not None:
            in_process.settle(self)
        return self.regs

    def store(self) -> None:
        """Write the registers back."""
        self._check()
        if ptrace.raw(_SETREGS, self.word, NOTHING, self.regs_word):
            self._privilege_selectors()
            ptrace.ptrace(ptrace.SETREGS, self.tid, 0, self.regs_pointer)

    def _privilege_selectors(self) -> None:
        """Give selectors that a program has loaded with another RPL than 3 that one: ptrace(2) takes no other (EIO)."""
        for name in ("ds", "es", "fs", "gs"):
            selector = getattr(self.regs, name)
            setattr(self.regs, name, selector | RPL if selector & ~RPL else 0)

    # The processor interface.

    @property
    def xcr0(self) -> int:
        return self.machine.layout.xcr0

    @property
    def xfd(self) -> int:
        return extended_state.not_granted(self)

    def xsave(self) -> bytearray:
        return ptrace.get_xstate(self.tid) if self.displaced is None else bytearray(self.displaced)

    def replace(self) -> None:
        """Give back extended state that was displaced."""
        if self.displaced is not None:
            self.xrstor(self.displaced)

    @property
    def aside(self) -> Aside | None:
        """Kept in the slot, where code in the process finds it."""
        components = self.mode.words[_ASIDE]
        if not components:
            return None
        return Aside(components, self.slot[XSAVE:])

    @aside.setter
    def aside(self, aside: Aside | None) -> None:
        if aside is None:
            self.mode.words[_ASIDE] = 0
            return
        self.slot[XSAVE : XSAVE + len(aside.image)] = aside.image
        self.slot[XSAVE + HEADER : XSAVE + HEADER + 8] = aside.in_use.to_bytes(8, "little")
        self.mode.words[_ASIDE] = self.mode.words[_NARROW] = aside.in_use

    def narrow(self, xfrm: int) -> None:
        self.replace()
        image = ptrace.borrow_xstate(self.word)
        used = int.from_bytes(image[XSTATE_BV], "little")
        if used & ~xfrm:
            self.aside = Aside(used & ~xfrm, image)
            image[XSTATE_BV] = (used & xfrm).to_bytes(8, "little")  # which makes the others initial
            ptrace.return_xstate(self.word)
        else:
            self.aside = None

    def widen(self, xfrm: int) -> None:
        self.replace()
        aside = self.aside
        if aside is not None:
            self.mode.words[_ASIDE] = 0
            self.machine.layout.give_back(ptrace.borrow_xstate(self.word), xfrm, aside)
            ptrace.return_xstate(self.word)

    def xrstor(self, image: bytes | bytearray) -> None:
        self.displaced = None
        ptrace.set_xstate(self.tid, image)

    def read(self, address: int, size: int) -> bytes:
        self.space.pid = self.tid
        try:
            return self.space.read(address, size)
        except OSError:
            raise PageFault(address, PFEC.U, "ordinary memory not readable") from None

    def write(self, address: int, data: bytes) -> None:
        self.space.pid = self.tid
        try:
            self.space.write(address, data)
        except OSError:
            raise PageFault(address, PFEC.U | PFEC.W, "ordinary memory not writable") from None

    def code_at(self, address: int, size: int) -> bytes:
        return self.space.peek(address, size)

    def translate(self, address: int, access: Access) -> EPCPage | None:
        page = self.process.space.kernel.translate(address, access)
        if page is None:
            try:
                self.read(address, 1)  # nothing mapped there is a fault of the page tables, not of the EPCM
            except PageFault as fault:
                fault.error_code |= access
                raise
        return page

    def touch(self, start: int, end: int) -> None:
        self.process.space.kernel.touch(start, end)

    def invalidate(self, page: EPCPage) -> None:
        self.space.kernel.invalidate(page)
