"""As much of DER (X.690) as the SGX extension of certificates needs, and exactly that.

Certificates are read by `cryptography`, which hands out extensions that it does not know as bytes; its own ASN.1 is not
stable yet.  asn1crypto and pyasn1 take what DER forbids: lengths and numbers that are longer than need be.
"""

from __future__ import annotations

from collections.abc import Iterator

INTEGER, OCTET_STRING, OBJECT, ENUMERATED, SEQUENCE = 0x02, 0x04, 0x06, 0x0A, 0x30


class DerError(ValueError):
    """Not DER, or not what was expected."""


def encode(tag: int, content: bytes) -> bytes:
    """One element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def number(value: int, tag: int = INTEGER) -> bytes:
    """A non-negative INTEGER."""
    return encode(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def identifier(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    first, second, *others = (int(part) for part in dotted.split("."))
    out = bytearray()
    for part in (first * 40 + second, *others):
        groups = [part & 0x7F]
        while part := part >> 7:
            groups.append(part & 0x7F | 0x80)
        out += bytes(reversed(groups))
    return encode(OBJECT, bytes(out))


def sequence(*elements: bytes) -> bytes:
    """A SEQUENCE."""
    return encode(SEQUENCE, b"".join(elements))


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of the elements that follow each other.  Raises DerError."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise DerError("it ends within an element")
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4 or at + count > len(data):
                raise DerError("an element's length is malformed")
            size = int.from_bytes(data[at : at + count], "big")
            if size < 0x80 or not data[at]:
                raise DerError("an element's length is longer than it need be")
            at += count
        if at + size > len(data):
            raise DerError("an element is longer than what it is in")
        yield tag, data[at : at + size]
        at += size


def only(data: bytes, tag: int) -> bytes:
    """The content of the one element in `data`, which has this tag.  Raises DerError."""
    found = list(elements(data))
    if len(found) != 1 or found[0][0] != tag:
        raise DerError(f"one element with tag {tag:#x} was expected")
    return found[0][1]


def natural(content: bytes, bits: int) -> int:
    """An INTEGER's content: not negative, of so many bits at most.  Raises DerError."""
    if not content or content[0] & 0x80:
        raise DerError("a number is negative, or none")
    if len(content) > 1 and not content[0] and not content[1] & 0x80:
        raise DerError("a number is longer than it need be")
    value = int.from_bytes(content, "big")
    if value >> bits:
        raise DerError(f"a number has more than {bits} bits")
    return value


def dotted(content: bytes) -> str:
    """An OBJECT IDENTIFIER's content in words.  Raises DerError."""
    parts, value = [], 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            parts.append(value)
            value = 0
    if not parts or content[-1] & 0x80:
        raise DerError("an object identifier is malformed")
    first = min(parts[0] // 40, 2)
    return ".".join(map(str, (first, parts[0] - first * 40, *parts[1:])))
