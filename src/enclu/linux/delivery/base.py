"""What a design says: which instructions it fixes up, where execution goes on, and which ioctls it adds."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar

from enclu.base.protocol import Protocol
from enclu.linux.delivery import usage
from enclu.linux.mm import TASK_SIZE
from enclu.linux.uapi import IOC_READ, ioc
from enclu.sgx.exceptions import PageFault, Vector
from enclu.sgx.layout import Structure
from enclu.sgx.structs import ENCLU, EncluLeaf

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.sgx.processor import Registers, UserMemory

NEVER_FIXED_UP = (Vector.DB, Vector.BP)
"""Debug exceptions stay signals, for debuggers.  Kernel: fixup_vdso_exception()."""

DELIVERY = Structure("enclu_sgx_delivery", 32, (0, "name", "32s"))
GET_DELIVERY = ioc(IOC_READ, 0x28, DELIVERY.size, "ENCLU_SGX_IOC_GET_DELIVERY")


class Thread(Protocol):
    """A thread: the same object from its start to its end, through exec too, where its memory map changes."""

    @property
    def mm(self) -> MM:
        """Its memory map, shared with the other threads of its process and with children of vfork."""


class Code(Protocol):
    """The part of a logical processor (`sgx.processor.Processor`) that a design looks at."""

    def read(self, address: int, size: int) -> bytes:
        """Read ordinary memory as user mode would.  Raises PageFault."""


class Delivery:
    """A design.  Its state belongs to one run; programs never share it with another run's."""

    name: ClassVar[str]
    vdso: ClassVar[str] = "sgx"
    """The vDSO image that programs get."""
    settings: ClassVar[tuple[str, ...]] = ()
    """What may follow the name and a colon when a design is chosen; the first is the default."""
    entry: ClassVar[usage.Entry] = usage.OwnEnclu()
    """How programs enter an enclave."""
    registration: ClassVar[usage.Registration | None] = None
    """What they register; None: nothing."""

    def __init_subclass__(cls, **named: Any) -> None:
        """Raises ValueError for declarations that nobody could follow."""
        super().__init_subclass__(**named)
        usage.check(cls.entry, cls.registration)

    def __init__(self, setting: str | None = None) -> None:
        """Raises ValueError for a setting that the design does not have."""
        if setting is not None and setting not in self.settings:
            raise ValueError(f"{self.name} has no setting {setting!r}; it has: {', '.join(self.settings) or 'none'}")
        self.setting = setting or next(iter(self.settings), "")

    def ioctl(self, mm: MM, thread: Thread, user: UserMemory, cmd: int, arg: int) -> int:
        """An ioctl of /dev/sgx_enclave numbered 0x20 or higher; its result.  Raises OSError, ENOTTY if unknown.

        A design answers its own and leaves all others to this.
        """
        if cmd == GET_DELIVERY:
            user.write(arg, DELIVERY.pack(name=self.name.encode()))
            return 0
        raise OSError(errno.ENOTTY, f"{self.name} has no ioctl {cmd:#x}")

    def fixup(
        self, mm: MM, thread: Thread, cpu: Code, regs: Registers, trapnr: int, error_code: int, address: int
    ) -> bool:
        """Fix up an exception that would become a signal: change `regs` and say True, or leave them and say False.

        `regs` are those after any AEX, so that RIP is the ENCLU that faulted or the AEP.  The register ABI is the
        same for every design: RIP the target, RDI trap number, RSI error code, RDX address; RAX keeps the leaf.
        """
        if trapnr in NEVER_FIXED_UP:
            return False
        target = self.target(mm, thread, cpu, regs)
        if target is None:
            return False
        regs.rip, regs.rdi, regs.rsi, regs.rdx = target, trapnr, error_code, address
        return True

    def target(self, mm: MM, thread: Thread, cpu: Code, regs: Registers) -> int | None:
        """Address at which the thread goes on, None for a signal."""
        return None

    def on_fork(self, parent: Thread, child: Thread) -> None:
        """`child` is the only thread of a new process; with vfork it is in its parent's memory map."""

    def on_clone(self, parent: Thread, child: Thread) -> None:
        """`child` is a new thread of its parent's process."""

    def on_exec(self, thread: Thread) -> None:
        """`thread` has a new memory map, and its process no other threads."""

    def watches(self, mm: MM, start: int, end: int) -> bool:
        """The design wants to know when memory in [start, end) is unmapped."""
        return False

    def on_unmap(self, mm: MM, start: int, end: int) -> None:
        """[start, end) has been unmapped, replaced by another mapping, or moved elsewhere."""


def at_enclu(cpu: Code, regs: Registers) -> bool:
    """RIP is at an ENCLU with a leaf that enters: it has faulted, or it is the AEP that an AEX went to."""
    if regs.rax & 0xFFFF_FFFF not in (EncluLeaf.EENTER, EncluLeaf.ERESUME):
        return False
    try:
        return cpu.read(regs.rip, len(ENCLU)) == ENCLU
    except PageFault:
        return False


def check_code_address(address: int) -> None:
    """A place to go on at is in user space.  Raises OSError EINVAL."""
    if not 0 < address < TASK_SIZE:
        raise OSError(errno.EINVAL, f"{address:#x} is not a user-space address")


def check_flags(flags: int) -> None:
    """No flags exist yet.  Raises OSError EINVAL."""
    if flags:
        raise OSError(errno.EINVAL, f"unknown flags {flags:#x}")
