"""When pages that a program adds one a call are queued, and when they are added: see `native.add_queue`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.base.events import Ioctl
from enclu.linux import uapi
from enclu.linux.add_pages import add_ready
from enclu.native import in_process
from enclu.native.add_queue import PAGES
from enclu.native.address_space import VDSO_AREA, VDSO_BASE
from enclu.native.path_calls import TWIN
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.structs import SECINFO

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.native.in_process import InProcess
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task

IN_A_ROW = 4
"""Pages that have been added one a call, each behind the last one, before the next are queued."""


@dataclass
class Row:
    """Pages of an enclave that have been added so in an address space."""

    encl: Encl
    next: int
    """ELRANGE offset of the next one."""
    count: int = 0


def added(
    sup: Supervisor, task: Task, taking: InProcess, rows: dict[InProcess, Row], encl: Encl, argument: int
) -> None:  # fmt: skip
    """The stopped thread has added pages by an ioctl with this argument.

    Raises Unable, and OSError where what the argument tells is not there any more.
    """
    f = uapi.ENCLAVE_ADD_PAGES.unpack(task.space.read(argument, uapi.ENCLAVE_ADD_PAGES.size))
    if f["length"] != PAGE_SIZE:
        return
    row = rows.get(taking)
    if row is None or (row.encl, row.next) != (encl, f["offset"]):
        settle(rows, taking)
        row = rows[taking] = Row(encl, f["offset"])
    row.count, row.next = row.count + 1, row.next + PAGE_SIZE
    if row.count >= IN_A_ROW and _may_queue(sup, task, taking):
        _arm(sup, task, taking, row, f["flags"], task.space.read(f["secinfo"], SECINFO.size))


def settle(rows: dict[InProcess, Row], taking: InProcess) -> None:
    """What is in the queue of the address space has been added."""
    row = rows.pop(taking, None)
    if row is not None:
        row.encl.settle()


def _may_queue(sup: Supervisor, task: Task, taking: InProcess) -> bool:
    by_slot = 0 <= task.regs.rip - VDSO_BASE - TWIN < VDSO_AREA - TWIN
    told = sup.events.prompt(Ioctl) or task.debugger is not None or task.user_dispatch
    return by_slot and not told and not taking.stepped and not task.process.filtered


def _arm(sup: Supervisor, task: Task, taking: InProcess, row: Row, flags: int, secinfo: bytes) -> None:
    encl, kernel, mm = row.encl, sup.kernel, task.mm
    index = encl.base + row.next >> 12
    end = encl.pages.first_in(index, min(index + PAGES, encl.base + encl.size >> 12))
    most = min(PAGES, (encl.size - row.next >> 12)) if end is None else end - index
    file = sup.interceptor.files.file_of(encl)
    roomy = kernel.reclaimer.plenty or kernel.machine.epc.free > 2 * PAGES
    if file is None or most <= 0 or not roomy or SECINFO.get(secinfo, "FLAGS") >> 8 & 0xFF != PageType.REG:
        return
    queue = in_process.have_queue(task, taking)
    mapped = (mm.vmas[0].start, mm.vmas[-1].end) if mm.vmas else (0, 0)
    queue.arm(row.next, most, flags, secinfo, mapped, file)
    encl.ahead = functools.partial(_add, sup, task, taking, row, flags, secinfo)
    if encl.settle not in mm.left:
        mm.left.append(encl.settle)


def _add(sup: Supervisor, task: Task, taking: InProcess, row: Row, flags: int, secinfo: bytes) -> None:
    queue = taking.queue
    assert queue is not None

    def take_out() -> None:
        for thread in [thread for thread in sup.threads.values() if thread.space.in_process is taking]:
            taking.halt(thread)

    contents = queue.disarm(take_out)
    if contents:
        try:
            add_ready(row.encl, row.next, contents, secinfo, flags)
        except OSError as error:
            raise AssertionError(f"{len(contents)} bytes that the program was told are added: {error}") from error
        row.next += len(contents)
        with sup.events.acting(task.process.tgid, task.tid):
            sup.events.emit(Ioctl, row.encl.eid, uapi.ioctl_name(uapi.SGX_IOC_ENCLAVE_ADD_PAGES), 0)
