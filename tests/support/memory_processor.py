"""A second implementation of the processor interface: registers and memory in Python, no ptrace anywhere."""

from __future__ import annotations

import errno
import functools
import hashlib
import mmap
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa

from enclu.base.listeners import Events
from enclu.linux.delivery.signal import SignalDelivery
from enclu.linux.ioctl import sgx_ioctl
from enclu.linux.kernel import Kernel
from enclu.linux.mm import MM, may_map
from enclu.linux.stats import Stats
from enclu.linux.uapi import (
    ENCLAVE_ADD_PAGES,
    ENCLAVE_CREATE,
    ENCLAVE_INIT,
    SGX_IOC_ENCLAVE_ADD_PAGES,
    SGX_IOC_ENCLAVE_CREATE,
    SGX_IOC_ENCLAVE_INIT,
)
from enclu.sgx.aex import aex
from enclu.sgx.enclave_mode import EnclaveMode
from enclu.sgx.epc import EPCPage
from enclu.sgx.exceptions import PageFault
from enclu.sgx.machine import Machine
from enclu.sgx.processor import WINDOW, Access, PageTables, ShownEnclave, Signal
from enclu.sgx.structs import (
    GPR_NAMES,
    SECINFO,
    SECS,
    SIGSTRUCT,
    SIGSTRUCT_HEADER,
    SIGSTRUCT_HEADER2,
    SIGSTRUCT_SIGNED,
    TCS,
)
from enclu.sgx.xsave import INTEL_AVX, Aside, XsaveLayout

BASE = 0x10_0000_0000
KEY = rsa.generate_private_key(3, 3072)
REG_RW, REG_RX, REG_R, TCS_PAGE = 0x203, 0x205, 0x201, 0x100
SSA_FRAMES = 3
MAP_NORESERVE = 0x4000


@dataclass
class MemoryRegisters:
    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rbp: int = 0x7001_0000
    rsp: int = 0x7000_0000
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0x40_0000
    rflags: int = 0x202
    fs_base: int = 0xF5_0000
    gs_base: int = 0x65_0000

    def clear(self) -> None:
        for name in GPR_NAMES:
            setattr(self, name, 0)


@dataclass
class MemoryProcessor:
    """Registers, an XSAVE image, and an MM to walk."""

    machine: Machine
    mm: MM
    regs: MemoryRegisters = field(default_factory=MemoryRegisters)
    mode: EnclaveMode = field(default_factory=EnclaveMode)
    image: bytearray = field(default_factory=bytearray)
    invalidated: list[EPCPage] = field(default_factory=list)
    xcr0: int = 0
    xfd: int = 0
    aside: Aside | None = None
    code: dict[int, bytes] = field(default_factory=dict)
    """Instructions, by address."""

    def __post_init__(self) -> None:
        self.machine.processors.add(self.mode)
        layout = self.machine.layout
        self.xcr0 = self.xcr0 or layout.xcr0
        self.image = self.image or bytearray(layout.size_of(layout.xcr0))

    def narrow(self, xfrm: int) -> None:
        self.aside = self.machine.layout.put_aside(self.image, xfrm)

    def widen(self, xfrm: int) -> None:
        aside, self.aside = self.aside, None
        if aside is not None:
            self.machine.layout.give_back(self.image, xfrm, aside)

    def read(self, address: int, size: int) -> bytes:
        raise PageFault(address, 4)

    def write(self, address: int, data: bytes) -> None:
        raise PageFault(address, 6)

    def translate(self, address: int, access: Access) -> EPCPage | None:
        return self.mm.translate(address, access)

    def touch(self, start: int, end: int) -> None:
        self.mm.touch(start, end)

    def xsave(self) -> bytearray:
        return bytearray(self.image)

    def xrstor(self, image: bytes | bytearray) -> None:
        self.image = bytearray(image)

    def invalidate(self, page: EPCPage) -> None:
        self.invalidated.append(page)

    def code_at(self, address: int, size: int) -> bytes:
        return self.code.get(address, b"")[:size]


