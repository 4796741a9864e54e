"""Whether an SGXS image is made by Fortanix EDP.  Nothing in it says so: what EDP's tool lays out tells.

Before every TCS there is a page that begins with the offset of the stack's end, which is the offset of that page
itself; the FS and GS segments of the TCS are that page, with a limit of 4095; and there is one SSA frame.  A program's
first TCS is for its main thread and others have a flag set; a library's all are alike.
fortanix/rust-sgx: intel-sgx/fortanix-sgx-tools, ftxsgx-elf2sgxs.
"""

from __future__ import annotations

from enclu.host.images.image import Image
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.layout import Structure
from enclu.sgx.structs import TCS

TCS_LOCAL = Structure(
    "tcsls", 32, (0, "tos", "Q"), (8, "flags", "H"), (16, "last_rsp", "Q"), (24, "panic_last_rsp", "Q")
)
SECONDARY = 1
"""tcsls.flags of TCSes that are for further threads."""
LIMIT = 0xFFF
"""FSLIMIT and GSLIMIT of every TCS."""


def is_edp(image: Image) -> bool:
    """By the first TCS."""
    before, start = b"", -1
    for region in image.regions():
        if not region.added:
            continue
        if region.page_type == PageType.TCS:
            return before != b"" and _matches(before, start, bytes(region.content[:PAGE_SIZE]), region.offset)
        last = (region.size - PAGE_SIZE) % len(region.content)
        before, start = bytes(region.content[last : last + TCS_LOCAL.size]), region.offset + region.size - PAGE_SIZE
    return False


def _matches(before: bytes, start: int, page: bytes, offset: int) -> bool:
    local, tcs = TCS_LOCAL.unpack(before), TCS.unpack(page)
    return (
        start + PAGE_SIZE == offset
        and local == {"tos": start, "flags": local["flags"], "last_rsp": 0, "panic_last_rsp": 0}
        and local["flags"] & ~SECONDARY == 0
        and TCS_LOCAL.reserved_ok(before)
        and tcs["NSSA"] == 1
        and tcs["OFSBASE"] == tcs["OGSBASE"] == start
        and tcs["FSLIMIT"] == tcs["GSLIMIT"] == LIMIT
    )
