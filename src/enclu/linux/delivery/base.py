"""What a design says: which instructions it fixes up, where execution goes on, and which ioctls it adds."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar, Protocol

from enclu.sgx.exceptions import Vector

if TYPE_CHECKING:
    from enclu.linux.interfaces import UserMemory
    from enclu.linux.mm import MM
    from enclu.sgx.processor import Registers

NEVER_FIXED_UP = (Vector.DB, Vector.BP)
"""Debug exceptions stay signals, for debuggers.  Kernel: fixup_vdso_exception()."""


class AddressSpace(Protocol):
    @property
    def mm(self) -> MM:
        """The memory map."""


class Process(Protocol):
    """A thread group, for the hooks."""

    @property
    def space(self) -> AddressSpace:
        """Its address space, shared with children of vfork."""


class Code(Protocol):
    """The part of a logical processor (`sgx.processor.Processor`) that a design looks at."""

    def read(self, address: int, size: int) -> bytes:
        """Read ordinary memory as user mode would.  Raises PageFault."""


class Delivery:
    """A design.  Its state belongs to one run; programs never share it with another run's."""

    name: ClassVar[str]
    vdso: ClassVar[str] = "sgx"
    """The vDSO image that programs get."""

    def ioctl(self, mm: MM, thread: object, user: UserMemory, cmd: int, arg: int) -> int:
        """An ioctl of /dev/sgx_enclave numbered 0x20 or higher; its result.  Raises OSError, ENOTTY if unknown."""
        raise OSError(errno.ENOTTY, f"{self.name} has no ioctl {cmd:#x}")

    def fixup(
        self, mm: MM, process: Process, cpu: Code, regs: Registers, trapnr: int, error_code: int, address: int
    ) -> bool:
        """Fix up an exception that would become a signal: change `regs` and say True, or leave them and say False.

        `regs` are those after any AEX, so that RIP is the ENCLU that faulted or the AEP.  The register ABI is the
        same for every design: RIP the target, RDI trap number, RSI error code, RDX address; RAX keeps the leaf.
        """
        if trapnr in NEVER_FIXED_UP:
            return False
        target = self.target(mm, cpu, regs)
        if target is None:
            return False
        regs.rip, regs.rdi, regs.rsi, regs.rdx = target, trapnr, error_code, address
        return True

    def target(self, mm: MM, cpu: Code, regs: Registers) -> int | None:
        """Address at which the thread goes on, None for a signal."""
        return None

    def on_fork(self, parent: Process, child: Process) -> None:
        """`child` is a new process; with vfork it is in its parent's memory map."""

    def on_clone(self, parent: object, child: object) -> None:
        """`child` is a new thread of its parent's process."""

    def on_exec(self, process: Process) -> None:
        """`process` has a new memory map."""

    def on_exit(self, process: Process) -> None:
        """`process` has no threads any more."""
