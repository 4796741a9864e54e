"""What the kernel side needs of whoever drives the processors and their memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.sgx.epc import EPCPage


class UserMemory(Protocol):
    """A program's memory as copy_from_user and copy_to_user see it: every failure is OSError EFAULT."""

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...

    def read_into(self, address: int, view: memoryview) -> None: ...


class PageTables(Protocol):
    """The page tables of one mm, as far as enclaves use them."""

    def protect(self, start: int, end: int, prot: int) -> None:
        """Let [start, end) be accessed with PROT_* `prot` only."""

    def remap(self, start: int, end: int, encl: Encl) -> None:
        """Map [start, end) on the enclave's memory, offset by the now known ELRANGE base, without access."""

    def executable(self, address: int) -> bool:
        """Ordinary memory is mapped at the address, and user mode may execute it."""


WINDOW = 1 << 36
"""Bytes of an enclave's memory that can be seen at once: an ELRANGE may be larger than what is left of addresses."""


class Execution(Protocol):
    """Who says, of an enclave, which pages its processors may execute at the moment."""

    def granted(self, mm: MM, index: int, page: EPCPage, prot: int) -> int:
        """What the page tables may show of PROT_* `prot`, which VMA and EPCM allow.  The rest comes on a fault."""

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

    def write(self, offset: int, data: memoryview) -> None:
        """Store bytes, by the time that `settle` returns; nobody looks at them, or changes `data`, before."""

    def settle(self) -> None: ...

    def discard(self, offset: int, size: int) -> None: ...

    def close(self) -> None: ...


class Processors(Protocol):
    """All logical processors."""

    def kick(self, encl: Encl) -> None:
        """Inter-processor interrupt: every processor in this enclave leaves it by an AEX before this returns."""

    def execution(self, encl: Encl) -> Execution | None:
        """Who has a say in what is executed of an enclave that has just been created; None: nobody need have."""

    def patch_text(self, mm: MM, address: int, code: bytes) -> None:
        """Replace instructions in this memory map, protected or not; no processor executes a mixture of old and new."""
