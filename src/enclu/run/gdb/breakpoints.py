"""Software breakpoints: INT3 in place of a byte, in a program's memory or in a debug enclave's.

Whoever reads the memory for somebody else gets the byte (`AddressSpace.give_originals`), and no page leaves the EPC
with a breakpoint in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from enclu.native.address_space import INT3
from enclu.run.gdb import memory
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.native.address_space import AddressSpace
    from enclu.run.task import Task
    from enclu.sgx.epc import EPCPage

CODE = bytes((INT3,))


class Breakpoints:
    """Those of a run.  The threads that may meet them are stopped when they come and go."""

    def __init__(self, tasks: Callable[[], Iterable[Task]]) -> None:
        self._tasks = tasks
        self._away: dict[AddressSpace, set[int]] = {}
        """Where a page with breakpoints has been evicted, or is not mapped yet, and they are to be."""

    def insert(self, task: Task, address: int) -> None:
        """Raises OSError where there is no memory to change."""
        space, mm = task.space, task.mm
        if address in space.breakpoints:
            return
        encl = memory.enclave_at(mm, address)
        if encl is None and (page := _unmapped(mm, address)) is not None:
            space.breakpoints[address] = page.data[address % PAGE_SIZE]
            self._away.setdefault(space, set()).add(address)
            return
        if encl is not None:
            memory.read_enclave(mm, address, 1)  # brings the page into the EPC
        (byte,) = memory.byte_at(space, mm, address) or (0,)
        memory.poke(space, mm, address, CODE)
        space.breakpoints[address] = byte

    def remove(self, task: Task, address: int) -> None:
        """What has been unmapped or unloaded needs nothing."""
        space, mm = task.space, task.mm
        byte = space.breakpoints.pop(address, None)
        self._away.get(space, set()).discard(address)
        if byte is not None and memory.byte_at(space, mm, address) == CODE:
            with contextlib.suppress(OSError):
                memory.poke(space, mm, address, bytes((byte,)))

    def remove_all(self, task: Task) -> None:
        for address in list(task.space.breakpoints):
            self.remove(task, address)

    def hit(self, task: Task) -> bool:
        """The thread, whose registers have been read, has executed one."""
        at = task.regs.rip - 1
        return at in task.space.breakpoints and memory.byte_at(task.space, task.mm, at) == CODE

    def forked(self, parent: Task, child: Task, *, kept: bool) -> None:
        """The child has a copy of its parent's memory, but of no enclave."""
        if child.space is parent.space:
            return
        for address, byte in parent.space.breakpoints.items():
            if parent.mm.find_vma(address) is None:
                if kept:
                    child.space.breakpoints[address] = byte
                elif child.space.peek(address, 1) == CODE:
                    child.space.poke(address, bytes((byte,)))

    def _spaces(self) -> Iterator[tuple[AddressSpace, MM]]:
        seen = set()
        for task in self._tasks():
            if task.space not in seen:
                seen.add(task.space)
                yield task.space, task.mm

    def leave_epc(self, pages: Iterable[EPCPage]) -> None:
        """The pages are about to be written out, or copied: the bytes are in their places."""
        starts = {page.enclaveaddress & -PAGE_SIZE: page for page in pages}
        for space, mm in self._spaces():
            for address, byte in space.breakpoints.items():
                page = starts.get(address & -PAGE_SIZE)
                encl = memory.enclave_at(mm, address)
                if page is None or encl is None or encl.resident(address) is not page:
                    continue
                if page.data[address % PAGE_SIZE] == INT3:
                    page.data[address % PAGE_SIZE] = byte
                    self._away.setdefault(space, set()).add(address)

    def put_back(self, task: Task) -> None:
        """The thread is about to go on: pages that have come, or come back, have their breakpoints."""
        away = self._away.get(task.space)
        for address in list(away or ()):
            encl = memory.enclave_at(task.mm, address)
            page = encl.resident(address) if encl is not None else None
            if page is not None and away is not None:
                away.discard(address)
                page.data[address % PAGE_SIZE] = INT3

    def forget_enclave(self, start: int, end: int) -> None:
        """An enclave is no more.  Memory of the program's in its ELRANGE keeps its breakpoints."""
        for space, mm in self._spaces():
            for address in [a for a in space.breakpoints if start <= a < end and mm.find_vma(a) is None]:
                if memory.byte_at(space, mm, address) != CODE:
                    del space.breakpoints[address]
                    self._away.get(space, set()).discard(address)


def _unmapped(mm: MM, address: int) -> EPCPage | None:
    """The page of a debug enclave that the process has mapped elsewhere, but not there: it is about to."""
    for encl in {vma.encl for vma in mm.vmas if vma.encl is not None}:
        if encl.base <= address < encl.base + encl.size and memory.is_debug(encl):
            return encl.resident(address)
    return None
