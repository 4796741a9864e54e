"""ECALLs of an EDL file with arguments that are right, each pointer of which can be replaced."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enclu.host.edl import layout
from enclu.host.edl.marshal import EcallMarshaller, OcallMarshaller
from enclu.host.edl.syntax import EdlError

if TYPE_CHECKING:
    from enclu.host.edl.interface import Interface
    from enclu.host.edl.syntax import Ecall, Variable
    from enclu.host.edl.types import Types

COUNT = 4
"""What parameters are that say how much there is."""
TEXT = b"audit"
ONES = b"\1" * 64
PAGE = 4096
LARGEST = (1 << 64) - 1


@dataclass(frozen=True)
class Pointer:
    """A member of an ECALL's structure, and what belongs at the address there."""

    parameter: Variable
    offset: int
    size: int
    """Bytes; 1 where nobody says how many."""
    content: bytes


class Arguments:
    """Of one ECALL: its structure with everything but addresses.  Raises EdlError for types that nobody knows."""

    def __init__(self, ecall: Ecall, types: Types, *, string_lengths: bool) -> None:
        self.ecall = ecall
        marshaller = EcallMarshaller(ecall, types, string_lengths=string_lengths)
        self.structure = marshaller.structure
        counts = {
            name for parameter in ecall.parameters for name in (parameter.attributes.size, parameter.attributes.count)
        }
        self.counts = [p for p in ecall.parameters if p.name in counts and not p.is_pointer]
        values: dict[str, Any] = {
            p.name: COUNT if p in self.counts else 1 for p in ecall.parameters if not p.is_pointer
        }
        self._scalars = values
        self.pointers: list[Pointer] = []
        for parameter in ecall.parameters:
            if not parameter.is_pointer or self.structure is None:
                continue
            given = parameter.attributes
            content = ONES
            if given.string or given.wstring:
                content = TEXT + b"\0" if given.string else TEXT.decode().encode("utf-32-le") + bytes(4)
                size = len(content)
            else:
                length = layout.length(parameter, types, values)
                one = marshaller.elements[parameter.name]
                size = length if length is not None else ctypes.sizeof(one) if one is not None else 1
                content = ONES * (min(max(size, 64), PAGE) // 64)
            member = getattr(self.structure, layout.member(parameter.name))
            self.pointers.append(Pointer(parameter, member.offset, size, content))

    @property
    def size(self) -> int:
        return ctypes.sizeof(self.structure) if self.structure is not None else 0

    def pack(self, addresses: dict[str, int], counts: dict[str, int] | None = None) -> bytes:
        """The structure with these addresses, and counts other than usual."""
        if self.structure is None:
            return b""
        made = self.structure()
        fields = dict(self.structure._fields_)
        for name, value in {**self._scalars, **(counts or {})}.items():
            field = fields[layout.member(name)]
            if issubclass(field, ctypes._SimpleCData):
                setattr(made, layout.member(name), field(value).value)
        for pointer in self.pointers:
            name = pointer.parameter.name
            setattr(made, layout.member(name), addresses[name] & LARGEST)
            if layout.length_member(name) in fields:
                setattr(made, layout.length_member(name), len(pointer.content))
        return bytes(made)

    def overflowing(self, pointer: Pointer) -> dict[str, int] | None:
        """Counts with which address and length of a pointer, or elements and their size, overflow."""
        given = pointer.parameter.attributes
        named = [name for name in (given.size, given.count) if isinstance(name, str)]
        sizes = {p.name: ctypes.sizeof(dict(self.structure._fields_)[layout.member(p.name)])  # type: ignore[union-attr]
                 for p in self.counts}  # fmt: skip
        wide = [name for name in named if sizes.get(name) == 8]
        return {wide[0]: LARGEST - 7} if wide else None


def public(interface: Interface) -> Iterator[tuple[int, Ecall]]:
    """Those that can be called at any time, with their numbers."""
    for number, ecall in enumerate(interface.ecalls):
        if ecall.public:
            yield number, ecall


def result_offset(interface: Interface, types: Types, number: int) -> tuple[str, int] | None:
    """Name of an OCALL and where its result is in its structure, if it has one of eight bytes."""
    if number >= len(interface.ocalls):
        return None
    ocall = interface.ocalls[number]
    try:
        structure = OcallMarshaller(ocall, types).structure
    except EdlError:
        return None
    if structure is None or ocall.returns.is_void:
        return None
    member = getattr(structure, layout.RETVAL)
    return (ocall.name, member.offset) if member.size == 8 else None
