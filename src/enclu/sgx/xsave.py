"""Extended state: XCR0, the layout of standard-format XSAVE images, what of them is saved, loaded and synthesised.

SDM 1 chapter 13 (13.3: XCR0, 13.4: the format, 13.6: initial states); SDM 3D sections 37.3.2 and 39.7 (with SGX).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CPUID_LEAF = 0xD


class Component(enum.IntEnum):
    """State components that XCR0 names, by the number of their bit (SDM 1 section 13.1)."""

    X87 = 0
    SSE = 1
    AVX = 2
    BNDREGS = 3
    BNDCSR = 4
    OPMASK = 5
    ZMM_HI256 = 6
    HI16_ZMM = 7
    PKRU = 9
    XTILECFG = 17
    XTILEDATA = 18

    @property
    def title(self) -> str:
        """As the SDM spells it."""
        return {0: "x87", 5: "opmask", 6: "ZMM_Hi256", 7: "Hi16_ZMM"}.get(self, self.name)


def mask_of(*components: Component) -> int:
    """Their bits."""
    return sum(1 << component for component in components)


LEGACY = mask_of(Component.X87, Component.SSE)
"""Always enabled; their places are fixed (FXSAVE's)."""
AVX = mask_of(Component.AVX)
AVX512 = mask_of(Component.OPMASK, Component.ZMM_HI256, Component.HI16_ZMM)
AMX = mask_of(Component.XTILECFG, Component.XTILEDATA)
TOGETHER = (mask_of(Component.BNDREGS, Component.BNDCSR), AVX512, AMX)
"""Components that are enabled together or not at all."""
GIVEN_UP = (AMX, mask_of(Component.PKRU), AVX512, TOGETHER[0], AVX)
"""In the order in which a loader does without them."""
KNOWN = sum(1 << component for component in Component)

HEADER, HEADER_SIZE = 512, 64
LEGACY_SIZE = 416
"""Bytes of the legacy region that XSAVE writes."""
MXCSR_INIT, FCW_INIT = 0x1F80, 0x37F
SYNTHETIC_FCW, SYNTHETIC_MXCSR = 0x37F, 0x1FB0
SYNTHETIC_MF, SYNTHETIC_XM = (0x37E, 0x8081), 0x1F01
"""Instead after #MF (FCW and FSW) and #XM (MXCSR): what an unmasked invalid operation leaves."""
_X87 = (slice(0, 24), slice(32, 160))
_MXCSR, _XMM = slice(24, 28), slice(160, LEGACY_SIZE)
"""Where the legacy region has what."""


def xsetbv_takes(xcr0: int) -> bool:
    """Whether XSETBV of a processor that has every component would load this into XCR0 (SDM 1 section 13.3)."""
    if not xcr0 & 1 or xcr0 & ~KNOWN:
        return False
    if xcr0 & AVX and xcr0 & LEGACY != LEGACY:
        return False
    if xcr0 & AVX512 and not xcr0 & AVX:
        return False
    return all(xcr0 & group in (0, group) for group in TOGETHER)


def reduced(xcr0: int) -> int:
    """The largest part of a mask that XSETBV takes."""
    xcr0 &= KNOWN
    for group in TOGETHER:
        if xcr0 & group != group:
            xcr0 &= ~group
    return xcr0 if xcr0 & AVX else xcr0 & ~AVX512


def in_use(image: bytes | bytearray | memoryview) -> int:
    """XSTATE_BV of an image: the components that are not in their initial state."""
    return int.from_bytes(image[HEADER : HEADER + 8], "little")


class Aside(NamedTuple):
    """Components that were put aside: those that were in use, and the image that has them."""

    in_use: int
    image: bytes | bytearray | memoryview


class XsaveLayout(NamedTuple):
    """Where a processor's standard-format images have the components of its XCR0.

    `places` has (offset, size) of each beyond x87 and SSE.  They are the processor's own: Intel's and AMD's differ.
    """

    xcr0: int
    places: dict[int, tuple[int, int]]

    @classmethod
    def of(cls, xcr0: int, cpuid: Callable[[int, int], tuple[int, int, int, int]]) -> XsaveLayout:
        """The layout that CPUID.0DH tells."""
        places = {}
        for number in range(2, 63):
            if xcr0 >> number & 1:
                size, offset, _, _ = cpuid(CPUID_LEAF, number)
                places[number] = (offset, size)
        return cls(xcr0, places)

    def fitting(self, xfrm: int, fixed: int, room: int) -> int:
        """The largest part of `xfrm` that is valid and has its image in `room` bytes; bits of `fixed` stay."""
        for group in (0, *GIVEN_UP):
            xfrm &= ~(group & ~fixed)
            if xsetbv_takes(xfrm) and self.size_of(xfrm) <= room:
                break
        return xfrm

    @property
    def offered(self) -> int:
        """What SGX lets an enclave use of XCR0, where hardware with SGX has it: CPUID.12H.1 tells it as XFRM."""
        return reduced(self.xcr0)

    def size_of(self, xfrm: int) -> int:
        """Bytes that an image needs for the components of `xfrm`."""
        return max([HEADER + HEADER_SIZE] + [o + s for number, (o, s) in self.places.items() if xfrm >> number & 1])

    def pages_of(self, xfrm: int) -> int:
        """Pages of an SSA frame that the XSAVE region touches."""
        return -(-self.size_of(xfrm) // PAGE_SIZE)

    def _places(self, components: int) -> Iterator[tuple[int, int]]:
        """(offset, size) of those beyond x87 and SSE."""
        return (place for number, place in self.places.items() if components >> number & 1)

    def save(self, image: bytes | bytearray, xfrm: int, pages: Sequence[memoryview]) -> None:
        """XSAVE with mask `xfrm` into an SSA frame, of which `pages` are the first."""
        used = in_use(image) & xfrm
        legacy = image[:LEGACY_SIZE]
        if used & LEGACY != LEGACY:
            legacy = bytearray(legacy)
            _initialise_legacy(legacy, ~used)
            legacy[_MXCSR] = image[_MXCSR]  # saved as it is, whatever XSTATE_BV says of SSE
        first = pages[0]
        first[:LEGACY_SIZE] = legacy
        first[HEADER : HEADER + 24] = used.to_bytes(8, "little") + bytes(16)
        for number, (offset, size) in self.places.items():
            if xfrm >> number & 1:
                _put(pages, offset, image[offset : offset + size] if used >> number & 1 else bytes(size))

    def restore(self, image: bytearray, xfrm: int, pages: Sequence[memoryview]) -> None:
        """XRSTOR with mask `xfrm`: replace the components of `image` by those in an SSA frame."""
        area = pages[0] if len(pages) == 1 else memoryview(b"".join(pages))
        before, saved = in_use(image), in_use(area)
        self.initialise(image, xfrm)
        if saved & 1:
            for part in _X87:
                image[part] = area[part]
        image[_MXCSR] = area[_MXCSR]
        if saved & 2:
            image[_XMM] = area[_XMM]
        for offset, size in self._places(xfrm & saved):
            image[offset : offset + size] = area[offset : offset + size]
        _set_in_use(image, before & ~xfrm | saved & xfrm)

    def initialise(self, image: bytearray, components: int) -> None:
        """Put components into their initial state, others left alone."""
        _initialise_legacy(image, components)
        for offset, size in self._places(components):
            image[offset : offset + size] = bytes(size)
        _set_in_use(image, in_use(image) & ~components)

    def synthesise(self, image: bytearray, xfrm: int, vector: int | None) -> None:
        """Load the synthetic state of an AEX for an exception, or None (SDM 3D table 37-1 and section 37.3.2)."""
        self.initialise(image, xfrm)
        fcw, fsw = SYNTHETIC_MF if vector == Vector.MF else (SYNTHETIC_FCW, 0)
        image[0:4] = fcw.to_bytes(2, "little") + fsw.to_bytes(2, "little")
        image[_MXCSR] = (SYNTHETIC_XM if vector == Vector.XM else SYNTHETIC_MXCSR).to_bytes(4, "little")
        image[HEADER] |= LEGACY

    def put_aside(self, image: bytearray, xfrm: int) -> Aside | None:
        """Narrow XCR0 to `xfrm`: what is outside it is taken out of the image, which has it initial from now on."""
        outside = in_use(image) & ~xfrm
        if not outside:
            return None
        aside = Aside(outside, bytes(image))
        self.initialise(image, outside)
        return aside

    def give_back(self, image: bytearray | memoryview, xfrm: int, aside: Aside) -> None:
        """Undo `put_aside`, whatever has become of the components since."""
        for offset, size in self._places(aside.in_use):
            image[offset : offset + size] = aside.image[offset : offset + size]
        _set_in_use(image, in_use(image) & xfrm | aside.in_use)


def _initialise_legacy(image: bytearray, components: int) -> None:
    if components & 1:
        image[0:24] = FCW_INIT.to_bytes(2, "little") + bytes(22)
        image[32:160] = bytes(128)
    if components & 2:
        image[_MXCSR] = MXCSR_INIT.to_bytes(4, "little")
        image[_XMM] = bytes(256)


def _set_in_use(image: bytearray | memoryview, components: int) -> None:
    image[HEADER : HEADER + 8] = components.to_bytes(8, "little")


def _put(pages: Sequence[memoryview], offset: int, data: bytes | bytearray) -> None:
    """Store bytes at an offset in a run of pages."""
    while data:
        page, at = divmod(offset, PAGE_SIZE)
        part = data[: PAGE_SIZE - at]
        pages[page][at : at + len(part)] = part
        data, offset = data[len(part) :], offset + len(part)


INTEL = XsaveLayout(
    KNOWN,
    {
        Component.AVX: (576, 256), Component.BNDREGS: (960, 64), Component.BNDCSR: (1024, 64),
        Component.OPMASK: (1088, 64), Component.ZMM_HI256: (1152, 512), Component.HI16_ZMM: (1664, 1024),
        Component.PKRU: (2688, 8), Component.XTILECFG: (2752, 64), Component.XTILEDATA: (2816, 8192),
    },
)  # fmt: skip
"""That of Intel's processors, which all hardware with SGX has (SDM 1 section 13.5 and CPUID.0DH)."""
INTEL_AVX = XsaveLayout(LEGACY | AVX, INTEL.places)
"""Of one that has or enables no more than AVX."""
