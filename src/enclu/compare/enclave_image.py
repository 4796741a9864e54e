"""Measuring and signing enclave images, as their vendors do: next to IMAGE goes IMAGE.sig, which loaders read.

runtimes/common/loader.c does with the same ELF file what is measured here.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from elftools.elf.elffile import ELFFile

from enclu.compare.catalog import Enclave
from enclu.sgx import measurement
from enclu.sgx.epc import PageType
from enclu.sgx.structs import (
    SECINFO,
    SIGSTRUCT,
    SIGSTRUCT_HEADER,
    SIGSTRUCT_HEADER2,
    SIGSTRUCT_SIGNED,
    Attribute,
)

PAGE = 4096
PF_X, PF_W, PF_R = 1, 2, 4
DATE = 0x20181210


def sign(image: bytes, enclave: Enclave, key: rsa.RSAPrivateKey) -> bytes:
    """The content of IMAGE.sig."""
    fields = {
        "HEADER": SIGSTRUCT_HEADER, "HEADER2": SIGSTRUCT_HEADER2, "DATE": DATE, "EXPONENT": 3,
        "MISCSELECT": enclave.miscselect, "MISCMASK": 0xFFFF_FFFF, "ATTRIBUTES": int(Attribute.MODE64BIT),
        "ATTRIBUTEMASK": (1 << 64) - 1 - Attribute.DEBUG, "XFRM": enclave.xfrm, "XFRMMASK": (1 << 64) - 1,
        "ENCLAVEHASH": measure(image, enclave), "ISVPRODID": 1, "ISVSVN": 1,
    }  # fmt: skip
    unsigned = SIGSTRUCT.pack(**fields)
    message = b"".join(unsigned[start:end] for start, end in SIGSTRUCT_SIGNED)
    n = key.public_key().public_numbers().n
    s = int.from_bytes(key.sign(message, padding.PKCS1v15(), hashes.SHA256()), "big")
    q1, r = divmod(s * s, n)
    numbers = {"MODULUS": n, "SIGNATURE": s, "Q1": q1, "Q2": r * s // n}
    fields.update({name: value.to_bytes(384, "little") for name, value in numbers.items()})
    return SIGSTRUCT.pack(**fields)


def measure(image: bytes, enclave: Enclave) -> bytes:
    """MRENCLAVE."""
    size, end = PAGE, 0
    log = hashlib.sha256()
    segments = list(_segments(image))
    for offset, content, _ in segments:
        end = offset + len(content)
    while size < end + (enclave.heap_pages + enclave.spare_pages) * PAGE:
        size *= 2
    log.update(measurement.ecreate(1, size))
    for offset, content, flags in segments:
        for page in range(0, len(content), PAGE):
            log.update(measurement.eadd(offset + page, SECINFO.pack(FLAGS=flags)))
            for chunk in range(page, page + PAGE, measurement.CHUNK):
                log.update(measurement.eextend(offset + chunk, content[chunk : chunk + measurement.CHUNK]))
    for page in range(enclave.heap_pages):
        log.update(measurement.eadd(end + page * PAGE, SECINFO.pack(FLAGS=PageType.REG << 8 | 3)))
    return log.digest()


def _segments(image: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Offset, content in whole pages and SECINFO.FLAGS; a segment without permissions holds TCSes."""
    for segment in ELFFile(io.BytesIO(image)).iter_segments("PT_LOAD"):
        length = -(-segment["p_memsz"] // PAGE) * PAGE
        rights = segment["p_flags"]
        flags = PageType.REG << 8 | bool(rights & PF_R) | bool(rights & PF_W) << 1 | bool(rights & PF_X) << 2
        yield segment["p_vaddr"], segment.data().ljust(length, b"\0"), flags if rights else PageType.TCS << 8


def signing_key(path: Path) -> rsa.RSAPrivateKey:
    """The key in `path`, which is made if there is none."""
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    key = rsa.generate_private_key(public_exponent=3, key_size=3072)
    private = serialization.PrivateFormat.PKCS8
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return key
