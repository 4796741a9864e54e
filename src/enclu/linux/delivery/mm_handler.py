"""The RFC's third version: a program registers one handler for its memory map.  ABI: include/enclu_sgx.h.

An exception is fixed up if it is at an ENCLU, wherever in the program that stands.
"""

from __future__ import annotations

import enum
import errno
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from enclu.linux.delivery.base import Code, Delivery, Process
from enclu.linux.mm import TASK_SIZE
from enclu.sgx.exceptions import PageFault
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    from enclu.linux.interfaces import UserMemory
    from enclu.linux.mm import MM
    from enclu.sgx.processor import Registers

MM_HANDLER = Structure("enclu_sgx_mm_handler", 16, (0, "handler", "Q"), (8, "flags", "Q"))
REGISTER = 0x4010_A420
"""_IOW(0xA4, 0x20, struct enclu_sgx_mm_handler)"""
UNREGISTER = 0x0000_A421
"""_IO(0xA4, 0x21)"""

ENCLU = b"\x0f\x01\xd7"
EENTER, ERESUME = 2, 3


class Policy(enum.Enum):
    """What a second registration does, and who may undo the first."""

    OVERWRITE = "overwrite"
    WRITE_ONCE = "write-once"
    UNREGISTER_FIRST = "unregister-first"


class MMHandlerDelivery(Delivery):
    name: ClassVar[str] = "mm-handler"

    def __init__(self, policy: str | Policy = Policy.OVERWRITE) -> None:
        self.policy = Policy(policy)
        self._handlers: WeakKeyDictionary[MM, int] = WeakKeyDictionary()

    def ioctl(self, mm: MM, thread: object, user: UserMemory, cmd: int, arg: int) -> int:
        if cmd == REGISTER:
            self._register(mm, MM_HANDLER.unpack(user.read(arg, MM_HANDLER.size)))
        elif cmd == UNREGISTER:
            self._unregister(mm)
        else:
            return super().ioctl(mm, thread, user, cmd, arg)
        return 0

    def _register(self, mm: MM, request: dict[str, int]) -> None:
        handler, flags = request["handler"], request["flags"]
        if flags:
            raise OSError(errno.EINVAL, f"unknown flags {flags:#x}")
        if not 0 < handler < TASK_SIZE:
            raise OSError(errno.EINVAL, f"handler {handler:#x} is not a user-space address")
        if mm in self._handlers and self.policy is not Policy.OVERWRITE:
            raise OSError(errno.EBUSY, "a handler is registered")
        self._handlers[mm] = handler

    def _unregister(self, mm: MM) -> None:
        if mm not in self._handlers:
            raise OSError(errno.ENOENT, "no handler is registered")
        if self.policy is Policy.WRITE_ONCE:
            raise OSError(errno.EBUSY, "a handler once registered stays")
        del self._handlers[mm]

    def target(self, mm: MM, cpu: Code, regs: Registers) -> int | None:
        handler = self._handlers.get(mm)
        if handler is None or regs.rax & 0xFFFF_FFFF not in (EENTER, ERESUME):
            return None
        try:
            at_enclu = cpu.read(regs.rip, len(ENCLU)) == ENCLU
        except PageFault:
            return None
        return handler if at_enclu else None

    def on_fork(self, parent: Process, child: Process) -> None:
        if child.space.mm is not parent.space.mm and parent.space.mm in self._handlers:
            self._handlers[child.space.mm] = self._handlers[parent.space.mm]

    def on_exec(self, process: Process) -> None:
        self._handlers.pop(process.space.mm, None)
