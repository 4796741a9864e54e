"""Standard-format XSAVE images: where components lie, and their initial state.  SDM 1 sections 13.4 to 13.6."""

from __future__ import annotations

from enclu.sgx.exceptions import Vector

COMPONENTS = {2: (576, 256)}
"""Component number -> (offset, size) beyond x87 and SSE.  Only AVX lies at the same place on every processor."""
HEADER = 512
MXCSR_INIT, FCW_INIT = 0x1F80, 0x37F
SYNTHETIC_FCW, SYNTHETIC_MXCSR = 0x37F, 0x1FB0
SYNTHETIC_MF, SYNTHETIC_XM = (0x37E, 0x8081), 0x1F01
"""Instead after #MF (FCW and FSW) and #XM (MXCSR): what an unmasked invalid operation leaves."""
_X87 = ((0, 24), (32, 160))
"""Byte ranges of the legacy region that belong to x87; MXCSR is at 24, XMM at 160..415."""


def size_of(xfrm: int) -> int:
    """Bytes an image needs for the components of `xfrm`."""
    return max([HEADER + 64] + [o + s for i, (o, s) in COMPONENTS.items() if xfrm >> i & 1])


def save(image: bytearray, xfrm: int, area: memoryview) -> None:
    """XSAVE with mask `xfrm`: copy the components of `image` into an SSA's XSAVE region, with its header."""
    size = size_of(xfrm)
    area[:size] = image[:size]
    area[416:HEADER] = bytes(96)
    bv = int.from_bytes(image[HEADER : HEADER + 8], "little") & xfrm
    area[HEADER : HEADER + 64] = bv.to_bytes(8, "little") + bytes(56)
    for number, (offset, length) in COMPONENTS.items():
        if offset < size and not bv >> number & 1:
            area[offset : offset + length] = bytes(length)


def initialise(image: bytearray, xfrm: int) -> None:
    """Put the components of `xfrm` into their initial state, others left alone."""
    bv = int.from_bytes(image[HEADER : HEADER + 8], "little")
    if xfrm & 1:
        image[0:24] = FCW_INIT.to_bytes(2, "little") + bytes(22)
        image[32:160] = bytes(128)
    if xfrm & 2:
        image[24:28] = MXCSR_INIT.to_bytes(4, "little")
        image[160:416] = bytes(256)
    for number, (offset, length) in COMPONENTS.items():
        if xfrm >> number & 1 and offset + length <= len(image):
            image[offset : offset + length] = bytes(length)
    image[HEADER : HEADER + 8] = (bv & ~xfrm).to_bytes(8, "little")


def synthesise(image: bytearray, xfrm: int, vector: int | None) -> None:
    """Load the synthetic state of an AEX for an exception, or None (SDM 3D table 37-1)."""
    initialise(image, xfrm)
    fcw, fsw = SYNTHETIC_MF if vector == Vector.MF else (SYNTHETIC_FCW, 0)
    image[0:4] = fcw.to_bytes(2, "little") + fsw.to_bytes(2, "little")
    image[24:28] = (SYNTHETIC_XM if vector == Vector.XM else SYNTHETIC_MXCSR).to_bytes(4, "little")
    image[HEADER] |= 3


def restore(image: bytearray, xfrm: int, area: memoryview) -> None:
    """XRSTOR with mask `xfrm`: replace the components of `image` by those of an SSA's XSAVE region."""
    bv = int.from_bytes(image[HEADER : HEADER + 8], "little")
    saved = int.from_bytes(area[HEADER : HEADER + 8], "little")
    initialise(image, xfrm)
    if saved & 1:
        for start, end in _X87:
            image[start:end] = area[start:end]
    image[24:28] = area[24:28]
    if saved & 2:
        image[160:416] = area[160:416]
    for number, (offset, length) in COMPONENTS.items():
        if xfrm >> number & saved >> number & 1 and offset + length <= len(image):
            image[offset : offset + length] = area[offset : offset + length]
    image[HEADER : HEADER + 8] = (bv & ~xfrm | saved & xfrm).to_bytes(8, "little")
