"""What an enclave's pages hold, for who looks at it from outside and changes nothing: no page comes or goes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from enclu.sgx import encls
from enclu.sgx.encls.debug import TCS_LIMIT, WORD
from enclu.sgx.epc import PAGE_SIZE, EPCPage, PageType
from enclu.sgx.exceptions import Fault
from enclu.sgx.structs import TCS, Attribute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enclu.linux.encl import Encl
    from enclu.linux.encl_page import EnclPage

_AT_ONCE = 1 << 20
"""Bytes that are read together, of pages that nobody has looked at: they lie in one window of the memory."""
_STATE = TCS.offset("STATE")


class Snapshot:
    """Of one enclave, as it is while nobody runs in it."""

    def __init__(self, encl: Encl) -> None:
        self.encl = encl
        assert encl.secs is not None
        self.secs = encl.secs
        self._single = {page.index: page for page in encl.pages.single()}

    @functools.cached_property
    def _indexes(self) -> list[int]:
        return sorted(self.encl.pages)

    @property
    def debug(self) -> bool:
        return bool(self.secs.attributes & Attribute.DEBUG)

    def runs(self, start: int, end: int) -> list[tuple[int, int]]:
        """Parts of [start, end) in which the enclave has pages, evicted ones included."""
        runs: list[tuple[int, int]] = []
        for index in self._indexes:
            low, high = index << 12, index + 1 << 12
            if low < start or high > end:
                continue
            if runs and runs[-1][1] == low:
                runs[-1] = runs[-1][0], high
            else:
                runs.append((low, high))
        return runs

    def tcses(self) -> list[int]:
        """Addresses of its TCSes."""
        return sorted(page.address for page in self._single.values() if page.type == PageType.TCS)

    def blocks(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Address and content of what can be read of a run."""
        at = start
        while at < end:
            size = PAGE_SIZE
            page = self._single.get(at >> 12)
            if page is not None:
                content = self._content(page)
                if content is not None:
                    yield at, content
            else:
                most = min(end - at, _AT_ONCE - (at - self.encl.base) % _AT_ONCE)
                while size < most and (at + size >> 12) not in self._single:
                    size += PAGE_SIZE
                yield at, self._original(at, bytes(self.encl.content(at >> 12, at + size >> 12)))
            at += size

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address of the enclave; zeros where nothing can be read."""
        base, limit = self.encl.base, self.encl.base + self.encl.size
        start, end = max(address & -PAGE_SIZE, base), min((address + size + PAGE_SIZE - 1) & -PAGE_SIZE, limit)
        out = bytearray(size)
        for at, content in self.blocks(start, end):
            low, high = max(at, address), min(at + len(content), address + size)
            out[low - address : high - address] = content[low - at : high - at]
        return bytes(out)

    def _content(self, page: EnclPage) -> bytes | None:
        epc = page.epc
        if epc is None and page.backing is not None:
            va, slot, ciphertext, pcmd = page.backing
            copy = (va.epc, slot, ciphertext, pcmd)
            epc = encls.as_loaded(self.encl.kernel.machine, copy, page.address, self.secs)
        if epc is None:
            return None
        content = _debugged(epc) if self.debug else _as_it_is(epc)
        return None if content is None else self._original(page.address, content)

    def _original(self, address: int, content: bytes) -> bytes:
        return self.encl.kernel.processors.original(address, content)


def _debugged(page: EPCPage) -> bytes | None:
    """By EDBGRD; None where it refuses."""
    whole = page.pt != PageType.TCS
    words = [(0, PAGE_SIZE)] if whole else [(at, WORD) for at in range(0, TCS_LIMIT, WORD)]
    content = b""
    try:
        for offset, size in words:
            code, data = encls.edbgrd(page, offset, size)
            if code:
                return None
            content += data
    except Fault:
        return None
    return content.ljust(PAGE_SIZE, b"\0")


def _as_it_is(page: EPCPage) -> bytes | None:
    """Of a production enclave, whose owner has asked: as EDBGRD of a debug enclave."""
    if not page.valid or page.pending or page.modified:
        return None
    content = bytearray(page.data)
    if page.pt == PageType.TCS:
        content[TCS_LIMIT:] = bytes(PAGE_SIZE - TCS_LIMIT)
        content[_STATE : _STATE + WORD] = int(any(content[_STATE : _STATE + WORD])).to_bytes(WORD, "little")
    return bytes(content)
