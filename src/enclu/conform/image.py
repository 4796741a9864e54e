"""Makes program/image.h, the enclave of the cases: what is assembled from enclave.S, where it lies, and its SIGSTRUCTs.

`python -m enclu.conform.image` writes the file anew.  It is kept with the sources so that owners of hardware need gcc
and nothing else; a test holds it to what is made here.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from enclu.conform import ConformError
from enclu.host import signing
from enclu.sgx import measurement
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.structs import SECINFO, SIGSTRUCT, SIGSTRUCT_HEADER, SIGSTRUCT_HEADER2, TCS, Attribute, SecinfoFlag

SOURCE = Path(__file__).parent / "program" / "enclave.S"
KEY = Path(__file__).parent / "key.pem"
"""For these enclaves only: anybody has it, so that MRSIGNER is the same wherever the image is made."""
OUTPUT = SOURCE.with_name("image.h")
SIZE = 1 << 19
SSA_FRAME_PAGES, SSA_FRAMES = 4, 3
FILL = 0xC3
"""Every byte of the pages with permissions of their own: RET, for those that are executed."""
FS_MARK, GS_MARK = 0xF5F5F5F5F5F5F5F5, 0x6565656565656565
"""At the bases of FS and GS."""
FAR = 1 << 62
"""An offset that leads to no canonical address."""
DATE, ISVPRODID, ISVSVN = 0x20260101, 0x1234, 2
FLAGS = ("-m64", "-nostdlib", "-static", "-Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--defsym=image=0")

R, W, X = SecinfoFlag.R, SecinfoFlag.W, SecinfoFlag.X
REG, TCS_TYPE = PageType.REG, PageType.TCS


@dataclass(frozen=True)
class Region:
    """Pages of the image that have the same SECINFO."""

    name: str
    pages: int
    flags: int
    content: str = "zero"
    """What C fills it with: zero, ret, text, or tcs with the fields below."""
    measured: bool = False
    tcs: tuple[tuple[str, Any], ...] = ()


def _tcs(name: str, ssa: str | int, nssa: int = SSA_FRAMES, entry: str | int = "at_entry_shared", fs: Any = "FS",
         gs: Any = "GS") -> Region:  # fmt: skip
    fields = (("OSSA", ssa), ("NSSA", nssa), ("OENTRY", entry), ("OFSBASE", fs), ("OGSBASE", gs))
    # Not measured, for its FLAGS are the case's.
    return Region(name, 1, TCS_TYPE << 8, "tcs", False, fields)


def _reg(name: str, pages: int, rwx: int, content: str = "zero", measured: bool = False) -> Region:
    return Region(name, pages, REG << 8 | rwx, content, measured)


FRAME = SSA_FRAME_PAGES * PAGE_SIZE
REGIONS = (
    _tcs("TCS0", "SSA", entry="at_entry"),
    _tcs("TCS1", f"SSA+{SSA_FRAMES * FRAME}", entry="at_entry"),
    _tcs("TCS_NSSA_0", "SSA", nssa=0),
    _tcs("TCS_NSSA_1", f"SSA+{SSA_FRAMES * FRAME}", nssa=1),
    _tcs("TCS_FS_FAR", "SSA", fs=FAR),
    _tcs("TCS_GS_FAR", "SSA", gs=FAR),
    _tcs("TCS_OENTRY_FAR", "SSA", entry=FAR),
    _tcs("TCS_OENTRY_DATA", "SSA", entry="DATA"),
    _tcs("TCS_SSA_HOLE", "HOLE"),
    _tcs("TCS_SSA_TEXT", "TEXT"),
    _tcs("TCS_SSA_READ_ONLY", "PAGE_R"),
    _tcs("TCS_SSA_NONE", "PAGE_NONE"),
    _tcs("TCS_SSA_TCS", "TCS0"),
    _tcs("TCS_GPRSGX_READ_ONLY", f"PAGE_RW+{PAGE_SIZE}"),
    _tcs("TCS_SSA_FAR", FAR),
    _reg("TEXT", 3, R | X, "text", measured=True),
    _reg("DATA", 1, R | W),
    _reg("OPERAND", 2, R | W),
    _reg("STACKS", 2 * SSA_FRAMES, R | W),
    _reg("SSA", 2 * SSA_FRAMES * SSA_FRAME_PAGES, R | W),
    _reg("FS", 1, R | W, "fs"),
    _reg("GS", 1, R | W, "gs"),
    _reg("PAGE_NONE", 1, 0, "ret"),
    _reg("PAGE_RW", 4, R | W, "ret"),
    _reg("PAGE_R", 1, R, "ret"),
    _reg("PAGE_RX", 1, R | X, "ret"),
    _reg("PAGE_RWX", 4, R | W | X, "ret"),
    _reg("PAGE_X", 1, X, "ret"),
)
"""In the order of addresses, from 0 on.  HOLE is what is behind them."""

SIGSTRUCTS: dict[str, dict[str, Any]] = {
    "GOOD": {},
    "OTHER_HASH": {"ENCLAVEHASH": bytes(32)},
    "DEBUG": {"ATTRIBUTES": Attribute.MODE64BIT | Attribute.DEBUG, "ATTRIBUTEMASK": Attribute.DEBUG},
    "NO_DEBUG": {"ATTRIBUTEMASK": Attribute.MODE64BIT | Attribute.DEBUG},
    "AVX": {"XFRM": 7, "XFRMMASK": 7},
    "EXINFO": {"MISCSELECT": 1, "MISCMASK": 1},
    "FAMILY": {"ISVFAMILYID": b"family".ljust(16, b"\0"), "ISVEXTPRODID": b"product".ljust(16, b"\0")},
}
"""All are for the same enclave: what differs from the first, which leaves all but MODE64BIT and XFRM's lowest bits to
the SECS."""
FIELDS = {
    "HEADER": SIGSTRUCT_HEADER, "HEADER2": SIGSTRUCT_HEADER2, "VENDOR": 0, "DATE": DATE, "EXPONENT": 3,
    "ATTRIBUTES": Attribute.MODE64BIT, "ATTRIBUTEMASK": Attribute.MODE64BIT, "XFRM": 3, "XFRMMASK": 3,
    "ISVPRODID": ISVPRODID, "ISVSVN": ISVSVN,
}  # fmt: skip


def places() -> dict[str, int]:
    """Name -> offset in ELRANGE."""
    at, found = 0, {}
    for region in REGIONS:
        found[region.name] = at
        at += region.pages * PAGE_SIZE
    return {**found, "HOLE": at}


def assemble() -> tuple[bytes, dict[str, int]]:
    """The text, and the offsets of its symbols.  Raises ConformError."""
    gcc = shutil.which("gcc")
    if gcc is None:
        raise ConformError("gcc is missing: apt-get install gcc")
    where = places()
    link = f"-Wl,-Ttext={where['TEXT']:#x},-Tdata={where['DATA']:#x},-e,at_entry"
    defined = (f"-DPAGE={PAGE_SIZE}", f"-DSTACKS={where['STACKS']:#x}")
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch, "enclave")
        command = (gcc, *FLAGS, link, *defined, str(SOURCE), "-o", str(output))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConformError(f"{SOURCE}: gcc cannot assemble it\n{done.stderr.strip()}")
        elf = ELFFile(io.BytesIO(output.read_bytes()))
    text = elf.get_section_by_name(".text")
    symbols = elf.get_section_by_name(".symtab")
    assert text is not None and isinstance(symbols, SymbolTableSection)
    room = next(region.pages for region in REGIONS if region.name == "TEXT") * PAGE_SIZE
    code = bytes(text.data())
    if len(code) > room:
        raise ConformError(f"{SOURCE}: {len(code)} bytes of text, room for {room}")
    named = {s.name: s["st_value"] for s in symbols.iter_symbols() if s.name.startswith("at_")}
    return code.ljust(room, b"\0"), named


def _tcs_page(region: Region, where: dict[str, int]) -> bytes:
    def number(value: Any) -> int:
        name, _, more = str(value).partition("+")
        return value if isinstance(value, int) else where[name] + int(more or 0)

    return TCS.pack(**{name: number(value) for name, value in region.tcs}, FSLIMIT=0xFFFFFFFF, GSLIMIT=0xFFFFFFFF)


def _content(region: Region, code: bytes, where: dict[str, int]) -> bytes:
    size = region.pages * PAGE_SIZE
    if region.content == "tcs":
        return _tcs_page(region, where)
    return {
        "text": code, "zero": bytes(size), "ret": bytes([FILL]) * size,
        "fs": struct.pack("<Q", FS_MARK).ljust(size, b"\0"), "gs": struct.pack("<Q", GS_MARK).ljust(size, b"\0"),
    }[region.content]  # fmt: skip


def mrenclave(code: bytes, where: dict[str, int]) -> bytes:
    """SHA-256 of the log that loading the image leaves."""
    log = hashlib.sha256(measurement.ecreate(SSA_FRAME_PAGES, SIZE))
    for region in REGIONS:
        content, start = _content(region, code, where), where[region.name]
        secinfo = SECINFO.pack(FLAGS=region.flags)
        for page in range(0, region.pages * PAGE_SIZE, PAGE_SIZE):
            log.update(measurement.eadd(start + page, secinfo))
            for at in range(page, page + PAGE_SIZE if region.measured else page, 256):
                log.update(measurement.eextend(start + at, content[at : at + 256]))
    return log.digest()


def _row(r: Region) -> str:
    return (
        f'REGION("{r.name.lower()}", {r.name}, {r.pages}, {r.flags:#x}, {int(r.measured)}, FILLED_{r.content.upper()})'
    )


def _whole_words(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _words(data: bytes) -> Iterator[str]:
    """Lines of an array's elements; those that C makes 0 anyway are left out."""
    words = [word for (word,) in struct.iter_unpack("<Q", data)]
    left_out = False
    for at in range(0, len(words), 5):
        row = words[at : at + 5]
        if any(row):
            begin = f"[{at}] = " if left_out else ""
            yield f"\t{begin}" + " ".join(f"{word:#018x}," for word in row)
        left_out = not any(row)