class MemoryPageTables:
    """Remembers the protection of every page; ordinary memory is there where it may be executed, if anywhere."""

    def __init__(self, executable: Container[int] = ()) -> None:
        self._executable = executable
        self.prot: dict[int, int] = {}
        self.remapped: list[tuple[int, int]] = []

    def protect_all(self, ranges: Sequence[tuple[int, int]], prot: int) -> None:
        for start, end in ranges:
            self.protect(start, end, prot)

    def protect(self, start: int, end: int, prot: int) -> None:
        for index in range(start >> 12, end >> 12):
            self.prot[index] = prot

    def remap(self, start: int, end: int, fd: int, offset: int) -> None:
        self.remapped.append((start, end))

    def executable(self, address: int) -> bool:
        return address in self._executable


class BytesMemory:
    """Enclave memory that is just bytes, of which memory keeps what has been touched."""

    def __init__(self) -> None:
        self.windows: dict[int, mmap.mmap] = {}
        self.size = 0
        self.closed = False

    def resize(self, size: int) -> None:
        self.size = size

    def view(self, offset: int, size: int) -> memoryview:
        index, at = divmod(offset, WINDOW)
        assert at + size <= WINDOW and offset + size <= self.size
        if index not in self.windows:
            length = min(WINDOW, self.size - index * WINDOW)
            self.windows[index] = mmap.mmap(-1, length, mmap.MAP_PRIVATE | MAP_NORESERVE)
        return memoryview(self.windows[index])[at : at + size]

    def write(self, offset: int, data: memoryview) -> Callable[[], object]:
        self.view(offset, len(data))[:] = data
        return lambda: None

    def settle(self) -> None:
        """Nothing is ever under way."""

    def discard(self, offset: int, size: int) -> None:
        for index in self.windows:  # private and anonymous: what is not needed reads as zero
            first, last = max(offset, index * WINDOW), min(offset + size, (index + 1) * WINDOW, self.size)
            if first < last:
                self.windows[index].madvise(mmap.MADV_DONTNEED, first - index * WINDOW, last - first)

    def close(self) -> None:
        self.closed = True


class UserBytes:
    """User memory from address 0 up; everything beyond is unmapped."""

    def __init__(self, size: int = 1 << 20) -> None:
        self.bytes = bytearray(size)

    def read(self, address: int, size: int) -> bytes:
        if not 0 <= address <= len(self.bytes) - size:
            raise OSError(errno.EFAULT, "unmapped")
        return bytes(self.bytes[address : address + size])

    def read_into(self, address: int, view: memoryview) -> None:
        view[:] = self.read(address, len(view))

    def untouched(self, start: int, end: int) -> Callable[[int, int], bool]:
        return lambda low, high: False

    def write(self, address: int, data: bytes) -> None:
        self.read(address, len(data))
        self.bytes[address : address + len(data)] = data


class MemorySpace(UserBytes, MemoryPageTables):
    """The memory of a program that makes system calls."""

    own_memory = (0x7E90_0000_0000, 0x7E90_0002_0000)
    own_image = (0x7E90_0000_0000, 0x7E90_0000_2000)

    def __init__(self) -> None:
        UserBytes.__init__(self)
        MemoryPageTables.__init__(self)

    def peek(self, address: int, size: int) -> bytes:
        return bytes(self.bytes[address : address + size])


@dataclass
class CallRegisters(MemoryRegisters):
    orig_rax: int = -1


