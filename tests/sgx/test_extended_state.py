"""XFRM, XCR0 and the XSAVE region: what ECREATE takes, and what becomes of the components at entry and exit."""

from __future__ import annotations

import pytest

from enclu.sgx import xsave
from enclu.sgx.aex import aex
from enclu.sgx.enclu.enter import eenter, eresume
from enclu.sgx.enclu.exit import eexit
from enclu.sgx.exceptions import Fault, GeneralProtection, PageFault, Vector
from enclu.sgx.leave import shut_down
from enclu.sgx.machine import Machine
from enclu.sgx.xsave import AMX, AVX, AVX512, INTEL, KNOWN, LEGACY, Component, XsaveLayout, in_use, mask_of
from tests.support.memory_processor import BASE, REG_RW, REG_RX, TCS_PAGE, MemoryProcessor, World, tcs_image

PKRU = mask_of(Component.PKRU)
AVX512_PROCESSOR = XsaveLayout(LEGACY | AVX | AVX512 | PKRU, INTEL.places)
AMD = XsaveLayout(
    LEGACY | AVX | AVX512 | PKRU,
    {
        Component.AVX: (576, 256), Component.OPMASK: (832, 64), Component.ZMM_HI256: (896, 512),
        Component.HI16_ZMM: (1408, 1024), Component.PKRU: (2432, 8),
    },
)  # fmt: skip
EVERYTHING = LEGACY | AVX | AVX512 | PKRU | AMX


def world(layout: XsaveLayout, xfrm: int, frame_pages: int = 1) -> World:
    """An enclave with this XFRM, one SSA frame of so many pages behind its TCS, code behind that."""
    w = World(layout=layout)
    assert w.create(XFRM=xfrm, SSAFRAMESIZE=frame_pages) == 0
    w.add(0, tcs_image(oentry=0x5000, nssa=1), TCS_PAGE)
    w.add(0x1000, bytes(frame_pages * 4096), REG_RW)
    w.add(0x5000, b"\x90" * 4096, REG_RX)
    w.init()
    for start, length, prot in ((0, 0x5000, 3), (0x5000, 0x1000, 5)):
        w.map(start, length, prot)
    return w


def patterned(cpu: MemoryProcessor, components: int, seed: int) -> bytearray:
    """An image with these components in use, each byte of which tells component and seed."""
    image = bytearray(cpu.machine.layout.size_of(cpu.machine.layout.xcr0))
    image[24:28] = (0x1F80).to_bytes(4, "little")
    image[160:416] = bytes([seed]) * 256
    for number, (offset, size) in cpu.machine.layout.places.items():
        if components >> number & 1:
            image[offset : offset + size] = bytes([seed + number]) * size
    image[512:520] = components.to_bytes(8, "little")
    return image


def component(cpu: MemoryProcessor, image: bytes | bytearray, number: int) -> bytes:
    offset, size = cpu.machine.layout.places[number]
    return bytes(image[offset : offset + size])


def enter(w: World) -> MemoryProcessor:
    cpu = w.processor()
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = 2, BASE, 0x40_1000
    return cpu


@pytest.mark.parametrize(
    "xfrm",
    [
        0, 2, AVX, LEGACY | AVX512, LEGACY | AVX | mask_of(Component.OPMASK), LEGACY | mask_of(Component.BNDREGS),
        LEGACY | mask_of(Component.XTILEDATA), LEGACY | 1 << 63, LEGACY | 1 << 8,
    ],
)  # fmt: skip
def test_xsetbv_takes_no_mask_of_parts(xfrm: int) -> None:
    assert not xsave.xsetbv_takes(xfrm)


@pytest.mark.parametrize("xfrm", [1, LEGACY, LEGACY | AVX, LEGACY | AVX | AVX512, EVERYTHING, KNOWN])
def test_xsetbv_takes_whole_groups(xfrm: int) -> None:
    assert xsave.xsetbv_takes(xfrm)


@pytest.mark.parametrize(
    ("xcr0", "offered"),
    [
        (0x7, 0x7), (0xE7, 0xE7), (0x2E7, 0x2E7), (0x602E7, 0x602E7), (0x202E7, 0x2E7), (0x1F, 0x1F), (0xF, 0x7),
        (0x67, 0x7), (0xE3, 0x3), (0x80007, 0x7),
    ],
)  # fmt: skip
def test_xfrm_offers_what_xcr0_has_of_hardware_with_sgx(xcr0: int, offered: int) -> None:
    machine = Machine(1 << 20, b"s" * 32, XsaveLayout(xcr0, INTEL.places))
    _, _, low, high = machine.cpuid(1)
    assert low | high << 32 == offered


@pytest.mark.parametrize("xfrm", [LEGACY | AVX512, LEGACY | AVX | PKRU | 0x20, KNOWN, LEGACY | 1 << 63, AVX])
def test_ecreate_refuses_what_xsetbv_would_or_the_machine_does_not_offer(xfrm: int) -> None:
    w = World(layout=AVX512_PROCESSOR)
    with pytest.raises(OSError, match=r"XFRM .* not supported: the machine offers 0x2e7"):
        w.create(XFRM=xfrm)


