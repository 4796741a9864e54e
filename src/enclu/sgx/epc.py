"""The Enclave Page Cache and its map: EPC pages, each with its EPCM entry.  SDM 3D sections 35.4 and 35.19."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from enclu.base.protocol import Protocol

if TYPE_CHECKING:
    from enclu.sgx.secs import Secs

PAGE_SIZE = 4096
MINIMUM_SIZE, MAXIMUM_SIZE = 1 << 20, 1 << 40
"""Of an EPC, in bytes."""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size_of(text: str) -> int:
    """An EPC's size in bytes, as people write it: 64M.  Raises ValueError for what cannot be one."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 64M or 1G")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if size < MINIMUM_SIZE:
        raise ValueError(f"{text}: too small; an EPC has at least 1M")
    if size % PAGE_SIZE:
        raise ValueError(f"{text}: not a multiple of the page size, 4096")
    if size > MAXIMUM_SIZE:
        raise ValueError(f"{text}: too large; an EPC has at most 1T")
    return size


class PageType(enum.IntEnum):
    """EPCM.PT and SECINFO.FLAGS.PAGE_TYPE (SDM 3D table 35-13)."""

    SECS = 0
    TCS = 1
    REG = 2
    VA = 3
    TRIM = 4
    SS_FIRST = 5
    SS_REST = 6


PT_REG = PageType.REG
"""For what is done page by page: until Python 3.12, to look a member up in its class is a call in Python."""


class Lease(Protocol):
    """Memory that a page has until it is free again."""

    @property
    def address(self) -> int:
        """Where code in the program's process sees it."""

    def end(self) -> None: ...


class EPCPage:
    """One 4 KiB page of the EPC together with its EPCM entry (SDM 3D table 35-30).

    Attributes spelled as the EPCM's fields, in lower case.  `rwx` holds R|W|X as SECINFO.FLAGS does
    (R=1, W=2, X=4).  `data` is the page's content, writable, 4096 bytes; whoever adds the page to an enclave
    binds it to the memory where the processor sees the page.
    """

    __slots__ = (
        "blocked",
        "data",
        "enclaveaddress",
        "epoch",
        "lease",
        "modified",
        "pending",
        "pr",
        "pt",
        "rwx",
        "secs",
        "valid",
    )

    def __init__(self) -> None:
        self.valid = False
        self.pt = PT_REG
        self.rwx = 0
        self.secs: Secs | None = None
        self.enclaveaddress = 0
        self.blocked = False
        self.pending = False
        self.modified = False
        self.pr = False
        self.epoch = 0
        self.data: memoryview = _NOTHING
        self.lease: Lease | None = None
        """Where `data` is, if that is not where whoever added the page has put it."""

    def end_lease(self) -> None:
        """`data` is somewhere else from now on, if it was in leased memory."""
        if self.lease is not None:
            self.lease.end()
            self.lease = None

    def invalidate(self) -> None:
        """The EPCM entry no longer says anything."""
        self.valid = False
        self.secs = None
        self.blocked = self.pending = self.modified = self.pr = False

    @property
    def described(self) -> str:
        """The EPCM entry, for people."""
        if not self.valid:
            return "not valid"
        states = [name for name in ("blocked", "pending", "modified") if getattr(self, name)]
        rwx = "".join(letter if self.rwx >> bit & 1 else "-" for bit, letter in enumerate("RWX"))
        return " ".join([f"PT_{self.pt.name}", rwx, *states, f"at {self.enclaveaddress:#x}"])

    @property
    def accessible(self) -> bool:
        """An enclave may touch it as its R, W, X allow: PT_REG, valid, neither blocked, pending nor modified."""
        return self.valid and self.pt == PT_REG and not (self.blocked or self.pending or self.modified)


_NOTHING = memoryview(bytearray(0))