@dataclass
class MemoryTask(MemoryProcessor):
    """A processor as the kernel sees it: with memory, descriptors and system calls of which it notes the host's."""

    regs: CallRegisters = field(default_factory=CallRegisters)
    space: MemorySpace = field(default_factory=MemorySpace)
    tgid: int = 100
    files: dict[int, str] = field(default_factory=dict)
    pidfds: dict[int, int] = field(default_factory=dict)
    texts: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Files mapped to be executed."""
    host_calls: list[tuple[int | bytes | bytearray, ...]] = field(default_factory=list)
    answers: dict[int, int] = field(default_factory=dict)
    """Of the host kernel, by number; 0 to all others."""
    personality: int = 0
    code_of_fault: int = 0
    """What it has pushed for the page fault at hand."""
    codes_asked: int = 0
    unreachable: set[int] = field(default_factory=set)
    aborted: list[int] = field(default_factory=list)
    """Accesses that were led to the abort page."""

    def host_call(self, nr: int, *arguments: int | bytes | bytearray) -> int:
        self.host_calls.append((nr, *arguments))
        return self.answers.get(nr, 0)

    def error_code(self) -> int:
        self.codes_asked += 1
        return self.code_of_fault

    def reachable(self, address: int) -> bool:
        return address & -4096 not in self.unreachable

    def through_abort_page(self, address: int, meets: Callable[[int, Access], bool]) -> Signal | None:
        self.aborted.append(address)
        return None

    def text_mapped(self, start: int, length: int, fd: int, offset: int) -> None:
        self.texts.append((start, length, fd, offset))

    def name_of(self, fd: int) -> str:
        if fd not in self.files:
            raise OSError(errno.ENOENT, f"no descriptor {fd}")
        return self.files[fd]

    def process_behind(self, pidfd: int) -> int:
        if pidfd not in self.pidfds:
            raise OSError(errno.ENOENT, f"no descriptor {pidfd}")
        return self.pidfds[pidfd]


class Kicker:
    """Processors that leave the enclave when kicked, and ordinary instructions where some have been replaced."""

    def __init__(self, text: dict[int, bytes] | None = None) -> None:
        self.processors: list[MemoryProcessor] = []
        self.kicks = 0
        self.text = text if text is not None else {}

    def kick(self, eid: int) -> None:
        self.kicks += 1
        for cpu in self.processors:
            if cpu.mode.enclave and cpu.mode.eid == eid:
                aex(cpu, None)

    def begin_epoch(self, eid: int, epoch: int) -> None:
        """Every entry asks the SECS."""

    def revoke(self, eid: int, pages: Collection[tuple[int, int]] | None = None) -> None:
        """Every entry is checked."""

    def give_way(self, tables: PageTables, start: int, end: int) -> None:
        """Processors have nothing in a program's memory."""

    def leaves_epc(self, pages: Sequence[EPCPage]) -> None:
        """Pages have what was added."""

    def shared(self, eid: int) -> None:
        """No instruction of an enclave is replaced."""

    def original(self, address: int, data: bytes) -> bytes:
        return data

    def execution(self, enclave: ShownEnclave) -> None:
        """Of a processor whose XCR0 is XFRM in an enclave, everything may be executed."""

    def patch_text(self, tables: PageTables, address: int, code: bytes) -> None:
        self.text[address] = code


@functools.lru_cache(maxsize=64)
def sign(mrenclave: bytes, attributes: int = 4, xfrm: int = 3, **fields: object) -> bytes:
    """A SIGSTRUCT for this measurement, computed apart from the code under test."""
    n = KEY.private_numbers().public_numbers.n
    d = KEY.private_numbers().d
    sigstruct = bytearray(
        SIGSTRUCT.pack(
            HEADER=SIGSTRUCT_HEADER, HEADER2=SIGSTRUCT_HEADER2, DATE=0x20240101, MODULUS=n.to_bytes(384, "little"),
            EXPONENT=3, ATTRIBUTES=attributes, ATTRIBUTEMASK=4, XFRM=xfrm, XFRMMASK=3, ENCLAVEHASH=mrenclave,
            **fields,
        )
    )  # fmt: skip
    digest = hashlib.sha256(b"".join(sigstruct[a:b] for a, b in SIGSTRUCT_SIGNED)).digest()
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    message = int.from_bytes(b"\0\1" + b"\xff" * 330 + b"\0" + prefix + digest, "big")
    signature = pow(message, d, n)
    q1 = signature * signature // n
    q2 = (signature * signature - q1 * n) * signature // n
    SIGSTRUCT.put(sigstruct, "SIGNATURE", signature.to_bytes(384, "little"))
    SIGSTRUCT.put(sigstruct, "Q1", q1.to_bytes(384, "little"))
    SIGSTRUCT.put(sigstruct, "Q2", q2.to_bytes(384, "little"))
    return bytes(sigstruct)


