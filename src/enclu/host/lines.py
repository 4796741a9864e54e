"""Line numbers of debug information: section .debug_line of DWARF 2 to 5 (DWARF 5 section 6.2), read with suspicion.

One address is asked for, seldom: so the sequence that should hold it is found by its beginning, and only the line
number program of that unit is run.  Not by pyelftools: it goes through all units before, and counts in a hostile file
keep it busy for ever.  Here each step consumes bytes of a section whose size is bounded.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass

LARGEST_PROGRAM = 4 << 20
"""Bytes of one unit's line number program: a few seconds."""
MOST_UNITS, MOST_SEQUENCES, MOST_NAMES, LONGEST_NAME = 1 << 18, 1 << 20, 1 << 15, 4096
"""Linux has some 30,000 units."""
CANDIDATES = 8
"""Units that are looked at for an address, the likeliest first."""
_SET_ADDRESS = re.compile(rb"(?=\x00\x09\x02(.{8}))", re.DOTALL)
"""DW_LNE_set_address, with which sequences begin: extended, 9 bytes, opcode 2."""

DW_LNS_COPY, DW_LNS_ADVANCE_PC, DW_LNS_ADVANCE_LINE, DW_LNS_SET_FILE = 1, 2, 3, 4
DW_LNS_CONST_ADD_PC, DW_LNS_FIXED_ADVANCE_PC = 8, 9
DW_LNE_END_SEQUENCE, DW_LNE_SET_ADDRESS = 1, 2
DW_LNCT_PATH, DW_LNCT_DIRECTORY_INDEX = 1, 2
DW_FORM_STRING, DW_FORM_LINE_STRP, DW_FORM_STRP, DW_FORM_UDATA, DW_FORM_BLOCK = 0x08, 0x1F, 0x0E, 0x0F, 0x09
_FIXED_FORMS = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}
"""DW_FORM_data1 to data16: their bytes."""
_64_BIT = 0xFFFF_FFFF
"""As unit_length: the 64-bit format."""
_RESERVED = 0xFFFF_FFF0
MASK_64 = (1 << 64) - 1


class LinesError(ValueError):
    """Debug information that cannot be read."""


@dataclass(frozen=True)
class Line:
    """A place in a source file."""

    file: str
    """As the compiler was given it, after the directory that the debug information names."""
    line: int


class _Cursor:
    """Reads forward; what is not there is a LinesError."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, min(end, len(data))

    def take(self, size: int) -> bytes:
        if size > self.end - self.at:
            raise LinesError("cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            if shift < 64:
                value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value & MASK_64

    def sleb(self) -> int:
        start = self.at
        value = self.uleb()
        bits = min(7 * (self.at - start), 64)
        return value - (1 << bits) if value >> bits - 1 & 1 else value

    def string(self) -> bytes:
        end = self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise LinesError("a string without an end")
        found = self.data[self.at : end]
        self.at = end + 1
        return found


@dataclass(frozen=True)
class _Sequence:
    """Rows of consecutive addresses; the last one's end is the sequence's."""

    start: int
    end: int
    addresses: list[int]
    rows: list[tuple[int, int]]
    """(file, line) of each address."""


@dataclass(frozen=True)
class _Unit:
    """A unit's header and program, once read."""

    files: list[tuple[bytes, int]]
    """(name, directory)."""
    directories: list[bytes]
    first_file: int
    """1 before DWARF 5."""
    sequences: list[_Sequence]


