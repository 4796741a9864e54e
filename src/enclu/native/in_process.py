"""Transitions in the program's own process: EENTER, ERESUME, EEXIT, EDECCSSA, by the vDSO's function and any ENCLU.

An address space that takes part maps the shared area and has the vDSO function jump to `linux/vdso/in_process.h`.  A
thread that takes part can find its slot, and has its system calls dispatched by the slot's byte for CR_ENCLAVE_MODE:
SYSCALL in an enclave is SIGSYS then, for nobody knows when the thread enters.  All others execute ENCLU by a stop.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enclu.base.abi import (
    AT_FDCWD,
    AT_HWCAP2,
    MADV_DONTDUMP,
    MADV_DONTFORK,
    MAP_ANONYMOUS,
    MAP_FIXED_NOREPLACE,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    NR,
    PROT_EXEC,
    PROT_READ,
    WALL,
)
from enclu.native import own_aex, ptrace, shared_area, user_dispatch
from enclu.native.add_queue import AddQueue
from enclu.native.address_space import OWN_TEXT, VDSO_BASE
from enclu.native.inject import inject
from enclu.native.shared_area import QUEUE, Part, SharedArea
from enclu.native.sites import JUMP_SIZE, Kind, jump
from enclu.native.stop import Settled
from enclu.native.tickets import Tickets
from enclu.native.trampoline import Copy, Trampoline
from enclu.sgx.enclave_mode import SLOT_SIZE, WORD
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import ENCLU, EncluLeaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from enclu.native.address_space import AddressSpace
    from enclu.native.thread import Thread
    from enclu.sgx import telling

HWCAP2_FSGSBASE = 2
NO_FSGSBASE = "the host does not let programs write FS and GS bases (FSGSBASE)"
NOT_OFFERED = "the host kernel does not offer a tracer what it takes ({})"
_REACH = 1 << 16
"""A jump whose upper half is given reaches so many bytes."""
_LOWEST, _HIGHEST = 0x1_0000, (1 << 47) - 2 * PAGE_SIZE


RING_AT, RING_SIZE = SLOT_SIZE, 1 << 18
"""Where a slot has its ring of records, which begins anew whenever it has been read, and bytes of it."""
RECORD = ("TSC", "LEAF", "TCS", "RDI", "RSI", "RBX", "RCX", "RSP")
"""Little-endian 64-bit words of what a ring has for each leaf; registers are those before it.  LEAF has the EID from
bit 32 on, TCS the CSSA before the leaf in its low bits."""
RECORD_SIZE = 8 * len(RECORD)
_UNPACK = struct.Struct(f"<{len(RECORD)}Q").iter_unpack
_RING, _RING_END, _LOSSY = WORD["RING"], WORD["RING_END"], WORD["LOSSY"]


def leaves_of(records: bytes | memoryview) -> Iterator[tuple[int, int, int, int, int, telling.Before]]:
    """What RECORDs tell: TSC, EID, leaf, TCS, what the leaf returned in RAX, and registers before it."""
    for tsc, leaf, tcs, rdi, rsi, rbx, rcx, rsp in _UNPACK(records):
        number, cssa = leaf & 0xFFFF_FFFF, tcs & (PAGE_SIZE - 1)
        rax = cssa if number == EncluLeaf.EENTER else 0
        yield tsc, leaf >> 32, number, tcs - cssa, rax, (rdi, rsi, rbx, rcx, rsp)


class Unable(Exception):
    """The host, or the program, does not let transitions take place in its process; the message says why."""


@dataclass(eq=False)
class InProcess:
    """What an address space has of it."""

    area: SharedArea
    trampoline: Trampoline
    number: int
    """Of its tickets in the area."""
    tell: Callable[[Thread, memoryview, int], None]
    """Who wants to know what a thread has executed since it was last looked at: RECORDs, and how many leaves more."""
    halt: Callable[[Thread], None]
    """Brings a running thread out of the code, and has it go on."""
    tickets: Tickets
    mapped: set[int] = field(default_factory=set)
    """Parts of the area that the process has, by address."""
    failures: int = 0
    """How often a thread could not take part for want of something, descriptors for example."""
    stepped: bool = False
    """The program steps through its code, and enters by stops for that: a debugger in it, of all threads perhaps, is to
    find every ENCLU, and what it writes in its place, in the way of each."""
    copies: list[Copy] = field(default_factory=list)
    """Of the templates, for ENCLUs that are jumps."""
    jumps: dict[int, bytes] = field(default_factory=dict)
    """ENCLUs of enclaves that are jumps, or were, by address: what is in place of ENCLU."""
    pages: dict[int, list[int]] = field(default_factory=dict)
    """They by page."""
    out_of_reach: dict[int, bytes] = field(default_factory=dict)
    """ENCLUs that cannot be jumps, by address: what stands there."""
    room: dict[int, int] = field(default_factory=dict)
    """Pages for copies, by address: bytes in use."""
    queue: AddQueue | None = None
    """Of pages that the program adds, if it has one."""
    announced: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Ranges that threads, by tid, may be about to map, by their last call that does so."""

    def add(self, site: int, jump: bytes) -> None:
        """The enclave's ENCLU at the address is to be this jump."""
        if site not in self.jumps:
            self.pages.setdefault(site >> 12, []).append(site)
        self.jumps[site] = jump

    def announce(self, tid: int, start: int, end: int) -> None:
        """The thread is about to make a call that maps or unmaps [start, end): mremap(2) has two ranges."""
        self.announced[tid] = (*self.announced.get(tid, ())[-1:], (start, end))

    def free(self, page: int) -> bool:
        """No thread is about to have something of its own there."""
        return not any(
            start < page + PAGE_SIZE and page < end for ranges in self.announced.values() for start, end in ranges
        )

    def forget(self, site: int) -> None:
        """There is neither a jump nor a copy any more."""
        self.copies = [copy for copy in self.copies if copy.site != site]
        if site in self.jumps:
            del self.jumps[site]
            self.pages[site >> 12].remove(site)

    def settle(self, thread: Thread) -> None:
        """Nobody sees a stopped thread, whose registers have just been read, in the middle of an ENCLU."""
        settled = self.trampoline.settle(thread, self.copies)
        if settled is not Settled.NOTHING:
            thread.settled = settled
            thread.store()
        self.read_ring(thread)

    def read_ring(self, thread: Thread) -> None:
        """Tell what is in the ring of a stopped thread that has been taken out of the code; it is empty then."""
        words = thread.mode.words
        if not words[_RING]:
            return  # nobody wants to know
        begin = words[_RING_END] - RING_SIZE
        used = words[_RING] - begin
        if used:
            words[_RING] = begin
            more = 0
            if words[_LOSSY]:
                before, words[_LOSSY] = words[_LOSSY], _lossy(thread)
                more = words[_LOSSY] - before - used // RECORD_SIZE
            self.tell(thread, thread.slot[RING_AT : RING_AT + used], more)

    def take_out(self, thread: Thread) -> None:
        """The thread, which may be running, is in no AEX of its own (`native.own_aex`), nor about to be."""
        if own_aex.under_way(thread):
            self.halt(thread)

    def close(self) -> None:
        """The address space is no more."""
        self.tickets.revoke()
        self.area.give_tickets(self.number)