@pytest.mark.parametrize(
    ("layout", "xfrm", "pages"),
    [(AVX512_PROCESSOR, 0x2E7, 1), (INTEL, LEGACY | AMX, 3), (INTEL, EVERYTHING, 3), (AMD, 0x2E7, 1)],
)
def test_ecreate_wants_frames_that_hold_what_xfrm_has(layout: XsaveLayout, xfrm: int, pages: int) -> None:
    assert World(layout=layout).create(XFRM=xfrm, SSAFRAMESIZE=pages) == 0
    with pytest.raises(OSError, match=r"SSAFRAMESIZE \d too small"):
        World(layout=layout).create(XFRM=xfrm, SSAFRAMESIZE=pages - 1)


@pytest.mark.parametrize(("layout", "pages"), [(AVX512_PROCESSOR, 1), (AMD, 1), (INTEL, 3), (INTEL, 4)])
def test_every_component_of_xfrm_survives_aex_and_eresume(layout: XsaveLayout, pages: int) -> None:
    xfrm = EVERYTHING & layout.xcr0
    w = world(layout, xfrm, pages)
    cpu = enter(w)
    eenter(cpu)
    cpu.image = patterned(cpu, xfrm, 0x20)
    inside = bytes(cpu.image)
    aex(cpu, None)
    assert in_use(cpu.image) & xfrm == LEGACY
    cpu.image = patterned(cpu, xfrm, 0x60)
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = 3, BASE, 0x40_1000
    eresume(cpu)
    assert bytes(cpu.image) == inside


def test_the_region_lies_in_the_frame_as_cpuid_says() -> None:
    w = world(INTEL, EVERYTHING, 3)
    cpu = enter(w)
    eenter(cpu)
    cpu.image = patterned(cpu, EVERYTHING, 0x20)
    aex(cpu, None)
    frame = b"".join(bytes(w.page(0x1000 + i * 4096).data) for i in range(3))
    assert in_use(frame) == EVERYTHING
    for number in (Component.AVX, Component.HI16_ZMM, Component.PKRU, Component.XTILECFG, Component.XTILEDATA):
        assert component(cpu, frame, number) == bytes([0x20 + number]) * INTEL.places[number][1]


def test_an_aex_writes_neither_components_outside_xfrm_nor_gaps() -> None:
    w = world(AVX512_PROCESSOR, LEGACY | AVX | AVX512)
    cpu = enter(w)
    eenter(cpu)
    frame = w.page(0x1000).data
    gaps = (slice(416, 512), slice(832, 1088), slice(2688, 2696))
    for gap in gaps:
        frame[gap] = b"\xee" * (gap.stop - gap.start)
    cpu.image = patterned(cpu, KNOWN & AVX512_PROCESSOR.xcr0, 0x20)
    aex(cpu, None)
    assert all(set(frame[gap]) == {0xEE} for gap in gaps)


def test_components_in_their_initial_state_are_written_as_such() -> None:
    w = world(AVX512_PROCESSOR, LEGACY | AVX | AVX512)
    cpu = enter(w)
    eenter(cpu)
    frame = w.page(0x1000).data
    frame[0:416], frame[576:832] = b"\xee" * 416, b"\xee" * 256
    cpu.image = patterned(cpu, AVX512, 0x20)
    aex(cpu, None)
    assert in_use(frame) == AVX512
    assert bytes(frame[0:2]) == (0x37F).to_bytes(2, "little")
    assert not any(frame[160:416]) and not any(frame[576:832])


@pytest.mark.parametrize("xfrm", [LEGACY, LEGACY | AVX])
def test_what_xcr0_has_besides_xfrm_is_initial_inside(xfrm: int) -> None:
    cpu = enter(world(AVX512_PROCESSOR, xfrm))
    cpu.image = patterned(cpu, AVX512_PROCESSOR.xcr0, 0x20)
    eenter(cpu)
    assert in_use(cpu.image) == xfrm
    assert not any(component(cpu, cpu.image, Component.HI16_ZMM)) and not any(component(cpu, cpu.image, Component.PKRU))


def test_eexit_gives_back_what_was_put_aside_whatever_the_enclave_did() -> None:
    xfrm = LEGACY | AVX
    cpu = enter(world(AVX512_PROCESSOR, xfrm))
    cpu.image = patterned(cpu, LEGACY | AVX | mask_of(Component.HI16_ZMM) | PKRU, 0x20)
    eenter(cpu)
    cpu.image = patterned(cpu, AVX512_PROCESSOR.xcr0, 0x60)
    cpu.regs.rax, cpu.regs.rbx = 4, 0x40_2000
    eexit(cpu)
    assert in_use(cpu.image) == LEGACY | AVX | mask_of(Component.HI16_ZMM) | PKRU
    assert component(cpu, cpu.image, Component.AVX) == b"\x62" * 256
    assert component(cpu, cpu.image, Component.HI16_ZMM) == b"\x27" * 1024
    assert component(cpu, cpu.image, Component.PKRU) == b"\x29" * 8
    assert cpu.aside is None


