"""Loading: what the SGX driver wants, in the order of the image.  Kernel: Documentation/arch/x86/sgx.rst."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enclu.base.abi import MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED
from enclu.host.errors import HostError
from enclu.host.images.regions import ALL_MEASURED, NOT_MEASURED
from enclu.linux import uapi
from enclu.native import extended_state
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.structs import EXINFO, GPRSGX, SECINFO, SECS, SIGSTRUCT, Attribute
from enclu.sgx.xsave import LEGACY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enclu.host.agent_process import AgentProcess
    from enclu.host.images import Image, Pages

CHUNK = 4 << 20
"""Bytes of pages that are added by one ioctl."""
READ, WRITE, EXEC = 1, 2, 4


@dataclass
class Loaded:
    """An enclave that EINIT has accepted.  `fd` is the process's descriptor of it."""

    base: int
    size: int
    fd: int
    attributes: int
    xfrm: int

    @property
    def debug(self) -> bool:
        """Whether ATTRIBUTES.DEBUG is set."""
        return bool(self.attributes & Attribute.DEBUG)


def load(process: AgentProcess, image: Image, debug: bool | None) -> Loaded:
    """ECREATE, EADD, EEXTEND, EINIT.  Raises HostError."""
    if image.sigstruct is None:
        raise HostError(f"{image.path}: it has no SIGSTRUCT: {image.how_to_sign()}")
    sigstruct = SIGSTRUCT.unpack(image.sigstruct)
    attributes = image.attributes & ~Attribute.INIT
    if debug is not None:
        attributes = attributes | Attribute.DEBUG if debug else attributes & ~Attribute.DEBUG
    xfrm = _xfrm(image, sigstruct)
    with contextlib.ExitStack() as undo:
        fd = process.open("/dev/sgx_enclave")
        undo.callback(process.syscall, "close", fd)
        base = _reserve(process, image)
        undo.callback(process.syscall, "munmap", base, image.size)
        loaded = Loaded(base, image.size, fd, attributes, xfrm)
        secs = SECS.pack(
            SIZE=image.size, BASEADDR=base, SSAFRAMESIZE=image.ssa_frame_size, MISCSELECT=image.misc_select,
            ATTRIBUTES=attributes, XFRM=xfrm,
        )  # fmt: skip
        with process.memory.own(secs, align=PAGE_SIZE) as address, _refused(image, "ECREATE", loaded):
            process.ioctl(fd, uapi.SGX_IOC_ENCLAVE_CREATE, uapi.ENCLAVE_CREATE.pack(src=address))
        if attributes & Attribute.PROVISIONKEY:
            with _refused(image, "the provisioning key", loaded):
                provision = process.open("/dev/sgx_provision")
                undo.callback(process.syscall, "close", provision)
                process.ioctl(fd, uapi.SGX_IOC_ENCLAVE_PROVISION, uapi.ENCLAVE_PROVISION.pack(fd=provision))
        ranges = _Mapping(process, loaded)
        with process.memory.own(CHUNK, align=PAGE_SIZE) as staging:
            for pages in image.pages():
                _add(process, image, loaded, pages, staging)
                ranges.add(pages.offset, len(pages.data), _protection(pages.flags))
        ranges.finish()
        for offset, size in image.reserved:
            with _refused(image, f"mapping {size:#x} bytes at {offset:#x}, which are to be added later", loaded):
                _map(process, loaded, offset, size, READ | WRITE)
        with process.memory.own(image.sigstruct, align=PAGE_SIZE) as address, _refused(image, "EINIT", loaded):
            process.ioctl(fd, uapi.SGX_IOC_ENCLAVE_INIT, uapi.ENCLAVE_INIT.pack(sigstruct=address))
        undo.pop_all()
        return loaded


def _xfrm(image: Image, sigstruct: dict[str, Any]) -> int:
    """What its SIGSTRUCT fixes, and as much of the rest as the image asks for, the machine has and SSA frames hold."""
    layout, fixed = extended_state.layout(), sigstruct["XFRMMASK"]
    wanted = sigstruct["XFRM"] & fixed | image.xfrm & layout.offered & ~fixed | LEGACY
    return layout.fitting(wanted, fixed, image.ssa_frame_size * PAGE_SIZE - GPRSGX.size - EXINFO.size)