class EPCRun(Sequence[EPCPage]):
    """EPC pages that become neighbours in an enclave, each with its EPCM entry.

    An entry is made when somebody looks at it.  Until then it says what EADD of the whole run has said, or nothing.
    """

    __slots__ = ("_added", "_pages")

    def __init__(self, pages: list[EPCPage | None]) -> None:
        """Those at which nobody has looked yet are None."""
        self._pages = pages
        self._added: tuple[Secs, int, int, memoryview] | None = None

    def __len__(self) -> int:
        return len(self._pages)

    @overload
    def __getitem__(self, at: int) -> EPCPage: ...

    @overload
    def __getitem__(self, at: slice) -> list[EPCPage]: ...

    def __getitem__(self, at: int | slice) -> EPCPage | list[EPCPage]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        page = self._pages[at]
        if page is None:
            page = self._pages[at] = EPCPage()
            if self._added is not None:
                self._fill(page, at, *self._added)
        return page

    def untouched(self, at: int) -> bool:
        """Nobody has looked at the entry."""
        return self._pages[at] is None

    @property
    def in_use(self) -> bool:
        """An entry is valid."""
        return self._added is not None or any(page is not None and page.valid for page in self._touched())

    def add(self, secs: Secs, rwx: int, linaddr: int, memory: memoryview) -> None:
        """All entries, none of which is valid, are of PT_REG pages of this enclave from `linaddr` on."""
        for at, page in enumerate(self._touched()):
            if page is not None:
                self._fill(page, at, secs, rwx, linaddr, memory)
        self._added = secs, rwx, linaddr, memory

    def _touched(self) -> list[EPCPage | None]:
        """All of them, unless nobody has looked at any."""
        return self._pages if self.untouched_count < len(self._pages) else []

    @property
    def secs(self) -> Secs | None:
        """The enclave to which the pages that nobody has looked at belong."""
        return None if self._added is None else self._added[0]

    @property
    def untouched_count(self) -> int:
        return self._pages.count(None)

    def invalidate_untouched(self) -> None:
        """No entry that nobody has looked at says anything any more."""
        self._added = None

    @staticmethod
    def _fill(page: EPCPage, at: int, secs: Secs, rwx: int, linaddr: int, memory: memoryview) -> None:
        page.valid, page.pt, page.rwx, page.secs = True, PT_REG, rwx, secs
        page.enclaveaddress = linaddr + at * PAGE_SIZE
        page.data = memory[at * PAGE_SIZE : (at + 1) * PAGE_SIZE]


class EPC:
    """A pool of `size` bytes of EPC: a count of free pages, and the pages in use."""

    def __init__(self, size: int) -> None:
        self.pages = size // PAGE_SIZE
        self.used = 0
        self.peak = 0

    @property
    def free(self) -> int:
        return self.pages - self.used

    def _take(self, count: int) -> int:
        """Use so many free pages more, or fewer: as many as there are."""
        count = min(count, self.free)
        self.used += count
        self.peak = max(self.peak, self.used)
        return count

    def allocate(self) -> EPCPage | None:
        """A free EPC page, or None when the EPC is full."""
        return EPCPage() if self._take(1) else None

    def allocate_all(self, count: int) -> list[EPCPage]:
        """`count` free EPC pages, or fewer: as many as there are."""
        return [EPCPage() for _ in range(self._take(count))]

    def allocate_run(self, count: int) -> EPCRun:
        """The same, which become neighbours."""
        return EPCRun([None] * self._take(count))

    def release(self, page: EPCPage) -> None:
        """Give back a page whose EPCM entry is no longer valid."""
        self.release_all([page])

    def release_all(self, pages: list[EPCPage]) -> None:
        """`release` of each."""
        for page in pages:
            assert not page.valid, "EREMOVE or EWB the page first"
            page.data = _NOTHING
            page.end_lease()
        self.used -= len(pages)

    def release_untouched(self, run: EPCRun) -> None:
        """Give back the pages of a run at whose entries nobody has looked, and which are no longer valid."""
        assert run.secs is None, "EREMOVE the pages first"
        self.used -= run.untouched_count