def _lossy(thread: Thread) -> int:
    """How many leaves it has executed so far, and one: what a slot has as LOSSY if a full ring does not stop it."""
    return 1 + sum(thread.mode.counts().values())


def record(thread: Thread, taking: InProcess, number: int, *, lossy: bool) -> None:
    """Have the stopped thread, which has this slot, write records; where the ring is full it stops, or counts only.

    Raises Unable.
    """
    have(thread, taking, taking.area.slot_part(number, RING_AT, RING_SIZE))
    begin = SharedArea.slot_address(number) + RING_AT
    thread.mode.words[_RING], thread.mode.words[_RING_END] = begin, begin + RING_SIZE
    thread.mode.words[_LOSSY] = _lossy(thread) if lossy else 0


def prepare(
    thread: Thread, area: SharedArea, trampoline: Trampoline, tell: Callable[[Thread, memoryview, int], None],
    halt: Callable[[Thread], None],
) -> InProcess:  # fmt: skip
    """Have the address space of the stopped thread take part.  Raises Unable."""
    if not fsgsbase():
        raise Unable(NO_FSGSBASE)
    number = area.take_tickets()
    if number < 0:
        raise Unable(f"more than {shared_area.SPACE_COUNT} address spaces use SGX")
    taking = InProcess(area, trampoline, number, tell, halt, Tickets(area.tickets(number)))
    try:
        have(thread, taking, area.tickets_part(number))
    except Unable:
        area.give_tickets(number)
        raise
    symbols = thread.space.image.symbols
    if "enclu_jump" in symbols:
        at, words = VDSO_BASE + symbols["enclu_jump"], VDSO_BASE + symbols["enclu_enter_words"]
        thread.space.poke(words, _words(symbols, trampoline.site, TEMPLATES[False][1]))
        thread.space.poke(at, jump(at, VDSO_BASE + symbols["enclu_enter_template"]))
    return taking


