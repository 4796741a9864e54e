"""Registers and flags that EENTER leaves as the host has them, and the enclave's own code must not run with.

Each is set to a hostile value by itself, and looked at where the stack is deepest: what the AEX of an interrupt there
saves is what compiled code runs with.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from enclu.host.events import EnclaveException
from enclu.sgx.xsave import HEADER, Component
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.extended_code import computes_in_vectors, computes_in_x87

if TYPE_CHECKING:
    from enclu.host.frames import SsaFrame
    from enclu.sweep.audit.path import Point
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding

DF, AC, NT = 1 << 10, 1 << 18, 1 << 14
FLAGS = 0x202
MXCSR_CONTROL = 0xFFC0
"""Masks, rounding, DAZ and FTZ; the rest are exceptions that have been."""
ROUNDS_TO_ZERO = 0x7F80
SINGLE_TO_ZERO = 0x0C7F
"""x87 control word: rounds to zero, to 24 bits; all exceptions masked."""
FULL = 0xFF
BELOW = 0x400
"""Bytes below the deepest stack to which the host's RSP leads."""
AROUND = 0x200


def mxcsr(frame: SsaFrame) -> int:
    return int(struct.unpack_from("<I", frame.xsave, 24)[0]) & MXCSR_CONTROL


def x87_control(frame: SsaFrame) -> int:
    return int(struct.unpack_from("<H", frame.xsave)[0]) if _in_use(frame, Component.X87) else 0x37F


def x87_tags(frame: SsaFrame) -> int:
    return frame.xsave[4] if _in_use(frame, Component.X87) else 0


def _in_use(frame: SsaFrame, component: Component) -> bool:
    return bool(struct.unpack_from("<Q", frame.xsave, HEADER)[0] >> component & 1)


def _flag(mask: int) -> Callable[[SsaFrame], int]:
    return lambda frame: frame.gprsgx.rflags & mask


def _register(
    name: str,
    hostile: Mapping[str, int],
    look: Callable[[SsaFrame], int],
    note: str = "",
    used: Callable[[Target], bool] | None = None,
) -> Callable[..., Iterator[Finding]]:
    """An item: `look` has to say the same of a call with hostile registers as of one with usual ones."""

    def run(audit: Audit, item: Item) -> Iterator[Finding]:
        target = audit.target
        judged = audit.path(target).judged
        if judged is None:
            yield item.undecided(NO_STACK)
            return
        usual = _at(target, judged, None)
        found = _at(target, judged, hostile)
        if isinstance(usual, str):
            yield item.undecided(f"without hostile registers already, {usual}")
        elif isinstance(found, str):
            yield item.weak(f"with a hostile {name} at EENTER, {found} on the way to {target.place(judged.rip)}")
        elif look(found) != look(usual) and used is not None and not used(target):
            yield item.sound(f"{name} is the host's, and no instruction of the enclave depends on it")
        elif look(found) != look(usual):
            yield item.weak(
                f"{name} is the host's, {look(found):#x} in place of {look(usual):#x}, at {target.place(judged.rip)}, "
                f"{judged.number} instructions after EENTER, where the stack is deepest{note}"
            )
        else:
            yield item.sound(f"{name} is {look(found):#x} at {target.place(judged.rip)} whatever the host's is")

    return run


NO_STACK = "the sample call never has its RSP in the enclave: there is no place to judge by"


def _at(target: Target, judged: Point, hostile: Mapping[str, int] | None) -> SsaFrame | str:
    """The frame of an interrupt there; or what happened before."""
    target.fresh()
    entry = target.run_to(judged.number, target.way.sample().registers, hostile)
    if not target.stopped(entry):
        where = ""
        if isinstance(entry.event, EnclaveException) and entry.event.leaf != 2:
            where = f" at {target.place(target.ssa().gprsgx.rip)}"
        return target.way.told(entry.event) + where
    return target.ssa()


def _stack(audit: Audit, item: Item) -> Iterator[Finding]:
    """RSP: leads below the enclave's stack in use, where pushes before the switch would be found."""
    target = audit.target
    judged, switched = audit.path(target).judged, audit.path(target).switched
    if judged is None or switched is None:
        yield item.undecided(NO_STACK)
        return
    hostile = judged.rsp - BELOW & -16
    region = hostile - AROUND, 2 * AROUND
    target.fresh()
    before = target.stepping.read(*region)
    entry = target.run_to(judged.number, target.way.sample().registers, {"rsp": hostile})
    if not target.stopped(entry):
        yield item.sound(f"the enclave does not go on with an RSP that leads into it: {target.way.told(entry.event)}")
        return
    frame, after = target.ssa().gprsgx, target.stepping.read(*region)
    if frame.rsp != judged.rsp:
        yield item.weak(
            f"compiled code runs on the host's RSP: it is {target.address(frame.rsp)} at {target.place(frame.rip)}"
        )
    elif after != before:
        at = next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
        yield item.weak(
            f"the entry code writes by the host's RSP {target.address(hostile)}, which leads into the enclave: "
            f"{target.place(region[0] + at)} has changed before {target.place(switched.rip)}"
        )
    else:
        yield item.sound(
            f"the stack is the enclave's own from {target.place(switched.rip)} on, and nothing is written by the host's"
        )


ITEMS = (
    Item("entry/df", "RFLAGS.DF is clear when the enclave's code runs",
         _register("RFLAGS.DF", {"rflags": FLAGS | DF}, _flag(DF))),
    Item("entry/ac", "RFLAGS.AC is clear", _register("RFLAGS.AC", {"rflags": FLAGS | AC}, _flag(AC))),
    Item("entry/nt", "RFLAGS.NT is clear",
         _register("RFLAGS.NT", {"rflags": FLAGS | NT}, _flag(NT), "; IRET would fault (#GP)")),
    Item("entry/mxcsr", "MXCSR has the enclave's rounding and masks",
         _register("MXCSR", {"mxcsr": ROUNDS_TO_ZERO}, mxcsr, used=computes_in_vectors)),
    Item("entry/x87-control", "the x87 control word is the enclave's",
         _register("the x87 control word", {"fcw": SINGLE_TO_ZERO}, x87_control, used=computes_in_x87)),
    Item("entry/x87-tags", "the x87 stack is empty",
         _register("the x87 tag word", {"x87": FULL}, x87_tags, used=computes_in_x87)),
    Item("entry/rsp", "the stack is the enclave's own, and nothing is pushed before it is", _stack),
)  # fmt: skip
