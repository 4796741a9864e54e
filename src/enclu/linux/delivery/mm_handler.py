"""The RFC's third version: a program registers one handler for its memory map.  ABI: include/enclu_sgx.h.

An exception is fixed up if it is at an ENCLU, wherever in the program that stands.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from enclu.linux.delivery.base import Code, Delivery, Thread, at_enclu, check_code_address, check_flags
from enclu.linux.delivery.usage import Registration
from enclu.linux.uapi import IOC_NONE, IOC_WRITE, ioc
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.sgx.processor import Registers, UserMemory

MM_HANDLER = Structure("enclu_sgx_mm_handler", 16, (0, "handler", "Q"), (8, "flags", "Q"))
REGISTER = ioc(IOC_WRITE, 0x20, MM_HANDLER.size, "ENCLU_SGX_IOC_REGISTER_MM_HANDLER")
UNREGISTER = ioc(IOC_NONE, 0x21, 0, "ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER")

OVERWRITE, WRITE_ONCE, UNREGISTER_FIRST = "overwrite", "write-once", "unregister-first"


class MMHandlerDelivery(Delivery):
    """The setting is what a second registration does, and who may undo the first."""

    name: ClassVar[str] = "mm-handler"
    settings: ClassVar[tuple[str, ...]] = (OVERWRITE, WRITE_ONCE, UNREGISTER_FIRST)
    registration: ClassVar[Registration | None] = Registration(REGISTER, MM_HANDLER, UNREGISTER)

    def __init__(self, setting: str | None = None) -> None:
        super().__init__(setting)
        self._handlers: WeakKeyDictionary[MM, int] = WeakKeyDictionary()

    def ioctl(self, mm: MM, thread: Thread, user: UserMemory, cmd: int, arg: int) -> int:
        if cmd == REGISTER:
            self._register(mm, MM_HANDLER.unpack(user.read(arg, MM_HANDLER.size)))
        elif cmd == UNREGISTER:
            self._unregister(mm)
        else:
            return super().ioctl(mm, thread, user, cmd, arg)
        return 0

    def _register(self, mm: MM, request: dict[str, int]) -> None:
        check_flags(request["flags"])
        check_code_address(request["handler"])
        if mm in self._handlers and self.setting != OVERWRITE:
            raise OSError(errno.EBUSY, "a handler is registered")
        self._handlers[mm] = request["handler"]

    def _unregister(self, mm: MM) -> None:
        if mm not in self._handlers:
            raise OSError(errno.ENOENT, "no handler is registered")
        if self.setting == WRITE_ONCE:
            raise OSError(errno.EBUSY, "a handler once registered stays")
        del self._handlers[mm]

    def target(self, mm: MM, thread: Thread, cpu: Code, regs: Registers) -> int | None:
        handler = self._handlers.get(mm)
        return handler if handler is not None and at_enclu(cpu, regs) else None

    def on_fork(self, parent: Thread, child: Thread) -> None:
        if child.mm is not parent.mm and parent.mm in self._handlers:
            self._handlers[child.mm] = self._handlers[parent.mm]
