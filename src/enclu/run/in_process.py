"""When transitions take place in the program's own process, and when they must not: see `native.in_process`."""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.base.events import LeavesLost
from enclu.native import in_process, proc
from enclu.native.address_space import VDSO_IMAGE, AddressSpace
from enclu.native.exceptions import USER_CS, USER_DS
from enclu.native.in_process import RING_SIZE, Unable
from enclu.native.own_aex import under_way
from enclu.native.shared_area import BIAS, SLOT_COUNT, TCS_COUNT, SharedArea
from enclu.native.sites import JUMP_SIZE, Kind, jump
from enclu.native.stop import Settled
from enclu.native.tickets import FRAMES, Entry
from enclu.native.trampoline import Trampoline
from enclu.run import add_queue, own_aex
from enclu.run.transitions import Transitions
from enclu.sgx import telling
from enclu.sgx.enclave_mode import SLOT_SIZE, WORD, XSAVE
from enclu.sgx.enclu.enter import ssa_pages
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Fault
from enclu.sgx.structs import ENCLU, GPRSGX, TCS, TCS_DBGOPTIN, EncluLeaf
from enclu.sgx.xsave import AMX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.native import ptrace
    from enclu.native.in_process import InProcess
    from enclu.native.thread import Thread
    from enclu.run.add_queue import Row
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task
    from enclu.sgx.epc import EPCPage
    from enclu.sgx.secs import Secs


_TCS = WORD["TCS"]
OUT_OF_REACH = "an ENCLU is no jump, for nothing is free where that would lead"
PATIENCE = 16
"""How often a thread's slot is to be mapped in vain before nobody tries any more."""
UNKNOWN = (errno.EIO, errno.EINVAL, errno.ENOSYS, errno.EPERM)
"""Of ptrace(2): the kernel does not know the request, or has been built without."""