def tcs_image(oentry: int = 0x5000, ossa: int = 0x1000, nssa: int = SSA_FRAMES) -> bytes:
    return TCS.pack(OSSA=ossa, NSSA=nssa, OENTRY=oentry, OFSBASE=0x6000, OGSBASE=0x7000, FSLIMIT=0xFFFF, GSLIMIT=0xFFFF)


class World:
    """A machine, a kernel, one process and one enclave: TCS at 0, three SSA frames, code at 5, data at 6 and 7."""

    ARG, BUFFER = 0x1000, 0x4000

    def __init__(
        self, epc_pages: int = 512, size: int = 0x10000, miscselect: int = 1, attributes: int = 4, extra: int = 0,
        layout: XsaveLayout = INTEL_AVX,
    ) -> None:  # fmt: skip
        self.machine = Machine(epc_pages * 4096, b"s" * 32, layout)
        self.kicker = Kicker()
        self.events = Events()
        self.stats = Stats(self.events, self.machine.epc)
        self.kernel = Kernel(self.machine, SignalDelivery(), self.events, self.kicker)
        self.page_tables = MemoryPageTables()
        self.mm = MM(self.kernel, self.page_tables)
        self.user = UserBytes()
        self.memory = BytesMemory()
        self.encl = self.kernel.open_enclave(self.memory)
        self.size, self.miscselect, self.attributes, self.extra = size, miscselect, attributes, extra

    def ioctl(
        self, cmd: int, argument: bytes, *, provision: Callable[[int], bool] = lambda fd: False,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> int:  # fmt: skip
        self.user.write(self.ARG, argument)
        return sgx_ioctl(self.encl, self.mm, self.user, cmd, self.ARG, provision=provision, interrupted=interrupted)

    def create(self, **fields: int) -> int:
        values = {
            "SIZE": self.size, "BASEADDR": BASE, "SSAFRAMESIZE": 1, "MISCSELECT": self.miscselect,
            "ATTRIBUTES": self.attributes, "XFRM": 3, **fields,
        }  # fmt: skip
        self.user.write(self.BUFFER, SECS.pack(**values))
        return self.ioctl(SGX_IOC_ENCLAVE_CREATE, ENCLAVE_CREATE.pack(src=self.BUFFER))

    def add(self, offset: int, content: bytes, flags: int, measure: int = 1) -> int:
        self.user.write(0x2000, SECINFO.pack(FLAGS=flags))
        self.user.write(self.BUFFER, content)
        return self.ioctl(
            SGX_IOC_ENCLAVE_ADD_PAGES,
            ENCLAVE_ADD_PAGES.pack(src=self.BUFFER, offset=offset, length=len(content), secinfo=0x2000, flags=measure),
        )

    def init(self, **fields: object) -> int:
        assert self.encl.secs is not None
        mrenclave = self.encl.secs.measurement.digest()
        self.user.write(self.BUFFER, sign(mrenclave, self.attributes, **fields))
        return self.ioctl(SGX_IOC_ENCLAVE_INIT, ENCLAVE_INIT.pack(sigstruct=self.BUFFER))

    def build(self) -> World:
        """The whole enclave, mapped as its pages allow, and initialised."""
        self.create()
        self.add(0, tcs_image(), TCS_PAGE)
        self.add(0x1000, bytes(SSA_FRAMES * 4096), REG_RW)
        self.add(0x5000, b"\x90" * 4096, REG_RX)
        self.add(0x6000, bytes(0x2000 + self.extra * 4096), REG_RW)
        self.init()
        for start, length, prot in ((0, 0x4000, 3), (0x5000, 0x1000, 5), (0x6000, self.size - 0x6000, 3)):
            self.map(start, length, prot)
        return self

    def map(self, offset: int, length: int, prot: int) -> None:
        may_map(self.encl, BASE + offset, BASE + offset + length, prot)
        self.mm.mmap(self.encl, BASE + offset, length, prot)

    def processor(self) -> MemoryTask:
        cpu = MemoryTask(self.machine, self.mm)
        self.kicker.processors.append(cpu)
        return cpu

    def page(self, offset: int) -> EPCPage:
        page = self.encl.pages[(BASE + offset) >> 12].epc
        assert page is not None
        return page
