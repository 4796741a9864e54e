"""The memory of a process, as a debugger is to see it: as it was before anything was changed for the machine's sake.

An enclave's is read and written as by EDBGRD and EDBGWR (`linux.debug`); of a production enclave reads give ones, as
those of the abort page do.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from enclu.linux import debug
from enclu.sgx.encls.debug import TCS_LIMIT
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import Attribute

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.native.address_space import AddressSpace

TCS_SIZE = TCS_LIMIT & -8
"""Bytes of a TCS that a debugger may read, by whole words."""


def enclave_at(mm: MM, address: int) -> Encl | None:
    """The enclave that is mapped there."""
    vma = mm.find_vma(address)
    return vma.encl if vma is not None else None


def is_debug(encl: Encl) -> bool:
    return encl.secs is not None and bool(encl.secs.attributes & Attribute.DEBUG)


def read_enclave(mm: MM, address: int, size: int) -> bytes:
    """Of a debug enclave; as much as there is from the address on.  Raises OSError if there is nothing."""
    return debug.read(mm, address, size)


def write_enclave(mm: MM, address: int, data: bytes) -> None:
    """Of a debug enclave.  Raises OSError."""
    debug.write(mm, address, data)


def read(space: AddressSpace, mm: MM, address: int, size: int) -> bytes:
    """Bytes from the address on, fewer where nothing more is there.  Raises OSError if there is nothing."""
    data = bytearray()
    while len(data) < size:
        at = address + len(data)
        end, encl = _stretch(mm, at, address + size)
        try:
            part = _read_part(space, mm, encl, at, end - at)
        except OSError:
            if data:
                break
            raise
        data += part
        if len(part) < end - at:
            break
    if not data and size:
        raise OSError(errno.EFAULT, f"no memory at {address:#x}")
    return bytes(data)


def _stretch(mm: MM, at: int, end: int) -> tuple[int, Encl | None]:
    """How far memory of one kind goes, and whose it is."""
    vma = mm.find_vma(at)
    if vma is not None:
        return min(end, vma.end), vma.encl
    return min([end, *(v.start for v in mm.vmas if v.start > at)]), None


def _read_part(space: AddressSpace, mm: MM, encl: Encl | None, address: int, size: int) -> bytes:
    if encl is None:
        view = bytearray(space.peek(address, size))
        space.give_originals(address, memoryview(view))
        return bytes(view)
    if not is_debug(encl):
        return b"\xff" * size
    view = bytearray(debug.read(mm, address, size))
    space.give_originals(address, memoryview(view))
    return bytes(view)


def write(space: AddressSpace, mm: MM, address: int, data: bytes) -> None:
    """Raises OSError.  Where a breakpoint is, what it has replaced is written."""
    while data:
        end, encl = _stretch(mm, address, address + len(data))
        part, rest = data[: end - address], data[end - address :]
        image = bytearray(part)
        for at in [at for at in space.breakpoints if address <= at < end]:
            if byte_at(space, mm, at) == BREAKPOINT:
                space.breakpoints[at], image[at - address] = image[at - address], BREAKPOINT[0]
        _write_part(space, mm, encl, address, bytes(image))
        address, data = end, rest


BREAKPOINT = b"\xcc"
"""INT3."""


def byte_at(space: AddressSpace, mm: MM, address: int) -> bytes:
    """The byte that is really at the address; nothing where there is none."""
    encl = enclave_at(mm, address)
    if encl is None:
        return space.peek(address, 1)
    page = encl.resident(address)
    return bytes(page.data[address % PAGE_SIZE : address % PAGE_SIZE + 1]) if page is not None else b""


def _write_part(space: AddressSpace, mm: MM, encl: Encl | None, address: int, data: bytes) -> None:
    if encl is not None:
        debug.write(mm, address, data)
        return
    space.poke(address, data)
    if space.peek(address, len(data)) != data:
        raise OSError(errno.EFAULT, f"no memory at {address:#x}")


def poke(space: AddressSpace, mm: MM, address: int, byte: bytes) -> None:
    """Replace one byte, of whatever kind of memory.  Raises OSError."""
    _write_part(space, mm, enclave_at(mm, address), address, byte)
