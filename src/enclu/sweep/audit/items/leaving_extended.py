"""Vector and x87 registers at EEXIT.

First, whether what a call itself has computed is left.  That it is not may only be because this call uses none: so, of
an enclave that may be a debug one, registers are filled with a mark while it stands interrupted in its compiled code
(in the frame of the SSA, by EDBGWR), and it is resumed: code that computes with secrets there has them there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from enclu.host.events import Exit
from enclu.native import extended_state
from enclu.sgx.xsave import HEADER, Component
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.extended_code import computes_in_vectors, computes_in_x87

if TYPE_CHECKING:
    from enclu.host.stepping import Left
    from enclu.sweep.audit.path import Point
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding

MARK = bytes.fromhex("d05ec2e75ec2e7de")
PATTERN = 0x1122_3344_5566_7788
HOSTS = {"vectors": PATTERN, "x87": 0, "rflags": 0x202}
HOSTS_X87 = b"\x5a" * 10
ST, XMM = range(32, 160, 16), range(160, 416, 16)
WIDTHS = {
    Component.AVX: (16, 16),
    Component.OPMASK: (8, 8),
    Component.ZMM_HI256: (16, 32),
    Component.HI16_ZMM: (16, 64),
}
"""How many registers each has, of how many bytes."""
Part = tuple[Component, str, int, int]
"""Of the image: component, register, offset, bytes."""


def _vector_parts(xfrm: int) -> Iterator[Part]:
    for i, offset in enumerate(XMM):
        yield Component.SSE, f"XMM{i}", offset, 16
    for component, (count, size) in WIDTHS.items():
        place = extended_state.layout().places.get(component)
        if xfrm >> component & 1 and place is not None:
            name = {
                Component.AVX: "YMM{} (upper half)",
                Component.OPMASK: "K{}",
                Component.ZMM_HI256: "ZMM{} (upper half)",
            }
            for i in range(count):
                number = i + 16 if component == Component.HI16_ZMM else i
                yield component, name.get(component, "ZMM{}").format(number), place[0] + i * size, size


def _x87_parts(xfrm: int) -> Iterator[Part]:
    for i, offset in enumerate(ST):
        yield Component.X87, f"ST{i}", offset, 10


def vectors(audit: Audit, item: Item) -> Iterator[Finding]:
    pattern = struct.pack("<Q", PATTERN)
    parts = list(_vector_parts(audit.target.enclave.xfrm))
    yield from _judged(audit, item, parts, lambda value: value == pattern * (len(value) // 8), computes_in_vectors)


def x87(audit: Audit, item: Item) -> Iterator[Finding]:
    yield from _judged(audit, item, list(_x87_parts(0)), lambda value: value == HOSTS_X87, computes_in_x87)


def _judged(
    audit: Audit, item: Item, parts: list[Part], hosts: Callable[[bytes], bool], computes: Callable[[Target], bool]
) -> Iterator[Finding]:  # fmt: skip
    target = audit.target
    target.stepping.arm(target.tcs, free=True, registers=HOSTS)
    event = target.enter(target.way.sample().registers).event
    left = target.stepping.left(target.tcs)
    if not isinstance(event, Exit) or left is None:
        yield item.undecided("the sample call does not leave the enclave by EEXIT")
        return
    values = {name: _value(left, part) for part in parts for name in (part[1],)}
    own = [name for name, value in values.items() if any(value) and not hosts(value)]
    if own:
        yield item.weak(f"{_names(own)} hold what the enclave has computed: {own[0]} is {values[own[0]].hex()}")
        return
    marked = _marked(audit, parts)
    if isinstance(marked, list):
        if marked and not computes(audit.target):
            yield item.sound("no instruction of the enclave computes in them, so that what is left is the host's own")
        elif marked:
            yield item.weak(
                f"{_names(marked)} are left as the enclave's code has them: a mark that was in them in compiled "
                "code is there after EEXIT"
            )
        else:
            yield item.sound("a mark in all of them, in compiled code, is gone after EEXIT")
        return
    kept = [name for name, value in values.items() if hosts(value)]
    if kept and not computes(target):
        yield item.sound("no instruction of the enclave computes in them, so that what is left is the host's own")
    elif kept:
        yield item.undecided(
            f"{_names(kept)} come back as the host had them: the sample call uses none and nothing clears them, or "
            f"they are saved and restored; {marked}"
        )
    else:
        yield item.sound("all are zero after EEXIT, and were the host's before")


def _marked(audit: Audit, parts: list[Part]) -> list[str] | str:
    """The registers in which the mark is left; or why that could not be tried.

    It is put there at two points, for the deepest stack may be that of what prepares an OCALL, when all is cleared.
    """
    target = audit.debug
    if target is None:
        return "its SIGSTRUCT allows no debug enclave, in which that could be told apart"
    path = audit.path(target)
    if path.judged is None or path.switched is None:
        return "its stack was never found"
    half = (path.switched.rsp + path.judged.rsp) // 2
    first = next(point for point in path.points if target.inside(point.rsp) and point.rsp <= half)
    left: list[str] | str = "its stack was never found"
    for point in dict.fromkeys((first, path.judged)):
        target.fresh()
        left = _left_of_mark(target, point, parts)
        if not left:
            return left
    return left


def _left_of_mark(target: Target, point: Point, parts: list[Part]) -> list[str] | str:
    entry = target.run_to(point.number, target.way.sample().registers)
    if not target.stopped(entry):
        return "it did not come as far as it did before"
    _mark(target, parts)
    event = target.go_on(entry, HOSTS)
    left = target.stepping.left(target.tcs)
    if not isinstance(event, Exit) or left is None:
        return f"with a mark in them, {target.way.told(event)}"
    return [part[1] for part in parts if MARK in _value(left, part)]


def _mark(target: Target, parts: list[Part]) -> None:
    """Fill registers of the frame: those that a compiler takes first are left to the code that stands there."""
    frame = target.ssa()
    image = bytearray(frame.xsave)
    in_use = struct.unpack_from("<Q", image, HEADER)[0]
    if not in_use & 1 and parts[0][0] is Component.X87:
        struct.pack_into("<HHB", image, 0, 0x37F, 0, 0)
    usual = {f"XMM{i}" for i in range(8)} | {f"{r}{i} (upper half)" for r in ("YMM", "ZMM") for i in range(8)}
    for component, name, offset, size in parts:
        if name not in usual:
            image[offset : offset + size] = (MARK * (size // 8 + 1))[:size]
            in_use |= 1 << component
    struct.pack_into("<Q", image, HEADER, in_use)
    target.enclave.debugger.write(frame.address, image)


def _value(left: Left, part: Part) -> bytes:
    """The register; zero where its component is not in use."""
    component, _, offset, size = part
    in_use = struct.unpack_from("<Q", left.xsave, HEADER)[0]
    return left.xsave[offset : offset + size] if in_use >> component & 1 else bytes(size)


def _names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
