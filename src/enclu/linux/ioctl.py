"""The ioctls of /dev/sgx_enclave that build an enclave, and the dispatch of all.

Checks, their order, errno values and partial progress follow arch/x86/kernel/cpu/sgx/ioctl.c.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from enclu.base.abi import PROT_READ, PROT_WRITE
from enclu.base.events import EnclaveInitialised
from enclu.linux import ioctl_sgx2, uapi
from enclu.linux.encl import VA_SLOT_COUNT, EnclPage
from enclu.sgx import crypto, encls
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.exceptions import Fault
from enclu.sgx.processor import WINDOW
from enclu.sgx.structs import SECINFO, SECS, SIGSTRUCT, Attribute, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.sgx.epc import EPCPage
    from enclu.sgx.processor import UserMemory

CHUNK_PAGES = 512
"""Pages that are added at a time, at most."""


def sgx_ioctl(
    encl: Encl, mm: MM, user: UserMemory, cmd: int, arg: int, *, fd: int = -1,
    provision: Callable[[int], bool] = lambda fd: False, interrupted: Callable[[], bool] = lambda: False,
) -> int:  # fmt: skip
    """sgx_ioctl(): 0, or OSError with the driver's errno.

    `fd` is the descriptor that the caller names.  `provision` tells whether a descriptor is of /dev/sgx_provision,
    `interrupted` whether a signal is pending.
    """
    if encl.busy:
        raise OSError(errno.EBUSY, "another ioctl on this enclave is under way")
    encl.busy = True
    try:
        if cmd == uapi.SGX_IOC_ENCLAVE_CREATE:
            _create(encl, mm, user, fd, arg)
        elif cmd == uapi.SGX_IOC_ENCLAVE_ADD_PAGES:
            _add_pages(encl, user, arg, interrupted)
        elif cmd == uapi.SGX_IOC_ENCLAVE_INIT:
            _init(encl, user, arg)
        elif cmd == uapi.SGX_IOC_ENCLAVE_PROVISION:
            fd = uapi.ENCLAVE_PROVISION.unpack(user.read(arg, 8))["fd"]
            if not provision(fd & 0xFFFF_FFFF):  # sgx_set_attribute() takes an unsigned int
                raise OSError(errno.EINVAL, f"descriptor {fd & 0xFFFF_FFFF} is not of /dev/sgx_provision")
            encl.attributes_mask |= Attribute.PROVISIONKEY
        elif cmd == uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS:
            ioctl_sgx2.restrict_permissions(encl, user, arg)
        elif cmd == uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES:
            ioctl_sgx2.modify_types(encl, user, arg)
        elif cmd == uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES:
            ioctl_sgx2.remove_pages(encl, user, arg)
        else:
            raise OSError(errno.ENOTTY, f"unknown ioctl {cmd:#x}")
    finally:
        encl.busy = False
    return 0


def _create(encl: Encl, mm: MM, user: UserMemory, fd: int, arg: int) -> None:
    if encl.created:
        raise OSError(errno.EINVAL, "the enclave of this descriptor has been created already")
    src = uapi.ENCLAVE_CREATE.unpack(user.read(arg, 8))["src"]
    image = user.read(src, PAGE_SIZE)
    size = SECS.get(image, "SIZE")
    if not size or size & (size - 1):  # the driver's own check, before ECREATE would answer EIO
        raise OSError(errno.EINVAL, f"SECS.SIZE {size:#x} is not a power of two")
    kernel = encl.kernel
    encl.grow()
    try:
        epc = kernel.allocate()
    except OSError:
        encl.shrink()
        raise
    epc.data = memoryview(bytearray(PAGE_SIZE))
    try:
        secs = encls.ecreate(kernel.machine, epc, image, SECINFO.pack())
    except Fault as fault:
        kernel.free(epc)
        encl.shrink()
        raise OSError(errno.EIO, f"ECREATE: {fault}") from None
    try:
        encl.memory.resize(size)
    except OSError:
        encls.eremove(epc)
        kernel.free(epc)
        del kernel.machine.enclaves[secs.eid]
        encl.shrink()
        raise
    encl.base, encl.size = SECS.get(image, "BASEADDR"), size
    encl.secs = secs
    encl.secs_page = EnclPage(encl, 0, 0, PageType.SECS, epc)
    encl.created = True
    kernel.created(encl)
    mm.base_known(encl, fd)


def validate_range(encl: Encl, offset: int, length: int) -> None:
    """sgx_validate_offset_length().  Raises OSError EINVAL."""
    if offset & 0xFFF or not length or length & 0xFFF:
        raise OSError(
            errno.EINVAL, f"offset {offset:#x} and length {length:#x} must be multiples of the page size, length not 0"
        )
    if offset + length > 1 << 64 or offset + length > encl.size:
        raise OSError(
            errno.EINVAL, f"offset {offset:#x} and length {length:#x} are beyond the end of the enclave, {encl.size:#x}"
        )


def _validate_secinfo(secinfo: bytes) -> tuple[int, int]:
    flags = SECINFO.get(secinfo, "FLAGS")
    perm, pt = flags & 7, flags >> 8 & 0xFF
    if pt not in (PageType.REG, PageType.TCS):
        raise OSError(errno.EINVAL, f"SECINFO: page type {pt} is neither PT_REG nor PT_TCS")
    if perm & PROT_WRITE and not perm & PROT_READ:
        raise OSError(errno.EINVAL, f"SECINFO: R|W|X {perm:#x} is writable but not readable")
    if flags & ~0xFFFF or flags & 0xF8 or not SECINFO.reserved_ok(secinfo):
        raise OSError(errno.EINVAL, f"SECINFO: reserved bits, FLAGS {flags:#x}")
    if pt == PageType.TCS and perm:
        raise OSError(errno.EINVAL, f"SECINFO: a TCS has no permissions, R|W|X must be 0, not {perm:#x}")
    return perm, pt


def _check_under_construction(encl: Encl) -> None:
    if not encl.created:
        raise OSError(errno.EINVAL, "the enclave has not been created (SGX_IOC_ENCLAVE_CREATE)")
    if encl.initialized:
        raise OSError(errno.EINVAL, "the enclave is initialised already")


def _add_pages(encl: Encl, user: UserMemory, arg: int, interrupted: Callable[[], bool]) -> None:
    _check_under_construction(encl)
    f = uapi.ENCLAVE_ADD_PAGES.unpack(user.read(arg, uapi.ENCLAVE_ADD_PAGES.size))
    validate_range(encl, f["offset"], f["length"])
    if f["src"] & 0xFFF:
        raise OSError(errno.EINVAL, f"src {f['src']:#x} is not page aligned")
    secinfo = user.read(f["secinfo"], SECINFO.size)
    perm, pt = _validate_secinfo(secinfo)
    max_prot = PROT_READ | PROT_WRITE if pt == PageType.TCS else perm
    done, failure = 0, None
    # A chunk's pages cannot be evicted before all of them are added, so a chunk is a small part of the EPC.
    at_once = min(CHUNK_PAGES, max(1, encl.kernel.machine.epc.pages // 8))
    try:
        while done < f["length"]:
            if done and interrupted():  # before the first page the driver says ERESTARTSYS: the call is made again
                break
            at = f["offset"] + done
            count = min(at_once, (f["length"] - done) >> 12, (WINDOW - at % WINDOW) >> 12)
            done += _add_chunk(encl, user, f, secinfo, done, count, PageType(pt), max_prot)
            encl.kernel.loading(encl)
    except OSError as error:
        failure = error
        done += getattr(error, "bytes_done", 0)
    encl.memory.settle()
    user.write(arg + uapi.ENCLAVE_ADD_PAGES.offset("count"), done.to_bytes(8, "little"))
    if failure is not None:
        raise failure


def _add_chunk(
    encl: Encl, user: UserMemory, f: dict[str, int], secinfo: bytes, done: int, count: int, pt: PageType, max_prot: int
) -> int:
    """Add up to `count` pages; the bytes added.  On OSError, its attribute `bytes_done` says how far it got."""
    kernel, secs = encl.kernel, encl.secs
    assert secs is not None
    if encl.secs_page is not None and encl.secs_page.epc is None:
        kernel.reclaimer.reload(encl.secs_page)
    offset = f["offset"] + done
    address = encl.base + offset
    index = address >> 12
    pages = encl.pages
    taken = next((i for i in range(index, index + count) if i in pages), None)
    failure: OSError | None = None
    if taken is not None:
        count = taken - index
        failure = OSError(errno.EBUSY, f"there is a page at {taken << 12:#x} already")
    contents = memoryview(bytearray(count * PAGE_SIZE))
    try:
        if count:
            user.read_into(f["src"] + done, contents)
    except OSError as error:
        count, failure = _readable(user, f["src"] + done, contents), error
    fresh, shortage = _fresh_pages(encl, count)
    failure = shortage or failure
    count = len(fresh)
    if count:
        contents = contents[: count * PAGE_SIZE]
        if count > 1 and pt == PageType.REG:
            encl.memory.write(offset, contents)
        try:
            memory = encl.memory.view(offset, count * PAGE_SIZE)
            encls.eadd_run(secs, fresh, address, secinfo, memory, contents, bool(f["flags"] & 1))
        except Fault as fault:
            failure = OSError(errno.EIO, f"EADD: {fault}")
            good = [page for page in fresh if page.valid]
            for page in fresh[len(good) :]:
                kernel.free(page)
                encl.shrink()
            count = len(good)
        add = kernel.reclaimer.add
        for i in range(count):
            added = EnclPage(encl, index + i, max_prot, pt, fresh[i])
            pages[index + i] = added
            add(added)
    if failure is not None:
        failure.bytes_done = count * PAGE_SIZE  # type: ignore[attr-defined]
        raise failure
    return count * PAGE_SIZE


def _fresh_pages(encl: Encl, count: int) -> tuple[list[EPCPage], OSError | None]:
    """EPC pages for `count` more pages of the enclave, and why they are fewer if they are."""
    kernel = encl.kernel
    if kernel.machine.epc.free > count + count // VA_SLOT_COUNT + 1:
        encl.grow(count)
        return kernel.allocate_run(count), None
    fresh: list[EPCPage] = []
    try:
        while len(fresh) < count:
            encl.grow()
            try:
                fresh.append(kernel.allocate())
            except OSError:
                encl.shrink()
                raise
    except OSError as error:
        return fresh, error
    return fresh, None


def _readable(user: UserMemory, address: int, view: memoryview) -> int:
    """How many whole pages of a source that cannot be read to its end can be read, into `view`."""
    for i in range(len(view) // PAGE_SIZE):
        try:
            user.read_into(address + i * PAGE_SIZE, view[i * PAGE_SIZE : (i + 1) * PAGE_SIZE])
        except OSError:
            return i
    return len(view) // PAGE_SIZE


def _init(encl: Encl, user: UserMemory, arg: int) -> None:
    _check_under_construction(encl)
    pointer = uapi.ENCLAVE_INIT.unpack(user.read(arg, 8))["sigstruct"]
    sigstruct = user.read(pointer, SIGSTRUCT.size)
    f = SIGSTRUCT.unpack(sigstruct)
    machine, secs = encl.kernel.machine, encl.secs
    assert secs is not None
    if f["VENDOR"] not in (0, 0x8086):
        raise OSError(errno.EINVAL, f"SIGSTRUCT.VENDOR is {f['VENDOR']:#x}, neither 0 nor 0x8086")
    if secs.attributes & ~encl.attributes_mask:
        raise OSError(
            errno.EACCES,
            f"SECS.ATTRIBUTES has {secs.attributes & ~encl.attributes_mask:#x}, which is not allowed; "
            "PROVISIONKEY needs SGX_IOC_ENCLAVE_PROVISION",
        )
    if f["ATTRIBUTES"] & f["ATTRIBUTEMASK"] & ~machine.attributes:
        raise OSError(
            errno.EINVAL,
            f"SIGSTRUCT.ATTRIBUTES {f['ATTRIBUTES']:#x} not supported: the machine offers {int(machine.attributes):#x}",
        )
    if f["MISCSELECT"] & f["MISCMASK"] & ~machine.miscselect:
        raise OSError(
            errno.EINVAL,
            f"SIGSTRUCT.MISCSELECT {f['MISCSELECT']:#x} not supported: the machine offers {machine.miscselect:#x}",
        )
    if f["XFRM"] & f["XFRMMASK"] & ~machine.xfrm:
        raise OSError(
            errno.EINVAL, f"SIGSTRUCT.XFRM {f['XFRM']:#x} not supported: the machine offers {machine.xfrm:#x}"
        )
    if encl.secs_page is not None and encl.secs_page.epc is None:
        encl.kernel.reclaimer.reload(encl.secs_page)
    machine.lepubkeyhash = crypto.sha256(f["MODULUS"]).digest()
    try:
        code = encls.einit(machine, secs, sigstruct)
    except Fault as fault:
        raise OSError(errno.EIO, f"EINIT: {fault}") from None
    if code:
        _, why = encls.einit_refusal(machine, secs, sigstruct)
        raise OSError(errno.EPERM, f"EINIT: {ErrorCode(code).name}: {why}")
    encl.initialized = True
    encl.kernel.events.emit(EnclaveInitialised, secs.eid, secs.mrenclave.hex(), secs.mrsigner.hex(), len(encl.pages))