def obstacle() -> str:
    """Why no process of this host can take part; nothing if one that is made for the purpose can."""
    if not fsgsbase():
        return NO_FSGSBASE
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    try:
        ptrace.ptrace(ptrace.SEIZE, child, 0, 0)
        ptrace.ptrace(ptrace.INTERRUPT, child, 0, 0)
        os.waitpid(child, WALL)
        user_dispatch.by_selector(child, SharedArea.slot_address(0), OWN_TEXT)
        shared_area.identify(child, 0)
    except OSError as error:
        return NOT_OFFERED.format(error.strerror)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, WALL)
    return ""


def fsgsbase() -> bool:
    """The host kernel lets user mode write FS and GS bases (Linux 5.9)."""
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype = ctypes.c_ulong
    return bool(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)


def have_queue(thread: Thread, taking: InProcess) -> AddQueue:
    """The queue of the stopped thread's process, which has one from now on.  Raises Unable."""
    if taking.queue is None:
        have(thread, taking, taking.area.queue_part(taking.number))
        taking.queue = AddQueue(taking.area.queue(taking.number))
        _set_queue(thread.space, QUEUE)
    return taking.queue


def _set_queue(space: AddressSpace, address: int) -> None:
    space.poke(VDSO_BASE + space.image.symbols["enclu_queue"], address.to_bytes(8, "little"))


def disarm(space: AddressSpace, poke: Callable[[AddressSpace, int, bytes], None]) -> None:
    """No ENCLU outside enclaves is a jump any more, nor has one in front of it, nor is there a queue; `poke` writes."""
    space.sites.take_back(space, Kind.ENCLU, 0, 1 << 64, poke)
    disarm_function(space, poke)
    _set_queue(space, 0)


def disarm_function(space: AddressSpace, poke: Callable[[AddressSpace, int, bytes], None]) -> None:
    """The vDSO's function has no jump in front of its ENCLU any more."""
    at = space.image.symbols.get("enclu_jump")
    if at is not None:
        poke(space, VDSO_BASE + at, space.image.data[at : at + JUMP_SIZE])