def test_an_aex_gives_back_what_was_put_aside_and_eresume_puts_it_aside_again() -> None:
    xfrm = LEGACY | AVX
    cpu = enter(world(AVX512_PROCESSOR, xfrm))
    cpu.image = patterned(cpu, AVX512_PROCESSOR.xcr0, 0x20)
    eenter(cpu)
    aex(cpu, None)
    assert in_use(cpu.image) == LEGACY | AVX512 | PKRU
    assert component(cpu, cpu.image, Component.OPMASK) == b"\x25" * 64
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = 3, BASE, 0x40_1000
    eresume(cpu)
    assert in_use(cpu.image) == xfrm
    aex(cpu, None)
    assert component(cpu, cpu.image, Component.OPMASK) == b"\x25" * 64


def test_nothing_is_put_aside_where_xfrm_is_xcr0() -> None:
    cpu = enter(world(AVX512_PROCESSOR, AVX512_PROCESSOR.xcr0))
    cpu.image = patterned(cpu, AVX512_PROCESSOR.xcr0, 0x20)
    before = bytes(cpu.image)
    eenter(cpu)
    assert bytes(cpu.image) == before and cpu.aside is None


def test_an_entry_that_faults_puts_nothing_aside() -> None:
    w = world(AVX512_PROCESSOR, LEGACY)
    w.page(0x1000).blocked = True
    cpu = enter(w)
    cpu.image = patterned(cpu, AVX512_PROCESSOR.xcr0, 0x20)
    before = bytes(cpu.image)
    with pytest.raises(PageFault):
        eenter(cpu)
    assert bytes(cpu.image) == before and cpu.aside is None


def test_a_processor_that_is_gone_keeps_nothing_aside() -> None:
    cpu = enter(world(AVX512_PROCESSOR, LEGACY))
    cpu.image = patterned(cpu, AVX512_PROCESSOR.xcr0, 0x20)
    eenter(cpu)
    shut_down(cpu)
    assert cpu.aside is None


def test_amx_that_the_process_may_not_use_is_nm_at_entry() -> None:
    cpu = enter(world(INTEL, EVERYTHING, 3))
    cpu.xfd = AMX
    with pytest.raises(Fault) as caught:
        eenter(cpu)
    assert caught.value.vector == Vector.NM
    cpu.xfd = 0
    eenter(cpu)


def test_an_enclave_without_amx_does_not_ask_for_it() -> None:
    cpu = enter(world(INTEL, LEGACY | AVX | AVX512))
    cpu.xfd = AMX
    eenter(cpu)
    assert cpu.mode.enclave


@pytest.mark.parametrize("offset", [0x1000, 0x2000, 0x3000])
def test_every_page_that_the_region_touches_is_checked(offset: int) -> None:
    w = world(INTEL, EVERYTHING, 3)
    w.page(offset).rwx = 1
    cpu = enter(w)
    with pytest.raises(PageFault) as caught:
        eenter(cpu)
    assert caught.value.address & ~0xFFF == BASE + offset


def test_padding_between_the_region_and_gprsgx_is_not_checked() -> None:
    w = world(AVX512_PROCESSOR, LEGACY, 3)
    w.page(0x2000).blocked = True
    cpu = enter(w)
    eenter(cpu)
    aex(cpu, None)
    assert not any(w.page(0x2000).data)


@pytest.mark.parametrize("bits", [1 << 5, 1 << 63])
def test_eresume_refuses_a_header_with_more_than_xfrm(bits: int) -> None:
    w = world(AVX512_PROCESSOR, LEGACY | AVX)
    cpu = enter(w)
    eenter(cpu)
    aex(cpu, None)
    frame = w.page(0x1000).data
    frame[512:520] = (in_use(frame) | bits).to_bytes(8, "little")
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = 3, BASE, 0x40_1000
    with pytest.raises(GeneralProtection, match="header"):
        eresume(cpu)


def test_places_are_those_of_cpuid() -> None:
    leaves = {2: (256, 576, 0, 0), 5: (64, 832, 0, 0), 6: (512, 896, 0, 0), 7: (1024, 1408, 0, 0), 9: (8, 2432, 0, 0)}
    assert XsaveLayout.of(0x2E7, lambda leaf, subleaf: leaves[subleaf] if leaf == 0xD else (0, 0, 0, 0)) == AMD
    assert AMD.size_of(0x7) == 832 and AMD.size_of(0xE7) == 2432 and AMD.size_of(0x2E7) == 2440


@pytest.mark.parametrize(
    ("wanted", "fixed", "room", "fits"),
    [
        (EVERYTHING, 0, 3 * 4096, EVERYTHING), (EVERYTHING, 0, 4096, 0x2E7), (EVERYTHING, AMX, 4096, LEGACY | AMX),
        (0x27, 0, 4096, 0x7), (0x7, 0, 600, 0x3), (0x7, 7, 600, 0x7),
    ],
)  # fmt: skip
def test_a_loader_gives_up_what_does_not_fit(wanted: int, fixed: int, room: int, fits: int) -> None:
    assert INTEL.fitting(wanted, fixed, room) == fits