@contextlib.contextmanager
def _refused(image: Image, what: str, loaded: Loaded) -> Iterator[None]:
    """Say what was refused."""
    try:
        yield
    except OSError as error:
        why = error.strerror or ""
        if what == "EINIT" and error.errno == errno.EPERM:
            why = _why_not_initialized(image, loaded)
        where = f"ATTRIBUTES {loaded.attributes:#x}, XFRM {loaded.xfrm:#x}, size {loaded.size:#x}"
        raise HostError(f"{image.path}: {what} is refused: {why} ({where})") from None


def _why_not_initialized(image: Image, loaded: Loaded) -> str:
    """What EINIT objects to, which the driver tells as EPERM whatever it is."""
    assert image.sigstruct is not None
    sigstruct = SIGSTRUCT.unpack(image.sigstruct)
    measured = image.mrenclave()
    if measured != sigstruct["ENCLAVEHASH"]:
        return f"it measures to {measured.hex()}, its SIGSTRUCT is for {sigstruct['ENCLAVEHASH'].hex()}"
    for name, value, mask in (
        ("ATTRIBUTES", loaded.attributes, "ATTRIBUTEMASK"), ("XFRM", loaded.xfrm, "XFRMMASK"),
        ("MISCSELECT", image.misc_select, "MISCMASK"),
    ):  # fmt: skip
        if (value ^ sigstruct[name]) & sigstruct[mask]:
            return f"{name} is {value:#x}, its SIGSTRUCT wants {sigstruct[name]:#x} under the mask {sigstruct[mask]:#x}"
    return "its SIGSTRUCT's signature is not valid"


def _reserve(process: AgentProcess, image: Image) -> int:
    """Addresses for ELRANGE, aligned to its size: the image's own, if it has any.  Raises HostError."""
    size, flags = image.size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    try:
        if image.base is not None:
            return process.syscall("mmap", image.base, size, 0, flags | MAP_FIXED_NOREPLACE, -1, 0)
        area = process.syscall("mmap", 0, 2 * size, 0, flags, -1, 0)
    except OSError as error:
        where = "" if image.base is None else f" at {image.base:#x}, where it wants to be"
        raise HostError(f"{image.path}: no addresses for its {size:#x} bytes{where}: {error.strerror}") from None
    base = -(-area // size) * size
    if base != area:
        process.syscall("munmap", area, base - area)
    process.syscall("munmap", base + size, area + size - base)
    return base


def _add(process: AgentProcess, image: Image, loaded: Loaded, pages: Pages, staging: int) -> None:
    if pages.measured not in (NOT_MEASURED, ALL_MEASURED):
        raise HostError(
            f"{image.path}: the page at {pages.offset:#x} is measured in part; Linux's driver measures whole pages only"
        )
    measure = uapi.SGX_PAGE_MEASURE if pages.measured else 0
    with process.memory.own(SECINFO.pack(FLAGS=pages.flags), align=64) as secinfo:
        for start in range(0, len(pages.data), CHUNK):
            part = pages.data[start : start + CHUNK]
            process.memory.write(staging, part)
            request = uapi.ENCLAVE_ADD_PAGES.pack(
                src=staging, offset=pages.offset + start, length=len(part), secinfo=secinfo, flags=measure
            )
            with _refused(image, f"EADD of {len(part):#x} bytes at {pages.offset + start:#x}", loaded):
                process.ioctl(loaded.fd, uapi.SGX_IOC_ENCLAVE_ADD_PAGES, request)


def _protection(flags: int) -> int:
    """PROT_* of a page: TCSes are mapped for reading and writing."""
    return READ | WRITE if flags >> 8 & 0xFF == PageType.TCS else flags & 7


def _map(process: AgentProcess, loaded: Loaded, offset: int, size: int, prot: int) -> None:
    process.syscall("mmap", loaded.base + offset, size, prot, MAP_SHARED | MAP_FIXED, loaded.fd, 0)


class _Mapping:
    """Maps runs of pages, neighbours with the same protection at once."""

    def __init__(self, process: AgentProcess, loaded: Loaded) -> None:
        self._process, self._loaded = process, loaded
        self._offset, self._size, self._prot = 0, 0, 0

    def add(self, offset: int, size: int, prot: int) -> None:
        if self._offset + self._size == offset and self._prot == prot:
            self._size += size
            return
        self.finish()
        self._offset, self._size, self._prot = offset, size, prot

    def finish(self) -> None:
        if self._size:
            _map(self._process, self._loaded, self._offset, self._size, self._prot)
        self._size = 0
