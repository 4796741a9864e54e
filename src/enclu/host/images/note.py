"""The ELF note `.note.enclu`, by which `enclu build` tells loaders what an ELF enclave wants besides its segments."""

from __future__ import annotations

from enclu.sgx.layout import Structure

NAME = "enclu"
TYPE = 1
NOTE = Structure(
    "note of enclu", 40,
    (0, "ATTRIBUTES", "Q"), (8, "XFRM", "Q"), (16, "MISCSELECT", "I"), (20, "SSAFRAMESIZE", "I"),
    (24, "HEAP_PAGES", "Q"), (32, "SPARE_PAGES", "Q"),
)  # fmt: skip
"""ATTRIBUTES to SSAFRAMESIZE are those of SECS.  The heap is read-write pages behind the image, added but not measured.
Spare pages are addresses behind the heap that pages can be added to (EAUG)."""
