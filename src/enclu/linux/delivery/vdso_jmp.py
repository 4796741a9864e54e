"""The idea before the RFC's third version: the vDSO has ENCLU and UD2, and an ioctl patches the UD2 to a jump.

Enclave exits and exceptions go on behind the ENCLU: to the program's code by JMP rel32, or to the UD2's #UD and thus a
signal.  The patched bytes are all the state there is, so fork copies it with the memory and exec makes it anew.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, ClassVar

from enclu.linux.delivery.base import Thread, check_code_address, check_flags
from enclu.linux.delivery.usage import Entry, Registration, VdsoEnclu
from enclu.linux.delivery.vdso import VdsoDelivery
from enclu.linux.uapi import IOC_NONE, IOC_WRITE, ioc
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.sgx.processor import UserMemory

VDSO_TARGET = Structure("enclu_sgx_vdso_target", 16, (0, "target", "Q"), (8, "flags", "Q"))
SET_TARGET = ioc(IOC_WRITE, 0x22, VDSO_TARGET.size, "ENCLU_SGX_IOC_SET_VDSO_TARGET")
CLEAR_TARGET = ioc(IOC_NONE, 0x23, 0, "ENCLU_SGX_IOC_CLEAR_VDSO_TARGET")

UNPATCHED = b"\x0f\x0b\xcc\xcc\xcc"
"""UD2, and room for the rest of a jump."""
JMP_REL32 = 0xE9
SIZE = len(UNPATCHED)


class VdsoJmpDelivery(VdsoDelivery):
    name: ClassVar[str] = "vdso-jmp"
    vdso: ClassVar[str] = "vdso_jmp"
    entry: ClassVar[Entry] = VdsoEnclu()
    registration: ClassVar[Registration | None] = Registration(SET_TARGET, VDSO_TARGET, CLEAR_TARGET)

    def ioctl(self, mm: MM, thread: Thread, user: UserMemory, cmd: int, arg: int) -> int:
        ((_, landing),) = self._image.extable
        site = mm.vdso + landing
        if cmd == SET_TARGET:
            jump = self._jump(mm, site, VDSO_TARGET.unpack(user.read(arg, VDSO_TARGET.size)))
            if user.read(site, SIZE) != UNPATCHED:
                raise OSError(errno.EBUSY, "the vDSO has been patched")
            mm.kernel.processors.patch_text(mm.page_tables, site, jump)
        elif cmd == CLEAR_TARGET:
            if user.read(site, SIZE)[0] != JMP_REL32:
                raise OSError(errno.ENOENT, "the vDSO has not been patched")
            mm.kernel.processors.patch_text(mm.page_tables, site, UNPATCHED)
        else:
            return super().ioctl(mm, thread, user, cmd, arg)
        return 0

    def _jump(self, mm: MM, site: int, request: dict[str, int]) -> bytes:
        """The jump at `site`.  Raises OSError EINVAL if there can be none."""
        check_flags(request["flags"])
        target = request["target"]
        check_code_address(target)
        distance = target - (site + SIZE)
        if not -(1 << 31) <= distance < 1 << 31:
            raise OSError(errno.EINVAL, f"{target:#x} is beyond 2 GiB from {site:#x}")
        if mm.find_vma(target) is not None or not mm.page_tables.executable(target):
            raise OSError(errno.EINVAL, f"{target:#x} is not executable")
        return struct.pack("<Bi", JMP_REL32, distance)