class LineTable:
    """Of one ELF file: its sections .debug_line, .debug_line_str and .debug_str.  Raises LinesError."""

    def __init__(self, line: bytes, line_str: bytes = b"", string: bytes = b"", *, lowest: int = 0) -> None:
        """`lowest` is the first address of code: what the linker has discarded seems to be below."""
        self._data, self._line_str, self._str = line, line_str, string
        self._units = list(self._bounds())
        """(start, end) of each in the section."""
        self._starts: list[tuple[int, int]] = []
        """(address, position in the section) of what looks like a sequence's beginning."""
        for match in _SET_ADDRESS.finditer(line):
            address = int.from_bytes(match[1], "little")
            if address >= lowest:
                self._starts.append((address, match.start()))
            if len(self._starts) > MOST_SEQUENCES:
                raise LinesError(f"more than {MOST_SEQUENCES} sequences of lines")
        self._starts.sort()
        self._read: dict[int, _Unit | LinesError] = {}

    def at(self, address: int) -> Line | None:
        """The line that the instruction at this address belongs to; None if none is told."""
        before = bisect.bisect_right(self._starts, (address, len(self._data)))
        tried: set[int] = set()
        while before and len(tried) < CANDIDATES:
            before -= 1
            position = self._starts[before][1]
            number = bisect.bisect_right(self._units, (position, len(self._data))) - 1
            if number < 0 or number in tried:
                continue
            tried.add(number)
            unit = self._unit(number)
            for sequence in unit.sequences:
                if sequence.start <= address < sequence.end:
                    row = bisect.bisect_right(sequence.addresses, address) - 1
                    return _line(unit, *sequence.rows[row]) if row >= 0 else None
        return None

    def _bounds(self) -> Iterator[tuple[int, int]]:
        at = count = 0
        while at < len(self._data):
            count += 1
            if count > MOST_UNITS:
                raise LinesError(f"more than {MOST_UNITS} units")
            cursor = _Cursor(self._data, at, len(self._data))
            length = cursor.number(4)
            if length == _64_BIT:
                length = cursor.number(8)
            elif length >= _RESERVED:
                raise LinesError(f"a unit_length that is reserved: {length:#x}")
            end = cursor.at + length
            if end > len(self._data):
                raise LinesError("a unit ends beyond the section")
            yield at, end
            at = end

    def _unit(self, number: int) -> _Unit:
        if number not in self._read:
            start, end = self._units[number]
            try:
                self._read[number] = self._parse(_Cursor(self._data, start, end))
            except LinesError as error:
                self._read[number] = error
        unit = self._read[number]
        if isinstance(unit, LinesError):
            raise unit
        return unit

    def _parse(self, c: _Cursor) -> _Unit:
        width = 8 if c.number(4) == _64_BIT else 4
        if width == 8:
            c.take(8)
        version = c.number(2)
        if not 2 <= version <= 5:
            raise LinesError(f"version {version} of the line table")
        if version == 5 and c.take(2) != b"\x08\x00":
            raise LinesError("addresses that are not of 8 bytes, or segments")
        program = c.number(width)
        program += c.at
        minimum = c.number(1)
        if version >= 4:
            c.take(1)  # maximum_operations_per_instruction: 1 but for VLIW
        c.take(1)  # default_is_stmt
        line_base = int.from_bytes(c.take(1), "little", signed=True)
        line_range, opcode_base = c.number(1), c.number(1)
        if not line_range or not opcode_base:
            raise LinesError("a line_range or opcode_base of 0")
        lengths = c.take(opcode_base - 1)
        directories, files = self._names_5(c, width) if version == 5 else _names_2(c)
        if not c.at <= program <= c.end or c.end - program > LARGEST_PROGRAM:
            raise LinesError(f"a line number program of {c.end - program} bytes")
        c.at = program
        sequences = list(_run(c, minimum, line_base, line_range, opcode_base, lengths))
        return _Unit(files, directories, 0 if version == 5 else 1, sequences)

    def _names_5(self, c: _Cursor, width: int) -> tuple[list[bytes], list[tuple[bytes, int]]]:
        directories = [name for name, _ in self._entries(c, width)]
        return directories, self._entries(c, width)

    def _entries(self, c: _Cursor, width: int) -> list[tuple[bytes, int]]:
        """(path, directory index) of a table whose columns the header describes."""
        columns = [(c.uleb(), c.uleb()) for _ in range(c.number(1))]
        count = c.uleb()
        if count > MOST_NAMES or (count and not columns):
            raise LinesError(f"{count} names of files in a unit")
        found = []
        for _ in range(count):
            name, directory = b"", 0
            for kind, form in columns:
                value = self._value(c, form, width)
                if kind == DW_LNCT_PATH and isinstance(value, bytes):
                    name = value
                elif kind == DW_LNCT_DIRECTORY_INDEX and isinstance(value, int):
                    directory = value
            found.append((name, directory))
        return found

    def _value(self, c: _Cursor, form: int, width: int) -> bytes | int:
        if form == DW_FORM_STRING:
            return c.string()
        if form in (DW_FORM_LINE_STRP, DW_FORM_STRP):
            strings = self._line_str if form == DW_FORM_LINE_STRP else self._str
            at = c.number(width)
            return _Cursor(strings, at, at + LONGEST_NAME).string()
        if form == DW_FORM_UDATA:
            return c.uleb()
        if form == DW_FORM_BLOCK:
            return c.take(c.uleb())
        if form in _FIXED_FORMS:
            return c.number(_FIXED_FORMS[form])
        raise LinesError(f"names in the form {form:#x}")


