"""SGX_IOC_ENCLAVE_ADD_PAGES.  Kernel: arch/x86/kernel/cpu/sgx/ioctl.c (sgx_ioc_enclave_add_pages)."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING

from enclu.base.abi import PROT_READ, PROT_WRITE
from enclu.linux import uapi
from enclu.linux.encl_page import VA_SLOT_COUNT, EnclPage, PageRun
from enclu.sgx import encls
from enclu.sgx.epc import PAGE_SIZE, EPCPage, EPCRun, PageType
from enclu.sgx.exceptions import Fault
from enclu.sgx.processor import WINDOW
from enclu.sgx.structs import SECINFO

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.sgx.processor import UserMemory

CHUNK_PAGES = 512
"""Pages that are added at a time, at most."""
FEW_PAGES = 8
"""Pages that are copied at once: to have them written by another thread would take longer."""
ROOMS = 3
"""Chunks that are on their way to the enclave's memory, at most: fresh room for each would take longer than to wait."""
MANY_PAGES = 16384
"""Pages of a source of which it is asked first whether the program has ever touched them; for fewer it takes longer."""
_ZEROS = bytes(CHUNK_PAGES * PAGE_SIZE)


def check_under_construction(encl: Encl) -> None:
    """Raises OSError EINVAL."""
    if not encl.created:
        raise OSError(errno.EINVAL, "the enclave has not been created (SGX_IOC_ENCLAVE_CREATE)")
    if encl.initialized:
        raise OSError(errno.EINVAL, "the enclave is initialised already")


def _validate_range(encl: Encl, offset: int, length: int) -> None:
    """sgx_validate_offset_length().  Raises OSError EINVAL."""
    if offset & 0xFFF or not length or length & 0xFFF:
        raise OSError(
            errno.EINVAL, f"offset {offset:#x} and length {length:#x} must be multiples of the page size, length not 0"
        )
    if offset + length > 1 << 64 or offset + length > encl.size:
        raise OSError(
            errno.EINVAL, f"offset {offset:#x} and length {length:#x} are beyond the end of the enclave, {encl.size:#x}"
        )


def _validate_secinfo(secinfo: bytes) -> tuple[int, int]:
    """sgx_validate_secinfo(): R|W|X and the page type.  Raises OSError EINVAL."""
    flags = SECINFO.get(secinfo, "FLAGS")
    perm, pt = flags & 7, flags >> 8 & 0xFF
    if pt not in (PageType.REG, PageType.TCS):
        raise OSError(errno.EINVAL, f"SECINFO: page type {pt} is neither PT_REG nor PT_TCS")
    if perm & PROT_WRITE and not perm & PROT_READ:
        raise OSError(errno.EINVAL, f"SECINFO: R|W|X {perm:#x} is writable but not readable")
    if flags & ~0xFFFF or flags & 0xF8 or not SECINFO.reserved_ok(secinfo):
        raise OSError(errno.EINVAL, f"SECINFO: reserved bits, FLAGS {flags:#x}")
    if pt == PageType.TCS and perm:
        raise OSError(errno.EINVAL, f"SECINFO: a TCS has no permissions, R|W|X must be 0, not {perm:#x}")
    return perm, pt


def add_pages(encl: Encl, mm: MM, user: UserMemory, arg: int, interrupted: Callable[[], bool]) -> None:
    """Raises OSError; how much has been added before, the program is told in any case."""
    check_under_construction(encl)
    f = uapi.ENCLAVE_ADD_PAGES.unpack(user.read(arg, uapi.ENCLAVE_ADD_PAGES.size))
    _validate_range(encl, f["offset"], f["length"])
    if f["src"] & 0xFFF:
        raise OSError(errno.EINVAL, f"src {f['src']:#x} is not page aligned")
    source = (f["src"], f["src"] + f["length"])
    # get_user_pages() takes nothing of a VM_PFNMAP mapping.
    sources_end = next((low for low, _, vma in mm.segments(*source) if vma is not None), source[1])
    addition = _Addition(encl, user, f, user.read(f["secinfo"], SECINFO.size), sources_end)
    failure = None
    try:
        # Before the first page the driver says ERESTARTSYS to a signal: the call is made again.
        while addition.left and not (addition.done and interrupted()):
            addition.add_chunk()
            encl.kernel.loading(encl)
    except OSError as error:
        failure = error
    encl.memory.settle()
    user.write(arg + uapi.ENCLAVE_ADD_PAGES.offset("count"), addition.done.to_bytes(8, "little"))
    if failure is not None:
        raise failure