def have(thread: Thread, taking: InProcess, *parts: Part) -> None:
    """Have the stopped thread's process map these parts, if it has not.  Raises Unable."""
    missing = [part for part in parts if part.address not in taking.mapped]
    if not missing:
        return
    path = f"/proc/{os.getpid()}/fd/{taking.area.fd}\0".encode()
    fd = inject(thread, NR["openat"], AT_FDCWD, path, os.O_RDWR | os.O_CLOEXEC)
    if fd < 0:
        raise Unable(f"the program cannot open the machine's memory ({os.strerror(-fd)})")
    try:
        for part in missing:
            flags = MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE
            result = inject(thread, NR["mmap"], part.address, part.size, part.prot, flags, fd, part.offset)
            if result != part.address:
                raise Unable(f"the program cannot map the machine's memory at {part.address:#x} "
                             f"({os.strerror(-result) if result < 0 else 'taken'})")  # fmt: skip
            taking.mapped.add(part.address)
            for advice in (MADV_DONTFORK, MADV_DONTDUMP):
                inject(thread, NR["madvise"], part.address, part.size, advice)
    finally:
        inject(thread, NR["close"], fd)


def begin(thread: Thread, taking: InProcess, number: int) -> None:
    """The stopped thread, which has this slot, takes part.  Raises OSError or Unable, and it does not."""
    have(thread, taking, taking.area.slot_part(number, 0, SLOT_SIZE))
    slot = SharedArea.slot_address(number)
    user_dispatch.by_selector(thread.tid, slot + 8 * WORD["MODE"], OWN_TEXT)
    try:
        shared_area.identify(thread.tid, number)
    except OSError:
        user_dispatch.off(thread.tid)
        raise
    thread.in_process = True


def end(thread: Thread, *, identified: bool) -> None:
    """The stopped thread takes part no more; `identified` by inheritance, perhaps, it finds no slot any more."""
    if thread.in_process:
        thread.in_process = False
        user_dispatch.off(thread.tid)
    if identified:
        shared_area.identify(thread.tid, -1)


# Jumps in place of ENCLU.

TEMPLATES = {False: ("enter", ("enclu_eenter", "enclu_eresume")), True: ("exit", ("enclu_eexit", "enclu_edeccssa"))}
"""What a jump leads to outside enclaves, and inside: the template, and the two leaves that it knows."""


def _words(symbols: dict[str, int], site: int, leaves: tuple[str, str]) -> bytes:
    """What is filled in at a template's end."""
    return struct.pack("<4Q", site, site + len(ENCLU), *(VDSO_BASE + symbols[leaf] for leaf in leaves))


def copy_for(thread: Thread, site: int, high: bytes, *, inside: bool) -> Copy | None:
    """A copy of the template for an ENCLU, where a jump reaches it whose last two bytes are `high`; None if nowhere."""
    space = thread.space
    taking = space.in_process
    assert taking is not None
    symbols, image = space.image.symbols, space.image
    name, leaves = TEMPLATES[inside]
    start, end = symbols[f"enclu_{name}_template"], symbols[f"enclu_{name}_template_end"]
    code = bytearray(image.data[start:end])
    at = symbols[f"enclu_{name}_words"] - start
    words = _words(symbols, site, leaves)
    code[at : at + len(words)] = words
    for copy in taking.copies:
        if (copy.site, copy.template) == (site, start) and jump(site, copy.start)[len(ENCLU) :] == high:
            return copy  # another enclave, or another library, was there
    low = site + JUMP_SIZE + struct.unpack("<i", b"\0\0" + high)[0]
    for page in range(-(-low // PAGE_SIZE) * PAGE_SIZE, low + _REACH - len(code), PAGE_SIZE):
        if not _LOWEST <= page < _HIGHEST:
            continue
        used = taking.room.get(page)
        if used is None:
            if not taking.free(page):
                continue
            flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
            if inject(thread, NR["mmap"], page, PAGE_SIZE, PROT_READ | PROT_EXEC, flags, -1, 0) != page:
                continue
            inject(thread, NR["madvise"], page, PAGE_SIZE, MADV_DONTFORK)
            used = 0
        if used + len(code) > PAGE_SIZE:
            continue
        space.poke(page + used, bytes(code))
        taking.room[page] = used + (len(code) + 63 & -64)
        copy = Copy(page + used, len(code), start, site)
        taking.copies.append(copy)
        return copy
    return None
