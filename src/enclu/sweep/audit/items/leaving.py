"""General registers and flags at EEXIT: what is neither the host's nor said to it on purpose is the enclave's."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.events import Exit
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.code import Instruction, at
from enclu.sweep.audit.items.leaving_extended import vectors, x87
from enclu.sweep.audit.ways.way import ROOM

if TYPE_CHECKING:
    from enclu.host.stepping import Left
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding
    from enclu.sweep.audit.ways.way import Sample

ARITHMETIC, DF, AC = 0x8D5, 1 << 10, 1 << 18
CANARIES = {
    name: 0x0C0D_E000_0000_0000 | number for number, name in enumerate(("rdx", *(f"r{i}" for i in range(8, 16))))
}
"""What the host has in registers that the protocol does not use."""
QUIET = {"vectors": 0, "x87": 0, "rflags": 0x202}
CHECKED = ("rdx", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rsp")
"""EEXIT itself needs RAX and RBX, and loads RCX."""
SMALL = 0x1000
"""Numbers below tell nothing by themselves."""
SAMPLES = 12
WINDOW = 48
"""Instructions before it in which what it reads is looked for."""


def _left(target: Target, sample: Sample) -> tuple[Left, dict[str, int]] | None:
    """What a call leaves, and what the host had; None if it does not leave by EEXIT."""
    had = {name: value for name, value in CANARIES.items() if name not in sample.registers}
    target.stepping.arm(target.tcs, free=True, registers={**had, **QUIET})
    event = target.enter(sample.registers).event
    left = target.stepping.left(target.tcs)
    if not isinstance(event, Exit) or left is None:
        return None
    return left, had


def _general(audit: Audit, item: Item) -> Iterator[Finding]:
    target = audit.target
    outputs = target.way.outputs
    pointers: list[str] = []
    others: list[str] = []
    small: list[str] = []
    tried = 0
    for sample in _samples(target):
        found = _left(target, sample)
        if found is None:
            continue
        tried += 1
        left, had = found
        known = _known(target, had | dict(sample.registers)) | {left.registers["rbx"], left.registers["rcx"]}
        for name in CHECKED:
            value = left.registers[name]
            if value in known or not value:
                continue
            if target.inside(value):
                if name in outputs and target.way.name == "registers":
                    small.append(
                        f"{name.upper()} leads to {target.place(value)} after {sample.name}, perhaps on purpose"
                    )
                else:
                    pointers.append(f"{name.upper()} leads to {target.place(value)} after {sample.name}")
            elif name not in outputs:
                (small if value < SMALL else others).append(f"{name.upper()} is {value:#x} after {sample.name}")
    if not tried:
        yield item.undecided("no sample call leaves the enclave by EEXIT")
    elif pointers or others:
        yield item.weak(_some(pointers + others) + ": neither zero nor anything that the host had given")
    elif small:
        yield item.undecided(_some(small) + ": whether that tells anything cannot be seen")
    else:
        yield item.sound(f"after {tried} calls all others than {_names(outputs)} are zero or the host's own")


def _samples(target: Target) -> Iterator[Sample]:
    for number in range(SAMPLES):
        target.fresh()
        sample = next((s for i, s in enumerate(target.way.samples()) if i == number), None)
        if sample is None:
            return
        yield sample


def _names(registers: frozenset[str]) -> str:
    return ", ".join(sorted(name.upper() for name in registers | {"rax", "rbx", "rcx"}))


def _some(words: list[str]) -> str:
    return "; ".join(words[:4]) + (f"; and {len(words) - 4} more" if len(words) > 4 else "")


def _known(target: Target, given: dict[str, int]) -> set[int]:
    """Numbers that the host has given, in registers or in memory, or knows itself."""
    room = target.way.memory.read(target.way.room, ROOM << 12)
    frame = target.ssa().gprsgx
    addresses = range(target.way.room, target.way.room + (ROOM << 12), 8)
    return {
        *given.values(),
        *struct.unpack(f"<{len(room) // 8}Q", room),
        *addresses,
        frame.ursp,
        frame.urbp,
        target.tcs,
    }


def _flags(audit: Audit, item: Item) -> Iterator[Finding]:
    """By the last instruction that sets the arithmetic flags, and by what is in DF and AC."""
    target = audit.target
    path = audit.path(target)
    target.fresh()
    found = _left(target, target.way.sample())
    if found is None or not path.rips:
        yield item.undecided("the sample call does not leave the enclave by EEXIT")
        return
    flags = found[0].registers["rflags"]
    if flags & (DF | AC):
        names = " and ".join(n for n, mask in (("DF", DF), ("AC", AC)) if flags & mask)
        yield item.weak(f"{names} is set, which the host had clear")
        return
    setter = _last_setter(target, path.rips)
    if setter is None:
        yield item.sound("no instruction of the call sets them")
        return
    last, constant = setter
    where = f"`{last.text}' at {target.place(last.address)}"
    if last.loads_flags:
        if flags & ARITHMETIC:
            yield item.undecided(f"{where} sets them to {flags & ARITHMETIC:#x}: whether on purpose cannot be seen")
        else:
            yield item.sound(f"{where} clears them before EEXIT")
    elif constant:
        yield item.sound(f"{where} sets them, to what they always are after it")
    elif last.of_stack_pointer:
        yield item.sound(f"{where} sets them, from a stack pointer alone")
    else:
        yield item.weak(f"they are left as {where} has set them, {flags & ARITHMETIC:#x}: they tell of its operands")


def _last_setter(target: Target, rips: tuple[int, ...]) -> tuple[Instruction, bool] | None:
    """The instruction, and whether all that it reads has been set to constants before."""
    for number in reversed(range(len(rips))):
        instruction = at(target, rips[number])
        if instruction is not None and instruction.sets_flags:
            return instruction, instruction.clears or _of_constants(target, instruction, rips[:number])
    return None


def _of_constants(target: Target, instruction: Instruction, before: tuple[int, ...]) -> bool:
    unknown = set(instruction.reads) - {"rflags"}
    if not unknown or "[" in instruction.text:
        return False
    for rip in reversed(before[-WINDOW:]):
        earlier = at(target, rip)
        if earlier is None or (earlier.writes & unknown and not earlier.constant):
            return False
        unknown -= earlier.writes
        if not unknown:
            return True
    return False


ITEMS = (
    Item("exit/registers", "general registers are cleared at EEXIT", _general),
    Item("exit/flags", "so are the flags", _flags),
    Item("exit/vectors", "and the vector registers", vectors),
    Item("exit/x87", "and the x87 registers", x87),
)
