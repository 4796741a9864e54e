"""Per thread and per EENTER: handlers nest as ECALLs and OCALLs do.  ABI: include/enclu_sgx.h.

An exception at an ENCLU goes to the innermost handler of the thread.  As with rseq(2), a thread begins without any,
and a forked child, whose stack is a copy of the frames that registered, with its parent's.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from enclu.linux.delivery.base import Code, Delivery, Thread, at_enclu, check_code_address, check_flags
from enclu.linux.delivery.usage import Registration
from enclu.linux.uapi import IOC_WRITE, ioc
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.sgx.processor import Registers, UserMemory

THREAD_HANDLER = Structure("enclu_sgx_thread_handler", 16, (0, "handler", "Q"), (8, "flags", "Q"))
REGISTER = ioc(IOC_WRITE, 0x24, THREAD_HANDLER.size, "ENCLU_SGX_IOC_REGISTER_THREAD_HANDLER")
UNREGISTER = ioc(IOC_WRITE, 0x25, THREAD_HANDLER.size, "ENCLU_SGX_IOC_UNREGISTER_THREAD_HANDLER")
MAX_DEPTH = 64


class ThreadHandlerDelivery(Delivery):
    name: ClassVar[str] = "thread-handler"
    registration: ClassVar[Registration | None] = Registration(
        REGISTER, THREAD_HANDLER, UNREGISTER, THREAD_HANDLER, of_thread=True
    )

    def __init__(self, setting: str | None = None) -> None:
        super().__init__(setting)
        self._handlers: WeakKeyDictionary[Thread, list[int]] = WeakKeyDictionary()
        """Of each thread, the innermost last."""

    def ioctl(self, mm: MM, thread: Thread, user: UserMemory, cmd: int, arg: int) -> int:
        if cmd not in (REGISTER, UNREGISTER):
            return super().ioctl(mm, thread, user, cmd, arg)
        request = THREAD_HANDLER.unpack(user.read(arg, THREAD_HANDLER.size))
        handler = request["handler"]
        check_flags(request["flags"])
        check_code_address(handler)
        nested = self._handlers.setdefault(thread, [])
        if cmd == REGISTER:
            if len(nested) == MAX_DEPTH:
                raise OSError(errno.ENOSPC, f"{MAX_DEPTH} handlers are registered")
            nested.append(handler)
        else:
            if handler not in nested:
                raise OSError(errno.ENOENT, f"the thread has no handler {handler:#x}")
            while nested.pop() != handler:  # inner ones are of frames that were left without unregistering
                pass
        return 0

    def target(self, mm: MM, thread: Thread, cpu: Code, regs: Registers) -> int | None:
        nested = self._handlers.get(thread)
        return nested[-1] if nested and at_enclu(cpu, regs) else None

    def on_fork(self, parent: Thread, child: Thread) -> None:
        if child.mm is not parent.mm and parent in self._handlers:
            self._handlers[child] = list(self._handlers[parent])

    def on_exec(self, thread: Thread) -> None:
        self._handlers.pop(thread, None)
