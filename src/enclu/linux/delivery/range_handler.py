"""Libraries register handlers for exceptions at their own ENCLUs.  ABI: include/enclu_sgx.h.

A handler serves a range of code: several runtimes coexist without knowing each other, as their ranges do not overlap.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

from enclu.linux.delivery.base import Code, Delivery, Thread, at_enclu, check_code_address, check_flags
from enclu.linux.delivery.usage import Registration
from enclu.linux.mm import TASK_SIZE
from enclu.linux.uapi import IOC_WRITE, ioc
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.sgx.processor import Registers, UserMemory

RANGE_HANDLER = Structure(
    "enclu_sgx_range_handler", 32, (0, "start", "Q"), (8, "length", "Q"), (16, "handler", "Q"), (24, "flags", "Q")
)
RANGE = Structure("enclu_sgx_range", 16, (0, "start", "Q"), (8, "length", "Q"))
REGISTER = ioc(IOC_WRITE, 0x26, RANGE_HANDLER.size, "ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER")
UNREGISTER = ioc(IOC_WRITE, 0x27, RANGE.size, "ENCLU_SGX_IOC_UNREGISTER_RANGE_HANDLER")
MAX_RANGES = 256


class Range(NamedTuple):
    """[start, end) and the handler for the ENCLUs in it."""

    start: int
    end: int
    handler: int

    def overlaps(self, start: int, end: int) -> bool:
        return max(self.start, start) < min(self.end, end)


class RangeHandlerDelivery(Delivery):
    name: ClassVar[str] = "range-handler"
    registration: ClassVar[Registration | None] = Registration(REGISTER, RANGE_HANDLER, UNREGISTER, RANGE)

    def __init__(self, setting: str | None = None) -> None:
        super().__init__(setting)
        self._ranges: WeakKeyDictionary[MM, list[Range]] = WeakKeyDictionary()

    def ioctl(self, mm: MM, thread: Thread, user: UserMemory, cmd: int, arg: int) -> int:
        if cmd == REGISTER:
            self._register(mm, RANGE_HANDLER.unpack(user.read(arg, RANGE_HANDLER.size)))
        elif cmd == UNREGISTER:
            self._unregister(mm, RANGE.unpack(user.read(arg, RANGE.size)))
        else:
            return super().ioctl(mm, thread, user, cmd, arg)
        return 0

    def _register(self, mm: MM, request: dict[str, int]) -> None:
        new = Range(request["start"], request["start"] + request["length"], request["handler"])
        check_flags(request["flags"])
        check_code_address(new.handler)
        if new.start == new.end or new.end > TASK_SIZE:
            raise OSError(errno.EINVAL, f"[{new.start:#x}, {new.end:#x}) is empty or not in user space")
        ranges = self._ranges.setdefault(mm, [])
        if any(r.overlaps(new.start, new.end) for r in ranges):
            raise OSError(errno.EEXIST, f"[{new.start:#x}, {new.end:#x}) overlaps a registered range")
        if len(ranges) == MAX_RANGES:
            raise OSError(errno.ENOSPC, f"{MAX_RANGES} ranges are registered")
        ranges.append(new)

    def _unregister(self, mm: MM, request: dict[str, int]) -> None:
        start, end = request["start"], request["start"] + request["length"]
        for known in self._ranges.get(mm, ()):
            if (known.start, known.end) == (start, end):
                self._ranges[mm].remove(known)
                return
        raise OSError(errno.ENOENT, f"[{start:#x}, {end:#x}) is not registered")

    def target(self, mm: MM, thread: Thread, cpu: Code, regs: Registers) -> int | None:
        for known in self._ranges.get(mm, ()):
            if known.start <= regs.rip < known.end:
                return known.handler if at_enclu(cpu, regs) else None
        return None

    def on_fork(self, parent: Thread, child: Thread) -> None:
        if child.mm is not parent.mm and parent.mm in self._ranges:
            self._ranges[child.mm] = list(self._ranges[parent.mm])

    def watches(self, mm: MM, start: int, end: int) -> bool:
        return any(r.overlaps(start, end) for r in self._ranges.get(mm, ()))

    def on_unmap(self, mm: MM, start: int, end: int) -> None:
        if mm in self._ranges:
            self._ranges[mm] = [r for r in self._ranges[mm] if not r.overlaps(start, end)]
