"""What happens in a run: the table of events.  `base/listeners.py` brings them to whoever listens.

Each kind of event is declared once, as a class with its fields and what they mean; counters, traces and messages are
made from that.  Words are the SDM's and the kernel's, and all values plain numbers and texts.  A kind that nobody
listens to is not even made.  `docs/events.md` is this table for people, and compared with it by a test.

Fields may be added to a kind.  One that changes its meaning, or goes, makes a new `version` of it.
"""

from __future__ import annotations

import re
import typing
from typing import Annotated, Any, ClassVar, NamedTuple

Eid = Annotated[int, "enclave, by SECS.EID; 0: none"]
Tcs = Annotated[int, "address of the TCS; 0: none"]
LeafName = Annotated[str, "ENCLU leaf, for example EENTER; one that does not exist: ENCLU[8]"]
ErrorCode = Annotated[int, "what the processor pushes; 0 where it pushes none"]
Address = Annotated[int, "#PF: of the access, after an AEX of its page; else 0"]
Errno = Annotated[str, "for example EINVAL"]
Reason = Annotated[str, "why, for people"]
Page = Annotated[int, "linear address of the page"]

TABLE: list[type[Event]] = []
"""Every kind, in the order of the documentation."""


class Field(NamedTuple):
    """A field of an event, for documentation and formats of traces."""

    name: str
    type: str
    meaning: str


@typing.dataclass_transform()
class _Record:
    """Made by its fields, in order or by name, as a data class is.  The method that does it is compiled for each kind
    when the first is made: a start would wait for those of all kinds, and for what compiles data classes.
    """

    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._names = (*cls._names, *(name for name in cls.__annotations__ if name != "version"))

    def __init__(self, *values: Any, **named: Any) -> None:
        kind = type(self)
        lines = f"def __init__(self, {', '.join(kind._names)}):", *(f"self.{name} = {name}" for name in kind._names)
        made: dict[str, Any] = {}
        exec("\n ".join(lines), made)
        kind.__init__ = made["__init__"]  # type: ignore[method-assign]
        kind.__init__(self, *values, **named)


class Event(_Record):
    """Something that happened on behalf of a thread.  Nobody changes one."""

    pid: Annotated[int, "process; 0: none, the kernel by itself"]
    tid: Annotated[int, "thread"]

    version: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        """A kind of the table."""
        super().__init_subclass__()
        TABLE.append(cls)

    @classmethod
    def name(cls) -> str:
        """Of the kind, for example page_evicted."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def fields(cls) -> list[Field]:
        hints = typing.get_type_hints(cls, include_extras=True)
        out = []
        for name in cls._names:
            plain, meaning = typing.get_args(hints[name])
            out.append(Field(name, str(getattr(plain, "__name__", plain)), meaning))
        return out

    def values(self) -> dict[str, Any]:
        """Its fields, in their order."""
        return dict(vars(self))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"event": self.name(), "version": self.version, **self.values()}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.values().items())})"


# The processor.


class Leaf(Event):
    """An ENCLU leaf was executed.  SDM 3D section 38.4."""

    eid: Eid
    leaf: LeafName
    tcs: Tcs
    rax: Annotated[int, "in RAX: EENTER, and ERESUME that notifies, CSSA; EACCEPT, EACCEPTCOPY, EGETKEY an error code"]
    rdi: Annotated[int, "before the leaf, as are the others that follow"]
    rsi: Annotated[int, "the same"]
    rbx: Annotated[int, "EENTER and ERESUME: the TCS; EEXIT: the target"]
    rcx: Annotated[int, "EENTER and ERESUME: the AEP"]
    rsp: Annotated[int, "the same"]


class LeavesLost(Event):
    """More ENCLU leaves were executed than are told one by one, for that was asked for: see `Leaves.lossy`."""

    count: Annotated[int, "how many, after those told before"]


class LeafRefused(Event):
    """An ENCLU leaf returned an error code in RAX.  Told after Leaf.  SDM 3D table 38-4."""

    eid: Eid
    leaf: LeafName
    tcs: Tcs
    reason: Annotated[str, "begins with the error code, for example SGX_PAGE_ATTRIBUTES_MISMATCH"]


class LeafFaulted(Event):
    """An ENCLU leaf raised an exception, and the kernel could not remove its cause.  SDM 3D section 38.4."""

    eid: Annotated[int, "enclave that executed the leaf, by SECS.EID; 0: code outside"]
    leaf: LeafName
    tcs: Annotated[int, "RBX of EENTER and ERESUME; else the TCS in use"]
    vector: Annotated[int, "trap number"]
    error_code: ErrorCode
    address: Address
    reason: Reason


class Aex(Event):
    """An asynchronous enclave exit.  SDM 3D chapter 37."""

    eid: Eid
    tcs: Tcs
    vector: Annotated[int, "trap number; -1: an interrupt"]
    rip: Annotated[int, "where the enclave was"]


class EnclaveException(Event):
    """An enclave's code raised an exception, ENCLU aside, and the kernel could not remove its cause."""

    eid: Eid
    tcs: Tcs
    vector: Annotated[int, "trap number"]
    error_code: ErrorCode
    address: Address
    rip: Annotated[int, "of the instruction"]
    offset: Annotated[int, "of the instruction in ELRANGE"]
    reason: Reason