def _mrsigner(key: RSAPrivateKey) -> bytes:
    modulus = key.public_key().public_numbers().n
    return hashlib.sha256(modulus.to_bytes(signing.NUMBER, "little")).digest()


def make() -> str:
    """image.h.  Raises ConformError."""
    code, symbols = assemble()
    where = places()
    key = signing.load_key(KEY)
    hash_ = mrenclave(code, where | symbols)
    lines = [
        "/* Made by `python -m enclu.conform.image` from enclave.S: the enclave of the cases. */",
        "#ifndef CONFORM_IMAGE_H", "#define CONFORM_IMAGE_H", "",
        f"#define ENCLAVE_SIZE {SIZE:#x}", f"#define SSA_FRAME_PAGES {SSA_FRAME_PAGES}",
        f"#define SSA_FRAMES {SSA_FRAMES}", f"#define FS_MARK {FS_MARK:#x}", f"#define GS_MARK {GS_MARK:#x}",
        f"#define SIGNED_ISVSVN {ISVSVN}", "",
        "/* Offsets in ELRANGE: regions, and what enclave.S has in TEXT. */",
        *(f"#define {name} {at:#x}" for name, at in where.items()),
        *(f"#define {name.replace('at_', 'AT_', 1)} {at:#x}" for name, at in sorted(symbols.items())), "",
        "/* name, offset, pages, SECINFO.FLAGS, whether it is measured, what it is filled with */",
        "#define REGIONS(REGION) \\", *(f"\t{_row(region)} \\" for region in REGIONS), "",
        "static const unsigned long long image_text[] = {", *_words(_whole_words(code.rstrip(b"\0"))), "};", "",
        "/* What is not 0 in each TCS, in the order of REGIONS: OSSA, CSSA and NSSA, OENTRY, OFSBASE, OGSBASE */",
        "static const unsigned long long image_tcs[][5] = {",
    ]  # fmt: skip
    for region in REGIONS:
        if region.content == "tcs":
            page = _tcs_page(region, where | symbols)
            ossa, counts, entry = struct.unpack_from("<QQQ", page, TCS.offset("OSSA"))
            fs, gs = TCS.get(page, "OFSBASE"), TCS.get(page, "OGSBASE")
            lines.append(
                "\t{ " + ", ".join(f"{v:#x}" for v in (ossa, counts, entry, fs, gs)) + f" }}, /* {region.name} */"
            )
    lines += ["};", "", "enum signed_as {", *(f"\tSIGNED_{name}," for name in SIGSTRUCTS), "};", ""]
    lines += ["static const unsigned long long image_sigstruct[][226] = {"]
    for name, changed in SIGSTRUCTS.items():
        values = {**FIELDS, "ENCLAVEHASH": hash_, **changed}
        unsigned = SIGSTRUCT.pack(**{n: int(v) if isinstance(v, int) else v for n, v in values.items()})
        lines += [f"\t{{ /* {name} */", *_words(signing.sign(unsigned, key)), "\t},"]
    lines += ["};", "", "/* SHA-256 of the modulus that signs them. */"]
    lines += ["static const unsigned long long image_mrsigner[] = {", *_words(_mrsigner(key)), "};", "#endif", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    OUTPUT.write_text(make())
