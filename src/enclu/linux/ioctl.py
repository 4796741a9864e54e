"""The ioctls of /dev/sgx_enclave that build an enclave, and the dispatch of all.

Checks, their order, errno values and partial progress follow arch/x86/kernel/cpu/sgx/ioctl.c.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from enclu.base.events import EnclaveInitialised
from enclu.linux import ioctl_sgx2, uapi
from enclu.linux.add_pages import add_pages, check_under_construction
from enclu.linux.encl_page import EnclPage
from enclu.sgx import crypto, encls
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.exceptions import Fault
from enclu.sgx.structs import SECINFO, SECS, SIGSTRUCT, Attribute, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.sgx.processor import UserMemory


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
    encl.settle()
    encl.busy = True
    try:
        if cmd == uapi.SGX_IOC_ENCLAVE_CREATE:
            _create(encl, mm, user, fd, arg)
        elif cmd == uapi.SGX_IOC_ENCLAVE_ADD_PAGES:
            add_pages(encl, mm, user, arg, interrupted)
        elif cmd == uapi.SGX_IOC_ENCLAVE_INIT:
            _init(encl, user, arg)
        elif cmd == uapi.SGX_IOC_ENCLAVE_PROVISION:
            _provision(encl, user, arg, provision)
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
    """sgx_ioc_enclave_create(), sgx_encl_create().  Raises OSError; nothing is kept then, and it can be tried again."""
    if encl.created:
        raise OSError(errno.EINVAL, "the enclave of this descriptor has been created already")
    src = uapi.ENCLAVE_CREATE.unpack(user.read(arg, 8))["src"]
    image = user.read(src, PAGE_SIZE)
    size = SECS.get(image, "SIZE")
    if not size or size & (size - 1):  # the driver's own check, before ECREATE would answer EIO
        raise OSError(errno.EINVAL, f"SECS.SIZE {size:#x} is not a power of two")
    if size >> 63:  # shmem_file_setup() of the backing store: no file is as long
        raise OSError(errno.EINVAL, f"SECS.SIZE {size:#x} is more than a file can have")
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


def _provision(encl: Encl, user: UserMemory, arg: int, provision: Callable[[int], bool]) -> None:
    """sgx_ioc_enclave_provision(): before or after any other ioctl.  Raises OSError."""
    fd = uapi.ENCLAVE_PROVISION.unpack(user.read(arg, 8))["fd"] & 0xFFFF_FFFF
    if not provision(fd):  # sgx_set_attribute(), which takes an unsigned int
        raise OSError(errno.EINVAL, f"descriptor {fd} is not of /dev/sgx_provision")
    encl.attributes_mask |= Attribute.PROVISIONKEY


def _init(encl: Encl, user: UserMemory, arg: int) -> None:
    """sgx_ioc_enclave_init(), sgx_encl_init().  Raises OSError."""
    check_under_construction(encl)
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
    encl.kernel.reclaimer.load_secs(encl)
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
