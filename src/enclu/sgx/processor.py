"""The small interface through which `sgx` and `linux` see a processor.

A logical processor is registers, segment bases, extended state and memory at linear addresses; nothing here
knows of ptrace, threads or file descriptors.  `native` implements it by a thread under ptrace; the tests
implement it in memory.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from enclu.sgx.enclave_mode import EnclaveMode
    from enclu.sgx.epc import EPCPage
    from enclu.sgx.machine import Machine
    from enclu.sgx.xsave import Aside


class Access(enum.IntEnum):
    """A kind of memory access, valued as the bits it contributes to a page-fault error code."""

    READ = 0x0
    WRITE = 0x2
    FETCH = 0x10


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