class InProcessTransitions(Transitions):
    """Those of a run without `--no-fast-path`."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self._given_up = False
        """The host does not let it be."""
        self._by_stops: dict[str, None] = {}
        """Why some transitions stop their threads that might not, in the order in which that was found."""
        self._executed: Counter[EncluLeaf] = Counter()
        self._counted: dict[Task, dict[EncluLeaf, int]] = {}
        """What has been counted of each thread so far."""
        self._area: SharedArea | None = None
        image = supervisor.image
        site = image.extable[0][0] if image.extable else 0
        self._trampoline = Trampoline(image.symbols, image.undo, site)
        self._site = self._trampoline.site if "enclu_jump" in image.symbols else 0
        """The ENCLU of the vDSO's function, which has a jump in front of it."""
        self.spaces: list[InProcess] = []
        self._rows: dict[InProcess, Row] = {}
        supervisor.leaves.on_heard = self._record_all
        supervisor.leaves.onward = self._onward
        supervisor.events.overdue = self._overdue

    # Who takes part.

    def opened(self, task: Task) -> None:
        space = task.space
        if self._given_up or space.in_process is not None:
            return
        try:
            space.in_process = in_process.prepare(task, self._shared(), self._trampoline, self._tell, self._halt)
        except Unable as error:
            self._refused(str(error))
            return
        self.spaces.append(space.in_process)

    def _shared(self) -> SharedArea:
        """Raises Unable."""
        if self._area is None:
            layout = self._sup.machine.layout
            if XSAVE + layout.size_of(layout.xcr0) > SLOT_SIZE:
                raise Unable("the processor has more extended state than a slot has room for")
            try:
                self._area = SharedArea()
            except OSError as error:
                raise Unable(f"the machine has no memory to share with programs ({error.strerror})") from None
            for thread in self._sup.threads.values():
                self.place(thread)
        return self._area

    def place(self, task: Task) -> None:
        if self._area is not None and task.slot_index < SLOT_COUNT:
            slot = self._area.slot(task.slot_index, SLOT_SIZE + RING_SIZE)
            slot[:XSAVE] = bytes(XSAVE)
            task.slot = slot
            task.mode.place(slot, SharedArea.slot_address(task.slot_index) + BIAS)
            task.mode.words[WORD["CS"]], task.mode.words[WORD["SS"]] = USER_CS, USER_DS

    def _begin(self, task: Task, taking: InProcess) -> None:
        """Nobody is halted for it: a thread takes part from its first entry on."""
        if task.in_process or self._given_up or taking.failures > PATIENCE:
            return
        if task.user_dispatch:
            self._refused("a thread has its system calls dispatched by prctl(PR_SET_SYSCALL_USER_DISPATCH)")
        elif task.slot_index >= SLOT_COUNT:
            self._refused(f"more than {SLOT_COUNT} threads live")
        elif "shstk" in proc.status(task.tid).get("x86_Thread_features", ""):
            self._refused("a thread has a shadow stack, which IRET would look at")
        else:
            try:
                if self._sup.leaves.heard:
                    in_process.record(task, taking, task.slot_index, lossy=self._sup.leaves.lossy)
                in_process.begin(task, taking, task.slot_index)
            except ProcessLookupError:
                raise
            except Unable as error:
                taking.failures += 1
                self._refused(str(error))
            except OSError as error:
                self._given_up = error.errno in UNKNOWN
                self._refused(in_process.NOT_OFFERED.format(error.strerror))

    def _refused(self, why: str) -> None:
        self._by_stops[why] = None

    def born(self, parent: Task, task: Task) -> None:
        if parent.space.in_process is not None and task.space is not parent.space:
            in_process.disarm(task.space, AddressSpace.poke)  # the vDSO and the text are copies of its parent's
        if parent.in_process:
            in_process.end(task, identified=True)

    def withdraw(self, task: Task) -> None:
        in_process.end(task, identified=task.in_process)

    def exec(self, task: Task) -> None:
        own_aex.tell(self._sup, task, further=True)
        task.in_process = False

    def space_gone(self, space: AddressSpace, mm: MM) -> None:
        taking = space.in_process
        if taking is not None:
            add_queue.settle(self._rows, taking)
            for encl in {vma.encl for vma in mm.vmas}:
                if encl is not None and encl.created:
                    self.give_back(encl.eid)
            space.in_process = None
            self.spaces.remove(taking)
            taking.close()

    # Tickets.

    def begin_epoch(self, eid: int, epoch: int) -> None:
        for taking in self.spaces:
            taking.tickets.begin_epoch(eid, epoch)

    def revoke(self, eid: int, pages: Collection[tuple[int, int]] | None = None) -> None:
        for taking in self.spaces:
            taking.tickets.revoke(eid, pages)

    def before(self, task: Task, leaf: int) -> None:
        """EENTER and ERESUME: nobody may claim the TCS meanwhile.  EACCEPTCOPY and EMODPE: what is copied, or may be
        written from now on, is what the enclave has put there.
        """
        if leaf in (EncluLeaf.EENTER, EncluLeaf.ERESUME):
            for taking in self.spaces:
                taking.tickets.suspend(task.regs.rbx)
        elif leaf in (EncluLeaf.EACCEPTCOPY, EncluLeaf.EMODPE) and task.mode.enclave:
            address = task.regs.rdx if leaf == EncluLeaf.EACCEPTCOPY else task.regs.rcx
            page = self._sup.machine.enclaves[task.mode.eid].page_at(address)
            if page is not None:
                self.leaves_epc([page])

    def _record_all(self) -> None:
        """Somebody wants to be told of leaves."""
        for task in list(self._sup.threads.values()):
            if task.in_process:
                self._sup.halter.with_halted(task, self._record)

    def _record(self, task: Task) -> None:
        taking = task.space.in_process
        if taking is not None:
            try:
                in_process.record(task, taking, task.slot_index, lossy=self._sup.leaves.lossy)
            except Unable as error:  # then its leaves are to stop it
                self._refused(str(error))
                self.withdraw(task)

    def _tell(self, thread: Thread, records: memoryview, more: int) -> None:
        """Of what has been executed in process, in its order; other threads may have executed something meanwhile."""
        events, pid = self._sup.events, thread.process.tgid
        with events.acting(pid, thread.tid):
            if events.leaves.raw is not None:
                events.leaves.raw(pid, thread.tid, records)
            else:
                self._tell_each(records)
            if more:
                events.emit(LeavesLost, more)

    def _halt(self, thread: Thread) -> None:
        """Have a thread, which may be running, taken out of the code; it goes on."""
        task = self._sup.threads.get(thread.tid)
        if task is not None:
            self._sup.halter.with_halted(task, lambda thread: None)

    def _tell_each(self, records: memoryview) -> None:
        for _tsc, eid, leaf, tcs, rax, before in in_process.leaves_of(records):
            telling.recorded(self._sup.events, eid, leaf, tcs, rax, before)

    def _onward(self, pid: int) -> dict[int, int]:
        """See `Leaves.onward`."""
        tasks = (task for task in self._sup.threads.values() if task.process.tgid == pid)
        return {task.tid: task.mode.words[WORD["ONWARD"]] for task in tasks}

    def _overdue(self, pid: int) -> None:
        """See `Events.overdue`."""
        self._settle_all()
        for task in self._sup.threads.values():
            if task.process.tgid == pid and task.untold is not None and not under_way(task):
                own_aex.tell(self._sup, task)

    def faulted(self, task: Task, leaf: int) -> bool:
        if leaf not in (EncluLeaf.EENTER, EncluLeaf.ERESUME):
            return False
        tcs_la = task.regs.rbx
        if any([self._gives_up(other, tcs_la) for other in list(self._sup.threads.values()) if other is not task]):
            return True
        self._resume(tcs_la)
        return False

    def _gives_up(self, task: Task, tcs_la: int) -> bool:
        """The TCS, for which it may have been busy, is no longer claimed by a thread that was about to enter."""
        if not tcs_la or task.mode.tcs_la != tcs_la or task.mode.enclave:  # 0 stands for no TCS in modes alone
            return False
        self._halt(task)
        return not task.mode.tcs_la

    def _resume(self, tcs_la: int) -> None:
        for taking in self.spaces:
            taking.tickets.resume(tcs_la)

    def after(self, task: Task, leaf: int, site: int) -> None:
        if leaf in (EncluLeaf.EENTER, EncluLeaf.ERESUME):
            self._resume(task.mode.tcs_la)
            if leaf == EncluLeaf.ERESUME or not task.regs.rax:
                own_aex.tell(self._sup, task, further=True)
        taking = task.space.in_process
        if taking is None:
            return
        by_stops = taking.stepped or task.mode.dbgoptin
        if task.mode.dbgoptin and not taking.stepped:
            self._refused("a TCS has DBGOPTIN")
        if leaf in (EncluLeaf.EENTER, EncluLeaf.ERESUME):
            if not by_stops:
                self._entered(task, taking, site)
            if not self._sees_tcs(task, taking):
                task.mode.move_tcs(0)
        elif leaf in (EncluLeaf.EEXIT, EncluLeaf.EDECCSSA) and not by_stops:
            self._quicken_exit(task, taking, site)

    def _entered(self, task: Task, taking: InProcess, site: int) -> None:
        self._begin(task, taking)
        if task.in_process:
            page = self._sup.machine.enclaves[task.mode.eid].used(task.mode.tcs_la)
            if taking.tickets.frames(task.mode.tcs_la) <= min(TCS.get(page.data, "CSSA"), FRAMES - 1):
                self._issue(task, taking)
            if site != self._site:
                self._quicken_entry(task, taking, site)

    @staticmethod
    def _sees_tcs(task: Task, taking: InProcess) -> bool:
        """What code in the process would take for the TCS in use is that, and nothing of the program's own."""
        at = task.mode.words[_TCS]
        return task.in_process and taking.area.tcs_part(at).address in taking.mapped

    def _issue(self, task: Task, taking: InProcess) -> None:
        mode, sup = task.mode, self._sup
        tcs_la, secs = mode.tcs_la, sup.machine.enclaves[mode.eid]
        narrow = sup.machine.layout.xcr0 & ~secs.xfrm
        narrowed = sup.narrowed.get(mode.eid)
        if secs.xfrm & AMX or narrow >> 32:
            self._refused("an enclave has AMX in XFRM, or the processor has components of extended state beyond 31")
            return
        if (narrowed is not None and narrowed.breakpoints) or task.breakpoints:
            self._refused("debug registers watch for instructions that read XCR0 in an enclave")
            return
        if not taking.tickets.free(tcs_la):
            self._refused("the tickets of two TCSes have the same place")
            return
        at = self._move(secs, tcs_la)
        if not at:
            self._refused(f"more than {TCS_COUNT} TCSes are in use")
            return
        try:
            in_process.have(task, taking, taking.area.tcs_part(at))
        except Unable as error:
            self._refused(str(error))
            return
        mode.move_tcs(at)
        entry = self._entry(task, secs, tcs_la, at, narrow)
        if entry is not None:
            taking.tickets.issue(entry, lambda: self._nobody_entering(task.space, task))

    def _move(self, secs: Secs, tcs_la: int) -> int:
        """The TCS, in memory that processes may map; its address there, 0 if there is no room."""
        area = self._area
        assert area is not None
        page = secs.used(tcs_la)
        if page.lease is not None:
            return page.lease.address
        address = area.take_tcs()
        if address:
            place = area.tcs(address)
            place[:] = page.data
            page.data = place
            page.lease = Lease(area, address)
        return address

    def _entry(self, task: Task, secs: Secs, tcs_la: int, at: int, narrow: int) -> Entry | None:
        f = TCS.unpack(secs.used(tcs_la).data)
        if f["FLAGS"] & TCS_DBGOPTIN:
            return None
        size = secs.ssaframesize * 4096
        first = secs.baseaddr + f["OSSA"]
        frames = 0
        with contextlib.suppress(Fault):
            while frames < min(f["CSSA"] + 1, FRAMES):  # those that have been current, as far as they are still there
                ssa_pages(task, secs, first + frames * size)
                task.touch(first + frames * size, first + (frames + 1) * size)
                frames += 1
        if not frames:
            return None
        base = secs.baseaddr
        return Entry(
            tcs_la, at, first + size - GPRSGX.size, size, frames, base + f["OFSBASE"], base + f["OGSBASE"], secs.eid,
            base, secs.size, secs.epoch, narrow, secs.xfrm, base + f["OENTRY"],
        )  # fmt: skip

    # ENCLUs that are jumps.

    def exception(self, task: Task, info: ptrace.SigInfo) -> bool:
        return own_aex.take(self._sup, task, info)

    def was_enclu(self, task: Task, site: int) -> bool:
        space, taking = task.space, task.space.in_process
        if taking is None:
            return False
        in_enclave = site in taking.jumps and space.peek(site, len(ENCLU)) == taking.jumps[site]
        return in_enclave or space.sites.stands(space, site, Kind.ENCLU)

    def stepped(self, task: Task) -> bool:
        taking = task.space.in_process
        if taking is None:
            return False
        if not taking.stepped:
            taking.stepped = True
            taking.tickets.revoke()
            in_process.disarm(task.space, self._sup.halter.poke_text)
            self._refused("a program steps through its code")
        return task.settled is Settled.BACK and task.regs.rip == self._site

    def text_changes(self, space: AddressSpace, start: int, end: int) -> None:
        # The last two bytes of a jump are those behind the ENCLU.
        space.sites.take_back(space, Kind.ENCLU, start - (JUMP_SIZE - len(ENCLU)), end, self._sup.halter.poke_text)

    def _jump(self, task: Task, taking: InProcess, site: int, *, inside: bool) -> bytes | None:
        """What an ENCLU becomes that is to be a jump; None where others have changed it before, or nothing reaches."""
        code = task.space.peek(site, JUMP_SIZE)
        if code[: len(ENCLU)] != ENCLU or len(code) < JUMP_SIZE or taking.out_of_reach.get(site) == code:
            return None
        copy = in_process.copy_for(task, site, code[len(ENCLU) :], inside=inside)
        if copy is None:
            self._is_no_jump(taking, site, code)
            return None
        return jump(site, copy.start)[: len(ENCLU)]

    def _is_no_jump(self, taking: InProcess, site: int, code: bytes) -> None:
        taking.out_of_reach[site] = code
        self._refused(OUT_OF_REACH)

    def _quicken_entry(self, task: Task, taking: InProcess, site: int) -> None:
        """Have an ENCLU of the program, which has just entered for the first time, be a jump."""
        space = task.space
        replacement = self._jump(task, taking, site, inside=False)
        if replacement is None:
            return
        alone = sum(thread.space is space for thread in self._sup.threads.values()) == 1
        try:
            space.sites.put(space, site, Kind.ENCLU, ENCLU, replacement, None if alone else self._sup.halter.poke_text)
        except OSError:  # the text is a file's that nobody may write
            self._is_no_jump(taking, site, space.peek(site, JUMP_SIZE))

    def _quicken_exit(self, task: Task, taking: InProcess, site: int) -> None:
        """Have an ENCLU of an enclave, by which a thread has just left it or given up a frame, be a jump."""
        vma = task.mm.find_vma(site)
        encl = vma.encl if vma is not None else None
        if encl is None or encl.mms != {task.mm} or site & 0xFFF > PAGE_SIZE - JUMP_SIZE:
            return
        page = encl.resident(site)
        if page is None or page.rwx & 2:
            return
        replacement = self._jump(task, taking, site, inside=True)
        if replacement is not None:
            taking.add(site, replacement)
            self._write(encl.eid, page.data, site, replacement)

    def _write(self, eid: int, page: memoryview, site: int, code: bytes) -> None:
        """In place of an ENCLU of the enclave: at once, for other processors may be executing what is there."""
        words, at = page.cast("Q"), site & 0xFFF
        if (at & 7) + len(code) > 8:
            self.revoke(eid)
            with self._sup.halter.halted(self._sup.halter.threads_in(eid)):
                page[at : at + len(code)] = code
            return
        word = bytearray(words[at >> 3].to_bytes(8, "little"))
        word[at & 7 : (at & 7) + len(code)] = code
        words[at >> 3] = int.from_bytes(word, "little")

    def give_back(self, eid: int) -> None:
        secs = self._sup.machine.enclaves[eid]
        for taking in self.spaces:
            for site, code in list(taking.jumps.items()):
                if secs.baseaddr <= site < secs.baseaddr + secs.size:
                    page = secs.page_at(site)
                    if page is not None:
                        self._undo(page, site, code)

    def give_way(self, space: AddressSpace, start: int, end: int) -> None:
        taking, sup = space.in_process, self._sup
        if taking is None or sup.current is None:
            return
        taking.announce(sup.current.tid, start, end)
        self.text_changes(space, start, end)
        if start < VDSO_IMAGE[1] and VDSO_IMAGE[0] < end:  # where it has breakpoints, from now on perhaps
            in_process.disarm_function(space, sup.halter.poke_text)
        pages = [page for page in taking.room if page < end and start < page + PAGE_SIZE]
        poke_text = sup.halter.poke_text
        for page in pages:
            for site in [copy.site for copy in taking.copies if copy.start & -PAGE_SIZE == page]:
                for eid, secs in list(sup.machine.enclaves.items()):
                    if secs.baseaddr <= site < secs.baseaddr + secs.size:
                        self.give_back(eid)
                        sup.halter.kick(eid)  # nobody is in a copy any more
                if space.sites.take_back(space, Kind.ENCLU, site, site + 1, poke_text):
                    self._nobody_entering(space, sup.current)
                taking.forget(site)
            del taking.room[page]
            sup.halter.inject_in(space, NR["munmap"], page, PAGE_SIZE)

    def _nobody_entering(self, space: AddressSpace, but: Task) -> None:
        """Whoever is about to enter has been taken out of the code that does; in a system call, nobody is."""
        for task in [task for task in self._sup.threads.values() if task.space is space and task is not but]:
            with contextlib.suppress(*proc.GONE):
                if proc.system_call(task.tid) == proc.NO_CALL:
                    self._halt(task)

    def leaves_epc(self, pages: Iterable[EPCPage]) -> None:
        for taking in self.spaces:
            if taking.pages:
                for page in pages:
                    for site in list(taking.pages.get(page.enclaveaddress >> 12, ())):
                        self._undo(page, site, taking.jumps[site])

    def _undo(self, page: EPCPage, site: int, code: bytes) -> None:
        at = site & 0xFFF
        if page.secs is not None and page.data[at : at + len(code)] == code:
            self._write(page.secs.eid, page.data, site, ENCLU)

    def original(self, address: int, data: bytes) -> bytes:
        for taking in self.spaces:
            for site, code in taking.jumps.items():
                low, high = max(site, address), min(site + len(code), address + len(data))
                if low < high and data[low - address : high - address] == code[low - site : high - site]:
                    data = data[: low - address] + ENCLU[low - site : high - site] + data[high - address :]
        return data

    # Loading.

    def added(self, task: Task, encl: Encl, argument: int) -> None:
        taking = task.space.in_process
        if taking is None:
            return
        try:
            add_queue.added(self._sup, task, taking, self._rows, encl, argument)
        except ProcessLookupError:
            raise
        except Unable as error:
            self._refused(str(error))
        except OSError:
            return  # another thread has taken it away

    def _settle_all(self) -> None:
        for encl in self._sup.kernel.enclaves():
            encl.settle()

    # Counters.

    def count(self) -> None:
        self._settle_all()
        for task in self._sup.threads.values():
            own_aex.tell(self._sup, task)
            self._count_of(task)

    def gone(self, task: Task) -> None:
        own_aex.tell(self._sup, task)
        self._count_of(task)
        del self._counted[task]
        taking = task.space.in_process
        if taking is not None:
            taking.announced.pop(task.tid, None)
            taking.read_ring(task)

    def _count_of(self, task: Task) -> None:
        before, now = self._counted.get(task, {}), task.mode.counts()
        self._counted[task] = now
        for leaf, number in now.items():
            more = number - before.get(leaf, 0)
            self._sup.leaves.counts[leaf] += more
            self._executed[leaf] += more

    def in_process(self) -> dict[str, int]:
        return {leaf.name: number for leaf, number in self._executed.items() if number}

    def by_stops(self) -> list[str]:
        return list(self._by_stops)


class Lease:
    """A page of the area that is a TCS."""

    def __init__(self, area: SharedArea, address: int) -> None:
        self._area = area
        self.address = address

    def end(self) -> None:
        self._area.give_tcs(self.address)
