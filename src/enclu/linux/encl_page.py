"""The pages of an enclave, as the kernel keeps track of them.  Kernel: arch/x86/kernel/cpu/sgx/encl.h, encl.c.

Most pages are added in runs, and many are never looked at one by one.  So an object for a page is made when somebody
asks for it, and a run stands for the pages of which nobody has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, TypeVar, overload

from enclu.sgx.epc import EPCPage, EPCRun, PageType

if TYPE_CHECKING:
    from enclu.linux.encl import Encl

T = TypeVar("T")
VA_SLOT_COUNT = 512


class VAPage:
    """struct sgx_va_page: a version array and which of its slots are free."""

    def __init__(self, epc: EPCPage) -> None:
        self.epc = epc
        self.free = list(range(VA_SLOT_COUNT - 1, -1, -1))

    def take(self, most: int) -> list[int]:
        """The slots that are free last, `most` of them if there are as many."""
        taken = self.free[-most:]
        del self.free[-most:]
        taken.reverse()
        return taken


class EnclPage:
    """struct sgx_encl_page: a page of an enclave, in the EPC or evicted."""

    __slots__ = ("backing", "encl", "epc", "index", "max_prot", "run", "type")

    def __init__(self, encl: Encl, index: int, max_prot: int, kind: PageType, epc: EPCPage | None) -> None:
        self.encl = encl
        self.index = index
        self.max_prot = max_prot
        self.type = kind
        self.epc = epc
        self.backing: tuple[VAPage, int, bytes | memoryview, bytes] | None = None
        """Of an evicted page: version array and slot, ciphertext, PCMD.  The ciphertext is where the page was."""
        self.run: PageRun | None = None
        """With which it will be evicted, if it is in the EPC and has been since it was added with these."""

    @property
    def address(self) -> int:
        return self.index << 12


class PageRun:
    """PT_REG pages that were added together, from the one of this index on."""

    __slots__ = ("_at", "encl", "epc", "first", "max_prot")

    def __init__(self, encl: Encl, first: int, max_prot: int, epc: EPCRun) -> None:
        self.encl = encl
        self.first = first
        self.max_prot = max_prot
        self.epc = epc
        self._at = 0

    @property
    def end(self) -> int:
        return self.first + len(self.epc)

    def page(self, index: int) -> EnclPage | None:
        """A page of which nobody has asked for before."""
        at = index - self.first
        if at >= len(self.epc) or not self.epc.untouched(at):
            return None
        page = EnclPage(self.encl, index, self.max_prot, PageType.REG, self.epc[at])
        page.run = self
        return page

    def oldest(self, count: int) -> list[EnclPage]:
        """Take up to `count` pages that are still where they were added; none if none is left."""
        taken: list[EnclPage] = []
        while len(taken) < count and self._at < len(self.epc):
            page = self.encl.pages.get(self.first + self._at)
            self._at += 1
            if page is not None and page.run is self:
                page.run = None
                taken.append(page)
        return taken


class EnclPages(MutableMapping[int, EnclPage]):
    """By index: linear address / 4096."""

    def __init__(self) -> None:
        self._single: dict[int, EnclPage] = {}
        self.runs: list[PageRun] = []
        self._starts: list[int] = []
        self._count = 0

    def add_run(self, run: PageRun) -> None:
        at = bisect_right(self._starts, run.first)
        self.runs.insert(at, run)
        self._starts.insert(at, run.first)
        self._count += len(run.epc)

    @overload
    def get(self, index: int, /) -> EnclPage | None: ...

    @overload
    def get(self, index: int, /, default: EnclPage | T) -> EnclPage | T: ...

    def get(self, index: int, /, default: EnclPage | T | None = None) -> EnclPage | T | None:
        page = self._single.get(index)
        if page is None and self._starts:
            at = bisect_right(self._starts, index) - 1
            page = self.runs[at].page(index) if at >= 0 else None
            if page is not None:
                self._single[index] = page
        return default if page is None else page

    def __getitem__(self, index: int) -> EnclPage:
        page = self.get(index)
        if page is None:
            raise KeyError(index)
        return page

    def __setitem__(self, index: int, page: EnclPage) -> None:
        self._count += index not in self
        self._single[index] = page

    def __delitem__(self, index: int) -> None:
        del self._single[self[index].index]
        self._count -= 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        yield from list(self._single)
        for run in self.runs:
            yield from (index for index in range(run.first, run.end) if run.epc.untouched(index - run.first))

    def single(self) -> list[EnclPage]:
        """Those that somebody has asked for; the others are in the EPC as they were added."""
        return list(self._single.values())

    def first_in(self, low: int, high: int) -> int | None:
        """The first page of [low, high), by index."""
        if not self._runs_in(low, high) and self._single.keys().isdisjoint(range(low, high)):
            return None
        return next((index for index in range(low, high) if index in self), None)

    def forbidding(self, low: int, high: int, prot: int) -> int | None:
        """A page of [low, high) that may not have all of PROT_* `prot`, by index."""
        for run in self._runs_in(low, high):
            if prot & ~run.max_prot:
                for index in range(max(low, run.first), min(high, run.end)):
                    if run.epc.untouched(index - run.first):
                        return index
        if high - low > len(self._single):
            pages = [page for page in self._single.values() if low <= page.index < high]
        else:
            pages = [self._single[index] for index in range(low, high) if index in self._single]
        return next((page.index for page in pages if prot & ~page.max_prot), None)

    def _runs_in(self, low: int, high: int) -> list[PageRun]:
        if not self.runs:
            return []
        first = max(bisect_right(self._starts, low) - 1, 0)
        return [run for run in self.runs[first : bisect_right(self._starts, high - 1)] if run.end > low]

    def clear(self) -> None:
        self._single.clear()
        self.runs.clear()
        self._starts.clear()
        self._count = 0
