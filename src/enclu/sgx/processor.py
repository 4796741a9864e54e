"""The protocols by which a processor and the kernel know each other: `native` and `linux` by nothing else.

A logical processor is registers, segment bases, extended state and memory at linear addresses; nothing here
knows of ptrace, threads or file descriptors.  `native` implements `Processor`, `AddressSpace`, `EnclaveMemory`,
`Execution` and (with `run`, which knows all threads) `Processors`; the tests implement them in memory.  `linux`
implements `KernelSide` and `ShownEnclave`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from enclu.base.protocol import Protocol
from enclu.sgx.exceptions import PFEC

if TYPE_CHECKING:
    from enclu.sgx.enclave_mode import EnclaveMode
    from enclu.sgx.epc import EPCPage
    from enclu.sgx.exceptions import Fault
    from enclu.sgx.machine import Machine
    from enclu.sgx.xsave import Aside


RFLAGS_TF = 1 << 8
"""Trap flag: #DB behind the next instruction."""
RFLAGS_RF = 1 << 16
"""Resume flag: the next instruction meets no breakpoint."""


class Access(enum.IntEnum):
    """A kind of memory access, valued as the bits it contributes to a page-fault error code."""

    READ = 0x0
    WRITE = 0x2
    FETCH = 0x10


def access_of(code: int) -> Access:
    """The kind of access that a page-fault error code tells."""
    return Access.WRITE if code & PFEC.W else Access.FETCH if code & PFEC.I else Access.READ


class Registers(Protocol):
    """The user-visible registers, each an unsigned 64-bit number."""

    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    rbp: int
    rsp: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int
    rflags: int
    fs_base: int
    gs_base: int

    def clear(self) -> None:
        """Make all general-purpose registers 0."""


class Signal(NamedTuple):
    """A signal with what its siginfo says: si_signo, si_code and si_addr."""

    signo: int
    code: int
    address: int = 0
    trap: tuple[int, int, int] | None = None
    """Trap number, error code and CR2 of the exception behind it, as a handler finds them in its ucontext."""


class Processor(Protocol):
    """A logical processor in user mode (CPL 3, 64-bit mode)."""

    machine: Machine
    mode: EnclaveMode
    aside: Aside | None
    """What XCR0 has and XFRM has not, while in an enclave; None where nothing of it was in use."""

    @property
    def regs(self) -> Registers:
        """The registers, live: what is stored there is what the processor goes on with."""

    @property
    def xcr0(self) -> int:
        """XCR0 as the operating system set it: the extended state the XSAVE image can hold."""

    @property
    def xfd(self) -> int:
        """IA32_XFD: components of XCR0 the use of which is #NM, for the operating system has not granted them."""

    def read(self, address: int, size: int) -> bytes:
        """Read ordinary (non-EPC) memory as user mode would.  Raises PageFault."""

    def write(self, address: int, data: bytes) -> None:
        """Write ordinary (non-EPC) memory as user mode would.  Raises PageFault."""

    def translate(self, address: int, access: Access) -> EPCPage | None:
        """Walk the page tables for one user-mode access: the EPC page, or None for ordinary memory.

        Raises PageFault (never with the SGX bit) when the page tables forbid the access.  The EPCM check is
        the caller's.
        """

    def touch(self, start: int, end: int) -> None:
        """It accesses enclave pages itself that it has translated: the page tables have [start, end) from then on."""

    def xsave(self) -> bytearray:
        """The extended state as a standard-format XSAVE image (SDM 1 section 13.4)."""

    def narrow(self, xfrm: int) -> None:
        """XCR0 := XFRM.  Hardware has no access to what is outside then; here it is put `aside`, and initial inside."""

    def widen(self, xfrm: int) -> None:
        """XCR0 as it was at the entry: what was put aside is given back, whatever has become of it since."""

    def xrstor(self, image: bytes | bytearray) -> None:
        """Load extended state from a standard-format XSAVE image."""

    def invalidate(self, page: EPCPage) -> None:
        """The EPCM entry of `page` changed: forget translations that were made from it."""

    def code_at(self, address: int, size: int) -> bytes:
        """Instructions as the processor executes them, whatever protects them; fewer bytes where nothing is mapped."""


class SupervisedProcessor(Processor, Protocol):
    """A logical processor, with what the kernel asks of it."""

    def error_code(self) -> int:
        """What the processor pushed for the page fault that it has just taken.  Lost with the next change of memory."""

    def reachable(self, address: int) -> bool:
        """Nothing but the protection that `AddressSpace` was asked for keeps user mode from the address."""

    def host_call(self, nr: int, *arguments: int | bytes | bytearray) -> int:
        """Have the host kernel make a system call for the program; its raw result, negative errno on failure.

        What is no number, the call gets a pointer to; it fills a bytearray.
        """

    def through_abort_page(self, address: int, meets: Callable[[int, Access], bool]) -> Signal | None:
        """Execute the instruction at RIP, for which `address`, and whatever else `meets` says, is the abort page.

        The exception that it has instead, if it has one, as the signal that this is for ordinary code; the processor
        has not moved then.  Raises OSError where this cannot be done.
        """


class UserMemory(Protocol):
    """A program's memory as copy_from_user and copy_to_user see it: every failure is OSError EFAULT."""

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...

    def read_into(self, address: int, view: memoryview) -> None: ...

    def untouched(self, start: int, end: int) -> Callable[[int, int], bool]:
        """Who says, for the time of one call, which whole pages [low, high) of [start, end) read as zero.

        False is no more than that it is not known without reading them.
        """


