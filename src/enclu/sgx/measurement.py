"""The measurement log that MRENCLAVE hashes: what ECREATE, EADD and EEXTEND append (SDM 3D chapter 38)."""

from __future__ import annotations

import functools
import os
import struct
from _thread import allocate_lock  # not of `threading`, which takes its time to load
from collections import deque
from typing import TYPE_CHECKING

from enclu.base.workers import worker
from enclu.sgx import crypto
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    import hashlib
    from concurrent.futures import Future

CHUNK, BLOCK = 256, 64
PER_PAGE = BLOCK + PAGE_SIZE // CHUNK * (BLOCK + CHUNK)
"""Measured bytes of a page added with its content measured: 5184."""
FEW = 8
"""Pages whose log is made and hashed by the caller: to hand them on would take longer."""
BATCH = 256
"""Pages measured at a time: the log of a batch stays in the cache."""
HASHER = "measurement"
"""The worker that hashes while its caller prepares more."""


def ecreate(ssaframesize: int, size: int) -> bytes:
    return struct.pack("<8sIQ44x", b"ECREATE", ssaframesize, size)


def eadd(offset: int, secinfo: bytes) -> bytes:
    return struct.pack("<8sQ48s", b"EADD", offset, secinfo[:48])


def eextend(offset: int, chunk: bytes | memoryview) -> bytes:
    return struct.pack("<8sQ48x", b"EEXTEND", offset) + bytes(chunk)


_PAGE = struct.Struct("<8sQ48s" + f"8sQ48x{CHUNK}s" * (PAGE_SIZE // CHUNK))


def _page(offset: int, secinfo: bytes, data: bytes) -> bytes:
    """EADD and the 16 EEXTENDs of a page, in one go."""
    parts: list[bytes | int] = [b"EADD", offset, secinfo[:48]]
    for at in range(0, PAGE_SIZE, CHUNK):
        parts += b"EEXTEND", offset + at, data[at : at + CHUNK]
    return _PAGE.pack(*parts)


class Measurement:
    """The running MRENCLAVE of one enclave: SHA-256 of the log so far."""

    def __init__(self) -> None:
        self._hash = crypto.sha256()
        self._under_way: Future[None] | None = None
        """The last batch that was given to the hasher."""

    def update(self, log: bytes | memoryview) -> None:
        """Append to the log."""
        self._wait()
        self._hash.update(log)

    def take(self, log: hashlib._Hash) -> None:
        """Let all that has been appended be what this has hashed."""
        self._wait()
        self._hash = log

    def digest(self) -> bytes:
        """MRENCLAVE, were this all; 32 bytes."""
        self._wait()
        return self._hash.digest()

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None

    def add_pages(self, offset: int, pages: int, secinfo: bytes) -> None:
        """Append EADD for `pages` pages from `offset`, whose contents are not measured."""
        if pages < BATCH:
            self.update(b"".join(eadd(offset + i * PAGE_SIZE, secinfo) for i in range(pages)))
            return
        import numpy as np

        log = np.frombuffer(bytearray(eadd(0, secinfo) * pages), np.uint8).reshape(pages, BLOCK)
        log[:, 8:16].view("<u8")[:, 0] = np.arange(offset, offset + pages * PAGE_SIZE, PAGE_SIZE, dtype="<u8")
        self.update(log.data)

    def measure_pages(self, offset: int, secinfo: bytes, data: memoryview) -> None:
        """Append EADD and 16 EEXTENDs for every page of `data`, at the speed of memory and SHA-256.

        `data` has been copied when this returns; hashing the copy may go on.
        """
        pages = len(data) // PAGE_SIZE
        if pages <= FEW:
            for start in range(0, len(data), PAGE_SIZE):
                self.update(_page(offset + start, secinfo, bytes(data[start : start + PAGE_SIZE])))
            return
        for first in range(0, pages, BATCH):
            n = min(BATCH, pages - first)
            batches = _batches().result()
            with _FILLING:
                batch = batches[0]
                batches.rotate(-1)
                log = batch.fill(offset + first * PAGE_SIZE, secinfo, data[first * PAGE_SIZE : (first + n) * PAGE_SIZE])
                self._under_way = batch.hashed = worker(HASHER).submit(self._hash.update, log)


_FILLING = allocate_lock()
"""Held by the thread that fills a batch: they are for all measurements."""


class _Batch:
    """Room for the log of BATCH measured pages; what every page has in common is in place."""

    def __init__(self) -> None:
        # Not at the top: loading NumPy takes longer than many programs, which measure nothing, run.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads spin, and nothing here multiplies matrices
        import numpy as np

        self._np = np
        self.hashed: Future[None] | None = None
        """Done once nobody reads the log any more."""
        self._log = np.zeros((BATCH, PER_PAGE), np.uint8)
        self._log[:, :BLOCK] = np.frombuffer(eadd(0, b""), np.uint8)
        self._chunks = self._log[:, BLOCK:].reshape(BATCH, PAGE_SIZE // CHUNK, BLOCK + CHUNK)
        self._chunks[:, :, :BLOCK] = np.frombuffer(eextend(0, b""), np.uint8)
        self._page_offsets = self._log[:, 8:16].view("<u8")
        self._within = np.arange(0, PAGE_SIZE, CHUNK, dtype="<u8")

    def fill(self, offset: int, secinfo: bytes, data: memoryview) -> memoryview:
        np, pages = self._np, len(data) // PAGE_SIZE
        if self.hashed is not None:
            self.hashed.result()
        starts = np.arange(pages, dtype="<u8") * PAGE_SIZE + offset
        self._log[:pages, 16:BLOCK] = np.frombuffer(secinfo, np.uint8, 48)
        self._page_offsets[:pages, 0] = starts
        at = np.ascontiguousarray(starts[:, None] + self._within).view(np.uint8)
        self._chunks[:pages, :, 8:16] = at.reshape(pages, PAGE_SIZE // CHUNK, 8)
        self._chunks[:pages, :, BLOCK:] = np.frombuffer(data, np.uint8).reshape(pages, PAGE_SIZE // CHUNK, CHUNK)
        return self._log[:pages].data


@functools.cache
def _batches() -> Future[deque[_Batch]]:
    """One is filled while another is hashed and a third waits."""
    return worker(HASHER).submit(lambda: deque(_Batch() for _ in range(3)))


def prepare() -> None:
    """An enclave will be measured soon: begin to load what that takes, beside whatever else goes on."""
    _batches()