def add_ready(encl: Encl, offset: int, contents: memoryview, secinfo: bytes, flags: int) -> None:
    """Add pages with these contents, which nothing is in the way of: the program has been told that they are added."""
    f = {"src": 0, "offset": offset, "length": len(contents), "flags": flags}
    addition = _Addition(encl, contents, f, secinfo, len(contents))
    while addition.left:
        addition.add_chunk()
        encl.kernel.loading(encl)
    encl.memory.settle()


class _Addition:
    """One call of the ioctl: `done` bytes have been added, `left` are still to be."""

    def __init__(
        self, encl: Encl, source: UserMemory | memoryview, f: dict[str, int], secinfo: bytes, sources_end: int
    ) -> None:
        """`source` is where contents are read, or all of them; `sources_end` where an enclave is mapped, or the end.

        Raises OSError for a SECINFO that the driver refuses.
        """
        perm, pt = _validate_secinfo(secinfo)
        self._encl = encl
        self._from = source
        self._offset, self._source = f["offset"], f["src"]
        self._measure = bool(f["flags"] & 1)
        self._secinfo = secinfo
        self._type = PageType(pt)
        # sgx_encl_page_alloc()
        self._max_prot = PROT_READ | PROT_WRITE if pt == PageType.TCS else perm
        # A chunk's pages cannot be evicted before all of them are added, so a chunk is a small part of the EPC.
        self._at_once = min(CHUNK_PAGES, max(1, encl.kernel.machine.epc.pages // 8))
        self._room: memoryview | None = None
        """For the contents of a chunk, where nobody uses it any more."""
        self._written: deque[tuple[memoryview, Callable[[], object]]] = deque()
        """Rooms from which the enclave's memory is being written, and who waits until each has been."""
        self.done, self.left = 0, f["length"]
        self._sources_end = sources_end
        self._untouched: Callable[[int, int], bool] = lambda start, end: False
        if self.left >= MANY_PAGES * PAGE_SIZE and not isinstance(source, memoryview):
            self._untouched = source.untouched(self._source, self._source + self.left)

    def add_chunk(self) -> None:
        """sgx_encl_add_page() of the next pages.  Raises OSError, when those before the one at fault are added."""
        encl, reclaimer = self._encl, self._encl.kernel.reclaimer
        reclaimer.load_secs(encl)
        offset, source = self._offset + self.done, self._source + self.done
        index = encl.base + offset >> 12
        count = min(self._at_once, self.left >> 12, (WINDOW - offset % WINDOW) >> 12)
        failure: OSError | None = None
        taken = encl.pages.first_in(index, index + count)
        if taken is not None:
            count = taken - index
            failure = OSError(errno.EBUSY, f"there is a page at {taken << 12:#x} already")
        allowed = min(count, self._sources_end - source >> 12)
        contents, unreadable = self._contents(source, allowed * PAGE_SIZE)
        if allowed < count and unreadable is None:
            unreadable = OSError(errno.EFAULT, f"the source at {self._sources_end:#x} is the mapping of an enclave")
        failure = unreadable or failure
        count = len(contents) // PAGE_SIZE
        memory = encl.memory.view(offset, count * PAGE_SIZE)
        fresh, shortage = _fresh_pages(encl, count)
        failure = shortage or failure
        count = len(fresh)
        if count:
            added, fault = self._add(offset, fresh, memory[: count * PAGE_SIZE], contents[: count * PAGE_SIZE])
            failure = fault or failure
            self.done += added * PAGE_SIZE
            self.left -= added * PAGE_SIZE
        if failure is not None:
            raise failure

    def _contents(self, source: int, size: int) -> tuple[memoryview, OSError | None]:
        """What the program has from `source` on, as many whole pages as can be read, and why they are fewer if so."""
        if isinstance(self._from, memoryview):
            return self._from[source : source + size], None
        if self._untouched(source, source + size):
            return memoryview(_ZEROS)[:size], None
        contents = self._room_of(size)
        try:
            if size:
                self._from.read_into(source, contents)
        except OSError as error:
            return contents[: _readable(self._from, source, contents) * PAGE_SIZE], error
        return contents, None

    def _room_of(self, size: int) -> memoryview:
        if self._room is None and len(self._written) == ROOMS:
            self._room, wait = self._written.popleft()
            wait()
        if self._room is None or len(self._room) < size:
            self._room = memoryview(bytearray(size))
        return self._room[:size]

    def _add(
        self, offset: int, fresh: EPCRun, memory: memoryview, contents: memoryview
    ) -> tuple[int, OSError | None]:  # fmt: skip
        """EADD, and EEXTEND, of all these pages; how many have been added, and why it is not all of them.

        __sgx_encl_add_page(), __sgx_encl_extend().
        """
        encl, kernel, secs = self._encl, self._encl.kernel, self._encl.secs
        assert secs is not None
        address, count, failure = encl.base + offset, len(fresh), None
        if self._type is PageType.REG:
            self._store(offset, memory, contents)
        try:
            encls.eadd_run(secs, fresh, address, self._secinfo, memory, contents, self._measure)
        except Fault as fault:
            failure = OSError(errno.EIO, f"EADD: {fault}")
            good = [page for page in fresh if page.valid]
            for page in fresh[len(good) :]:
                kernel.free(page)
                encl.shrink()
            count = len(good)
        index = address >> 12
        if fresh.untouched_count == count > 1:
            run = PageRun(encl, index, self._max_prot, fresh)
            encl.pages.add_run(run)
            kernel.reclaimer.add_run(run)
        else:
            for i in range(count):
                encl.pages[index + i] = added = EnclPage(encl, index + i, self._max_prot, self._type, fresh[i])
                kernel.reclaimer.add(added)
        return count, failure

    def _store(self, offset: int, memory: memoryview, contents: memoryview) -> None:
        """Put the contents into the enclave's memory, in the way that costs least."""
        if len(contents) <= FEW_PAGES * PAGE_SIZE:
            memory[:] = contents
        elif contents.obj is _ZEROS or _ZEROS.startswith(contents):
            self._encl.memory.discard(offset, len(contents))  # as it is anyway, unless somebody has written to the file
        else:
            written = self._encl.memory.write(offset, contents)
            if self._room is not None:
                self._written.append((self._room, written))
            self._room = None


def _fresh_pages(encl: Encl, count: int) -> tuple[EPCRun, OSError | None]:
    """EPC pages for `count` more pages of the enclave, and why they are fewer if they are."""
    kernel = encl.kernel
    if kernel.machine.epc.free > count + count // VA_SLOT_COUNT + 1:
        encl.grow(count)
        return kernel.allocate_run(count), None
    fresh: list[EPCPage | None] = []
    try:
        while len(fresh) < count:
            encl.grow()
            try:
                fresh.append(kernel.allocate())
            except OSError:
                encl.shrink()
                raise
    except OSError as error:
        return EPCRun(fresh), error
    return EPCRun(fresh), None


def _readable(user: UserMemory, address: int, view: memoryview) -> int:
    """How many whole pages of a source that cannot be read to its end can be read, into `view`."""
    for i in range(len(view) // PAGE_SIZE):
        try:
            user.read_into(address + i * PAGE_SIZE, view[i * PAGE_SIZE : (i + 1) * PAGE_SIZE])
        except OSError:
            return i
    return len(view) // PAGE_SIZE