class PageTables(Protocol):
    """The page tables of one memory map, as far as enclaves use them."""

    def protect(self, start: int, end: int, prot: int) -> None:
        """Let [start, end) be accessed with PROT_* `prot` only.  Raises OSError."""

    def protect_all(self, ranges: Sequence[tuple[int, int]], prot: int) -> None:
        """The same of several ranges.  Raises OSError, when it may have been done to some."""

    def remap(self, start: int, end: int, fd: int, offset: int) -> None:
        """Map [start, end) on an enclave's memory from `offset` on, without access.  Raises OSError.

        `fd` is a descriptor that the program has of the enclave.
        """

    def executable(self, address: int) -> bool:
        """Something is mapped at the address, and user mode may execute it."""


class AddressSpace(UserMemory, PageTables, Protocol):
    """A program's memory as a whole."""

    @property
    def own_memory(self) -> tuple[int, int]:
        """[start, end) of what the machine keeps in it, which the program leaves alone."""

    @property
    def own_image(self) -> tuple[int, int]:
        """The part of it that is the vDSO image, which may be changed while it can be executed."""

    def peek(self, address: int, size: int) -> bytes:
        """Bytes at `address`, whatever protects them; fewer or none where nothing is mapped."""


class KernelSide(Protocol):
    """What a processor asks of the kernel, for one memory map."""

    def translate(self, address: int, access: Access) -> EPCPage | None:
        """See `Processor.translate`.  Memory that is no enclave's need not be there."""

    def touch(self, start: int, end: int) -> None:
        """See `Processor.touch`."""

    def allowed(self, address: int) -> int:
        """PROT_* that mapping and EPCM allow the page at an address."""

    def wanted(self, address: int) -> int:
        """PROT_* that the page tables are to grant there now."""

    def shown(self, address: int) -> int:
        """PROT_* that they grant there at present."""

    def hardware_code(self, address: int, code: int) -> int:
        """The error code of SGX hardware, where page tables made from mapping and EPCM refused with `code`."""

    def invalidate(self, page: EPCPage) -> None:
        """See `Processor.invalidate`."""

    def signal_of(self, fault: Fault, cpu: Processor) -> Signal:
        """The signal that an exception becomes which nothing resolves."""


WINDOW = 1 << 36
"""Bytes of an enclave's memory that can be seen at once: an ELRANGE may be larger than what is left of addresses."""


class ShownEnclave(Protocol):
    """An enclave as who executes it sees it.  Pages go by their index: linear address / 4096."""

    @property
    def eid(self) -> int: ...

    @property
    def xfrm(self) -> int: ...

    def epc_page(self, index: int) -> EPCPage | None:
        """The page, if it is in the EPC."""

    def content(self, low: int, high: int) -> memoryview:
        """The bytes of pages [low, high), all of which are in the EPC."""

    def is_shown(self, index: int) -> bool:
        """Some page tables grant something of the page."""

    def show(self, index: int) -> None:
        """Have all page tables agree with mapping, EPCM and `Execution.granted`."""


class Execution(Protocol):
    """Who says, of an enclave, which pages its processors may execute at the moment."""

    def granted(self, tables: PageTables, index: int, page: EPCPage, prot: int) -> int:
        """What these page tables may show of PROT_* `prot`, which VMA and EPCM allow.  The rest comes on a fault."""

    def settle(self) -> None:
        """The page tables have what was `granted`."""

    def changed(self, index: int) -> None:
        """The page's bytes have been changed by none of its processors."""

    def gone(self) -> None:
        """The enclave is no more."""


class EnclaveMemory(Protocol):
    """The bytes behind an enclave's pages, which processors map."""

    def resize(self, size: int) -> None:
        """Make it so many bytes, all zero, none of which takes memory yet.  Raises OSError."""

    def view(self, offset: int, size: int) -> memoryview:
        """Bytes of it, which reach across no multiple of `WINDOW`.  Raises OSError where it cannot be shown."""

    def write(self, offset: int, data: memoryview) -> Callable[[], object]:
        """Store bytes, by the time that `settle` returns; nobody looks at them before.

        `data` is not changed either, unless what this gives has been called, which waits until that may be.
        """

    def settle(self) -> None: ...

    def discard(self, offset: int, size: int) -> None: ...

    def close(self) -> None: ...


class Processors(Protocol):
    """All logical processors."""

    def kick(self, eid: int) -> None:
        """Inter-processor interrupt: every processor in this enclave leaves it by an AEX before this returns.

        It may enter again at once; after `revoke`, only when the supervisor has done what it is at.
        """

    def begin_epoch(self, eid: int, epoch: int) -> None:
        """ETRACK has begun a tracking epoch of this enclave, in which it is entered from now on."""

    def revoke(self, eid: int, pages: Collection[tuple[int, int]] | None = None) -> None:
        """Something changes on which entries of this enclave depend: each is checked anew from now on.

        Of `pages`, ranges of addresses, only those at a TCS, or with an SSA frame, in one of them.
        """

    def shared(self, eid: int) -> None:
        """Another memory map has the enclave, or has had it."""

    def give_way(self, tables: PageTables, start: int, end: int) -> None:
        """The program is about to change what is mapped in [start, end): processors leave it what they have there."""

    def leaves_epc(self, pages: Sequence[EPCPage]) -> None:
        """These pages of enclaves are about to be evicted or written: what is in them is to be the enclaves' own."""

    def original(self, address: int, data: bytes) -> bytes:
        """Bytes of an enclave that were read from the address on, as they were before processors changed them."""

    def execution(self, enclave: ShownEnclave) -> Execution | None:
        """Who has a say in what is executed of an enclave that has just been created; None: nobody need have."""

    def patch_text(self, tables: PageTables, address: int, code: bytes) -> None:
        """Replace instructions in this memory map, protected or not; no processor executes a mixture of old and new."""
