"""Structures declared once, as a table of fields; size, packing, checking and printing derive from the table."""

from __future__ import annotations

import functools
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
        at, codes = 0, ["<"]
        in_order = sorted(fields)
        for offset, field, code in in_order:
            if offset < at:
                raise ValueError(f"{name}.{field} overlaps another field")
            codes.append(f"{offset - at}x{code}")
            at = offset + self.width(field)
        if at > size:
            raise ValueError(f"{name}: a field overlaps the end")
        self._whole = struct.Struct("".join([*codes, f"{size - at}x"]))
        """The structure as one codec, and its fields in its order."""
        self._names = [name for _, name, _ in in_order]
        self._defaults = {name: b"" if code.endswith("s") else 0 for _, name, code in in_order}

    @functools.cached_property
    def _reserved(self) -> list[tuple[int, int, bytes]]:
        """Runs of bytes that no field names: where they begin and end, and zeros for them."""
        gaps, at = [], 0
        for offset, codec in (*sorted(self._codecs.values(), key=lambda placed: placed[0]), (self.size, None)):
            if at < offset:
                gaps.append((at, offset, bytes(offset - at)))
            at = offset + (codec.size if codec is not None else 0)
        return gaps

    def unpack(self, image: bytes | bytearray | memoryview) -> dict[str, Any]:
        """Every field's value.  Raises ValueError if `image` is not exactly the structure's size."""
        if len(image) != self.size:
            raise ValueError(f"{self.name} has {self.size} bytes, not {len(image)}")
        return dict(zip(self._names, self._whole.unpack(image), strict=True))

    def values(self, image: bytes | bytearray | memoryview) -> tuple[Any, ...]:
        """Every field's value, in the order of the fields' places.  Raises struct.error as `unpack` ValueError."""
        return self._whole.unpack(image)

    def pack(self, **values: Any) -> bytes:
        """The structure with these fields, others zero.  Raises KeyError for an unknown field."""
        if not self._defaults.keys() >= values.keys():
            raise KeyError(f"{self.name} has no field {', '.join(values.keys() - self._defaults.keys())}")
        return self._whole.pack(*{**self._defaults, **values}.values())

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
        return all(image[start:end] == zeros for start, end, zeros in self._reserved)

    def describe(self, image: bytes | bytearray | memoryview) -> str:
        """One line a field, for people."""
        lines = []
        for name, value in self.unpack(image).items():
            lines.append(f"{name:16} {value.hex() if isinstance(value, bytes) else hex(value)}")
        return "\n".join(lines)
