"""Makes SGXS images of programs compiled for the Fortanix SGX ABI, laid out as EDP's own tool does."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from elftools.elf.elffile import ELFFile

import enclu
from enclu.host.signing import sign
from enclu.sgx.structs import SIGSTRUCT, SIGSTRUCT_HEADER, SIGSTRUCT_HEADER2, TCS, TCS_AEXNOTIFY, Attribute

PAGE, CHUNK = 4096, 256
RW, TCS_PAGE = 0x203, 0x100
STACK, GUARD = 4 * PAGE, 0x10000
FLAGS = (
    "-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fPIE", "-fvisibility=hidden", "-fno-stack-protector",
    "-fcf-protection=none", "-fno-jump-tables", "-fno-tree-loop-distribute-patterns", "-fno-asynchronous-unwind-tables",
    "-mno-sse", "-static-pie", "-nostdlib", "-Wl,-e,sgx_entry", "-Wl,-z,norelro", "-Wl,-z,noexecstack",
    "-Wl,-z,max-page-size=4096", "-Wl,--build-id=none",
)  # fmt: skip

Page = tuple[int, int, bytes | None]
"""Offset, SECINFO.FLAGS, and content; None if it is not measured."""


def stream(pages: Sequence[Page], size: int, frame: int = 1) -> bytes:
    """An SGXS file."""
    out = [struct.pack("<8sIQ44x", b"ECREATE", frame, size)]
    for offset, flags, content in pages:
        out.append(struct.pack("<8sQQ40x", b"EADD", offset, flags))
        for at in range(0, PAGE if content is not None else 0, CHUNK):
            assert content is not None
            out += [struct.pack("<8sQ48x", b"EEXTEND", offset + at), content[at : at + CHUNK]]
    return b"".join(out)


def thread(at: int, entry: int, secondary: bool, flags: int = 0) -> Iterator[Page]:
    """Stack, thread-local page, TCS with these FLAGS and SSA frame."""
    local = at + GUARD + STACK
    for offset in range(at + GUARD, local, PAGE):
        yield offset, RW, None
    yield local, RW, struct.pack("<QQ", local, secondary).ljust(PAGE, b"\0")
    tcs = TCS.pack(
        FLAGS=flags, OSSA=local + 2 * PAGE, NSSA=1, OENTRY=entry, OFSBASE=local, OGSBASE=local, FSLIMIT=0xFFF,
        GSLIMIT=0xFFF,
    )  # fmt: skip
    yield local + PAGE, TCS_PAGE, tcs
    yield local + 2 * PAGE, RW, None


def build(
    path: Path, sources: Sequence[Path], *flags: str, threads: int = 4, library: bool = False, aex_notify: bool = False
) -> Path:
    """Compile an enclave to an SGXS file, signed: the SIGSTRUCT is beside it."""
    program = path.with_suffix(".elf")
    subprocess.run(["gcc", *FLAGS, *flags, *sources, "-o", program], check=True)
    pages: list[Page] = []
    with program.open("rb") as file:
        elf = ELFFile(file)
        entry, at = elf["e_entry"], 0
        for segment in elf.iter_segments("PT_LOAD"):
            start, rights = segment["p_vaddr"] & -PAGE, segment["p_flags"]
            data = bytes(segment["p_vaddr"] - start) + segment.data()
            end = -(-(segment["p_vaddr"] + segment["p_memsz"]) // PAGE) * PAGE
            flags_of = 0x200 | rights >> 2 & 1 | rights & 2 | (rights & 1) << 2
            for at in range(start, end, PAGE):
                pages.append((at, flags_of, data[at - start : at - start + PAGE].ljust(PAGE, b"\0")))
            at = end
    for i in range(threads):
        pages += thread(at, entry, secondary=bool(i) and not library, flags=TCS_AEXNOTIFY if aex_notify else 0)
        at = pages[-1][0] + PAGE
    attributes = Attribute.MODE64BIT | (Attribute.AEXNOTIFY if aex_notify else 0)
    return signed(path, stream(pages, 1 << (at - 1).bit_length()), attributes)


def signed(path: Path, data: bytes, attributes: int = Attribute.MODE64BIT) -> Path:
    """Write an SGXS file and its SIGSTRUCT."""
    path.write_bytes(data)
    values = {
        "HEADER": SIGSTRUCT_HEADER, "HEADER2": SIGSTRUCT_HEADER2, "DATE": 0x20260101, "EXPONENT": 3,
        "ATTRIBUTES": attributes | Attribute.DEBUG, "ATTRIBUTEMASK": (1 << 64) - 3, "XFRM": 3, "XFRMMASK": 3,
        "ENCLAVEHASH": enclu.open_image(path).mrenclave(),
    }  # fmt: skip
    path.with_suffix(".sig").write_bytes(sign(SIGSTRUCT.pack(**values), rsa.generate_private_key(3, 3072)))
    return path
