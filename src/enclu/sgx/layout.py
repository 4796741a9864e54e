"""Structures declared once, as a table of fields; size, packing, checking and printing derive from the table."""

from __future__ import annotations

import struct
from typing import Any


class Structure:
    """A little-endian structure of fixed layout.

    Fields are (offset, name, format): the format is one of struct's for a number, or "Ns" for N bytes.  Bytes
    that no field names are reserved: zero when packed, and `reserved_ok` tells whether they are zero in an image.
    """

    def __init__(self, name: str, size: int, *fields: tuple[int, str, str]) -> None:
        self.name = name
        self.size = size
        self.fields = fields
        self._codecs = {n: (o, struct.Struct("<" + f)) for o, n, f in fields}
        end = 0
        for offset, field, _ in sorted(fields):
            if offset < end:
                raise ValueError(f"{name}.{field} overlaps another field")
            end = offset + self.width(field)
        if end > size:
            raise ValueError(f"{name}: a field overlaps the end")
        self._defaults = {n: b"" if f.endswith("s") else 0 for _, n, f in fields}

    def unpack(self, image: bytes | bytearray | memoryview) -> dict[str, Any]:
        """Every field's value.  Raises ValueError if `image` is not exactly the structure's size."""
        if len(image) != self.size:
            raise ValueError(f"{self.name} has {self.size} bytes, not {len(image)}")
        return {name: codec.unpack_from(image, offset)[0] for name, (offset, codec) in self._codecs.items()}

    def pack(self, **values: Any) -> bytes:
        """The structure with these fields, others zero.  Raises KeyError for an unknown field."""
        out = bytearray(self.size)
        for name, value in values.items():
            offset, codec = self._codecs[name]
            codec.pack_into(out, offset, value)
        return bytes(out)

    def get(self, image: bytes | bytearray | memoryview, name: str, base: int = 0) -> Any:
        """One field of a structure that begins at `base`."""
        offset, codec = self._codecs[name]
        return codec.unpack_from(image, base + offset)[0]

    def put(self, image: bytearray | memoryview, name: str, value: Any, base: int = 0) -> None:
        """Store one field."""
        offset, codec = self._codecs[name]
        codec.pack_into(image, base + offset, value)

    def offset(self, name: str) -> int:
        """Byte offset of a field."""
        return self._codecs[name][0]

    def width(self, name: str) -> int:
        """Bytes of a field."""
        return self._codecs[name][1].size

    def reserved_ok(self, image: bytes | bytearray | memoryview) -> bool:
        """All bytes that no field names are zero."""
        rest = bytearray(image[: self.size])
        for offset, codec in self._codecs.values():
            rest[offset : offset + codec.size] = bytes(codec.size)
        return not any(rest)

    def describe(self, image: bytes | bytearray | memoryview) -> str:
        """One line a field, for people."""
        lines = []
        for name, value in self.unpack(image).items():
            lines.append(f"{name:16} {value.hex() if isinstance(value, bytes) else hex(value)}")
        return "\n".join(lines)