class AepFaulted(Event):
    """A thread that has left its enclave by an AEX could execute nothing at the AEP.  SDM 3D chapter 37."""

    tcs: Tcs
    address: Annotated[int, "the AEP"]
    reason: Reason


# The kernel's answer to exceptions.


class FaultResolved(Event):
    """The kernel removed the cause of a page fault.  Kernel: sgx_vma_fault()."""

    eid: Eid
    address: Page
    how: Annotated[str, "shown: its translation was missing; loaded: it had been evicted; augmented: EAUG added it"]


class Fixup(Event):
    """The delivery design let a thread go on elsewhere.  Kernel: fixup_vdso_exception()."""

    design: Annotated[str, "as `--delivery` calls it"]
    vector: Annotated[int, "trap number"]
    error_code: ErrorCode
    address: Address
    target: Annotated[int, "address at which it goes on"]


class ExceptionSignal(Event):
    """An exception of an enclave or of ENCLU became a signal.  Kernel: arch/x86/kernel/traps.c."""

    signo: Annotated[int, "number of the signal"]
    vector: Annotated[int, "trap number"]
    error_code: ErrorCode
    address: Address


class SignalSent(Event):
    """Another signal was delivered: one that somebody sent, to any program of the run.  SIGSTOP is not told."""

    signo: Annotated[int, "number of the signal"]


# The driver.


class DeviceOpened(Event):
    """A program opened a device.  Kernel: sgx_open()."""

    path: Annotated[str, "of the device"]


class Ioctl(Event):
    """An ioctl of the device succeeded.  Kernel: sgx_ioctl()."""

    eid: Eid
    ioctl: Annotated[str, "as the uapi header calls it"]
    result: Annotated[int, "what it returned"]


class IoctlRefused(Event):
    """An ioctl of the device failed.  Kernel: sgx_ioctl()."""

    eid: Eid
    ioctl: Annotated[str, "as the uapi header calls it"]
    errno: Errno
    reason: Reason


class MappingRefused(Event):
    """The device was not mapped, or the protection of a mapping not changed.  Kernel: sgx_encl_may_map()."""

    call: Annotated[str, "mmap or mprotect"]
    errno: Errno
    reason: Reason


class EnclaveCreated(Event):
    """ECREATE."""

    eid: Eid
    base: Annotated[int, "SECS.BASEADDR"]
    size: Annotated[int, "SECS.SIZE, in bytes"]
    attributes: Annotated[int, "SECS.ATTRIBUTES, without XFRM"]
    xfrm: Annotated[int, "SECS.ATTRIBUTES.XFRM"]


class EnclaveInitialised(Event):
    """EINIT."""

    eid: Eid
    mrenclave: Annotated[str, "SECS.MRENCLAVE, in hexadecimal"]
    mrsigner: Annotated[str, "SECS.MRSIGNER, in hexadecimal"]
    pages: Annotated[int, "that the enclave has so far"]


class EnclaveRemoved(Event):
    """Nobody refers to an enclave any more: its pages are taken out of the EPC.  Kernel: sgx_encl_release()."""

    eid: Eid


# The EPC.


class PageEvicted(Event):
    """A page was written out of the EPC by EWB.  Kernel: sgx_reclaim_pages()."""

    eid: Eid
    address: Page


class PageReloaded(Event):
    """A page was brought back by ELDU.  Kernel: sgx_encl_eldu()."""

    eid: Eid
    address: Page


class PageRemoved(Event):
    """SGX_IOC_ENCLAVE_REMOVE_PAGES took a page out of the EPC by EREMOVE.  Kernel: sgx_encl_remove_pages()."""

    eid: Eid
    address: Page


class PageRefused(Event):
    """An evicted page was not what was evicted when it came back, or what it needs is lost.  SDM 3D ELDU."""

    eid: Eid
    address: Page
    reason: Reason


class EpcLost(Event):
    """A power event: the contents of the EPC are gone.  SDM 3D section 36.14."""

    enclaves: Annotated[int, "how many lost theirs"]


# Processes.


class ProcessExec(Event):
    """A process executes another program; the thread has the number of the first one from now on."""


class ThreadGone(Event):
    """A thread has ended."""


class ProcessExit(Event):
    """A process is about to end, with a status that is known; in its last thread, or in the one that ends it."""

    program: Annotated[str, "its name, as /proc/PID/comm has it"]
    status: Annotated[int, "exit status; 0 for a signal"]
    signo: Annotated[int, "the signal that ends it; 0 for an exit"]


class ProcessGone(Event):
    """The last thread of a process has ended."""
