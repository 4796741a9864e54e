"""The registers that gdb sees, as a table: the target description, and where each is in registers and XSAVE image.

GDB manual, appendix "Target Descriptions", section "i386 Features".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.sgx.xsave import Component

if TYPE_CHECKING:
    from enclu.sgx.xsave import XsaveLayout

GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
_VECTORS = (
    ("v4_float", "ieee_single", 4), ("v2_double", "ieee_double", 2), ("v16_int8", "int8", 16),
    ("v8_int16", "int16", 8), ("v4_int32", "int32", 4), ("v2_int64", "int64", 2),
)  # fmt: skip
_EFLAGS = ("CF", "", "PF", "", "AF", "", "ZF", "SF", "TF", "IF", "DF", "OF")


@dataclass(frozen=True)
class Register:
    """One register: its name, bits and type to gdb."""

    name: str
    bits: int
    type: str
    user: str = ""
    """Its name in `ptrace.UserRegs`; else it is a part of the XSAVE image."""
    component: int = 0
    """State component that has it."""
    offset: int = 0
    """In the image."""
    stored: int = 0
    """Bytes that it has there, if they are fewer than gdb's."""

    @property
    def size(self) -> int:
        return self.bits // 8


@dataclass(frozen=True)
class Feature:
    """A feature of the description, with its registers in gdb's order."""

    name: str
    registers: tuple[Register, ...]


def _core() -> Feature:
    pointers = {"rbp": "data_ptr", "rsp": "data_ptr"}
    general = [Register(name, 64, pointers.get(name, "int64"), name) for name in GENERAL]
    general += [Register("rip", 64, "code_ptr", "rip"), Register("eflags", 32, "i386_eflags", "rflags")]
    general += [Register(name, 32, "int32", name) for name in ("cs", "ss", "ds", "es", "fs", "gs")]
    stack = [Register(f"st{i}", 80, "i387_ext", offset=32 + 16 * i) for i in range(8)]
    control = [
        Register("fctrl", 32, "int", offset=0, stored=2), Register("fstat", 32, "int", offset=2, stored=2),
        Register("ftag", 32, "int", offset=4, stored=1), Register("fiseg", 32, "int", offset=12, stored=4),
        Register("fioff", 32, "int", offset=8, stored=4), Register("foseg", 32, "int", offset=20, stored=4),
        Register("fooff", 32, "int", offset=16, stored=4), Register("fop", 32, "int", offset=6, stored=2),
    ]  # fmt: skip
    return Feature("core", (*general, *stack, *control))


def features(layout: XsaveLayout) -> list[Feature]:
    """Those of a processor with these components."""
    sse = [Register(f"xmm{i}", 128, "vec128", component=Component.SSE, offset=160 + 16 * i) for i in range(16)]
    mxcsr = Register("mxcsr", 32, "i386_mxcsr", component=Component.SSE, offset=24)
    segments = tuple(Register(name, 64, "int64", name) for name in ("fs_base", "gs_base"))
    found = [
        _core(), Feature("sse", (*sse, mxcsr)), Feature("linux", (Register("orig_rax", 64, "int64", "orig_rax"),)),
        Feature("segments", segments),
    ]  # fmt: skip
    places = {Component(number): at for number, (at, _) in layout.places.items() if number in set(Component)}

    def row(prefix: str, bits: int, kind: str, numbers: range, component: Component, stride: int, skip: int = 0,
            suffix: str = "") -> list[Register]:  # fmt: skip
        return [
            Register(f"{prefix}{number}{suffix}", bits, kind, component=component,
                     offset=places[component] + stride * i + skip)
            for i, number in enumerate(numbers)
        ]  # fmt: skip

    low, high = range(16), range(16, 32)
    if Component.AVX in places:
        found.append(Feature("avx", tuple(row("ymm", 128, "uint128", low, Component.AVX, 16, suffix="h"))))
    if {Component.OPMASK, Component.ZMM_HI256, Component.HI16_ZMM} <= places.keys():
        upper = Component.HI16_ZMM
        found.append(Feature("avx512", (
            *row("xmm", 128, "vec128", high, upper, 64), *row("ymm", 128, "uint128", high, upper, 64, 16, "h"),
            *row("k", 64, "uint64", range(8), Component.OPMASK, 8),
            *row("zmm", 256, "v2ui128", low, Component.ZMM_HI256, 32, suffix="h"),
            *row("zmm", 256, "v2ui128", high, upper, 64, 32, "h"),
        )))  # fmt: skip
    if Component.PKRU in places:
        found.append(Feature("pkeys", (
            Register("pkru", 32, "int", component=Component.PKRU, offset=places[Component.PKRU]),
        )))  # fmt: skip
    return found


def registers(layout: XsaveLayout) -> list[Register]:
    """All of them, by gdb's numbers."""
    return [register for feature in features(layout) for register in feature.registers]


def _types(name: str) -> str:
    if name == "core":
        bits = "".join(f'<field name="{bit}" start="{i}" end="{i}"/>' for i, bit in enumerate(_EFLAGS))
        return f'<flags id="i386_eflags" size="4">{bits}</flags>'
    vectors = "".join(f'<vector id="{name}" type="{of}" count="{count}"/>' for name, of, count in _VECTORS)
    fields = "".join(f'<field name="{name}" type="{name}"/>' for name, *_ in _VECTORS)
    union = f'<union id="vec128">{fields}<field name="uint128" type="uint128"/></union>'
    if name == "sse":
        names = ("IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM", "ZM", "OM", "UM", "PM")
        bits = "".join(f'<field name="{bit}" start="{i}" end="{i}"/>' for i, bit in enumerate(names))
        return f'{vectors}{union}<flags id="i386_mxcsr" size="4">{bits}<field name="FZ" start="15" end="15"/></flags>'
    if name == "avx512":
        return f'{vectors}{union}<vector id="v2ui128" type="uint128" count="2"/>'
    return ""


def description(layout: XsaveLayout) -> str:
    """The target description."""
    parts = []
    for feature in features(layout):
        rows = "".join(f'<reg name="{r.name}" bitsize="{r.bits}" type="{r.type}"/>' for r in feature.registers)
        parts.append(f'<feature name="org.gnu.gdb.i386.{feature.name}">{_types(feature.name)}{rows}</feature>')
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">'
        f"<architecture>i386:x86-64</architecture><osabi>GNU/Linux</osabi>{''.join(parts)}</target>"
    )