def _names_2(c: _Cursor) -> tuple[list[bytes], list[tuple[bytes, int]]]:
    """Directory 0, the compiler's own, is not told here."""
    directories, files = [b""], []
    while name := c.string():
        directories.append(name)
    while name := c.string():
        files.append((name, c.uleb()))
        c.uleb(), c.uleb()  # time and size
    return directories, files


def _line(unit: _Unit, file: int, line: int) -> Line | None:
    number = file - unit.first_file
    if not 0 < line <= _64_BIT or not 0 <= number < len(unit.files):
        return None  # line 0: code that no line has
    name, directory = unit.files[number]
    if directory < len(unit.directories) and unit.directories[directory] and not name.startswith(b"/"):
        name = unit.directories[directory] + b"/" + name
    return Line(name.decode(errors="backslashreplace"), line)


def _run(
    c: _Cursor, minimum: int, line_base: int, line_range: int, opcode_base: int, lengths: bytes
) -> Iterator[_Sequence]:
    """The line number program (section 6.2.5); each sequence that has come to its end."""
    address, file, line = 0, 1, 1
    addresses: list[int] = []
    rows: list[tuple[int, int]] = []
    while c.at < c.end:
        opcode = c.data[c.at]
        c.at += 1
        if opcode >= opcode_base:
            step, change = divmod(opcode - opcode_base, line_range)
            address += step * minimum
            line += line_base + change
            addresses.append(address)
            rows.append((file, line))
        elif opcode == DW_LNS_COPY:
            addresses.append(address)
            rows.append((file, line))
        elif opcode == DW_LNS_ADVANCE_PC:
            address = address + c.uleb() * minimum & MASK_64
        elif opcode == DW_LNS_ADVANCE_LINE:
            line += c.sleb()
        elif opcode == DW_LNS_SET_FILE:
            file = c.uleb()
        elif opcode == DW_LNS_CONST_ADD_PC:
            address += (255 - opcode_base) // line_range * minimum
        elif opcode == DW_LNS_FIXED_ADVANCE_PC:
            address += c.number(2)
        elif opcode:
            for _ in range(lengths[opcode - 1]):
                c.uleb()
        else:
            size = c.uleb()
            after = c.at + size
            kind = c.number(1) if size else 0
            if kind == DW_LNE_SET_ADDRESS:
                if size != 9:
                    raise LinesError(f"an address of {size - 1} bytes")
                address = c.number(8)
            elif kind == DW_LNE_END_SEQUENCE:
                if addresses:
                    yield _Sequence(addresses[0], address, addresses, rows)
                address, file, line, addresses, rows = 0, 1, 1, [], []
            if not c.at <= after <= c.end:
                raise LinesError("an opcode ends beyond its unit")
            c.at = after
