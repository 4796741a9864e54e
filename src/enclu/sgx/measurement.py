"""The measurement log that MRENCLAVE hashes: what ECREATE, EADD and EEXTEND append (SDM 3D chapter 38)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from enclu.sgx.secs import Secs

PAGE, CHUNK, BLOCK = 4096, 256, 64
PER_PAGE = BLOCK + PAGE // CHUNK * (BLOCK + CHUNK)
"""Measured bytes of a page added with its content measured: 5184."""
BATCH = 256
"""Pages measured at a time: the log of a batch stays in the cache."""


def ecreate(ssaframesize: int, size: int) -> bytes:
    return struct.pack("<8sIQ44x", b"ECREATE", ssaframesize, size)


def eadd(offset: int, secinfo: bytes) -> bytes:
    return struct.pack("<8sQ48s", b"EADD", offset, secinfo[:48])


def eextend(offset: int, chunk: bytes | memoryview) -> bytes:
    return struct.pack("<8sQ48x", b"EEXTEND", offset) + bytes(chunk)


def measure_pages(secs: Secs, offset: int, secinfo: bytes, data: memoryview) -> None:
    """Append EADD and 16 EEXTENDs for every page of `data`, at the speed of memory and SHA-256."""
    pages = len(data) // PAGE
    log = np.zeros((min(BATCH, pages), PER_PAGE), np.uint8)
    chunks = log[:, BLOCK:].reshape(len(log), PAGE // CHUNK, BLOCK + CHUNK)
    log[:, :BLOCK] = np.frombuffer(eadd(0, secinfo), np.uint8)
    chunks[:, :, :BLOCK] = np.frombuffer(eextend(0, b""), np.uint8)
    page_offsets = log[:, 8:16].view("<u8")
    chunk_offsets = chunks[:, :, 8:16]
    source = np.frombuffer(data, np.uint8).reshape(pages, PAGE // CHUNK, CHUNK)
    within = np.arange(0, PAGE, CHUNK, dtype="<u8")
    for first in range(0, pages, BATCH):
        n = min(BATCH, pages - first)
        starts = np.arange(n, dtype="<u8") * PAGE + (offset + first * PAGE)
        page_offsets[:n, 0] = starts
        chunk_offsets[:n] = np.ascontiguousarray(starts[:, None] + within).view(np.uint8).reshape(n, PAGE // CHUNK, 8)
        chunks[:n, :, BLOCK:] = source[first : first + n]
        secs.measurement.update(log[:n].data)
