"""Writes enclave images of every format, small ones, and loads them leaf by leaf."""

from __future__ import annotations

import functools
import hashlib
import io
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

from enclu.host.images import Image
from enclu.host.images.sdk_metadata import GROUP, LAYOUT_ENTRY, LAYOUT_GROUP, MAGIC, METADATA, PATCH_ENTRY
from enclu.host.signing import sign
from enclu.sgx import encls, measurement
from enclu.sgx.machine import Machine
from enclu.sgx.structs import SECINFO, SIGSTRUCT, SIGSTRUCT_HEADER, SIGSTRUCT_HEADER2, TCS
from tests.support.bare_enclave import BASE, created, fresh, initialise

PAGE = 4096
TCS_PAGE, REG_R, REG_RX, REG_RW = 0x100, 0x201, 0x205, 0x203
ALL = 0xFFFF
TEMPLATE = TCS.pack(OSSA=PAGE, NSSA=2, OENTRY=0x1000, OFSBASE=0x3000, OGSBASE=0x3000, FSLIMIT=0xFFF, GSLIMIT=0xFFF)[:72]

Page = tuple[int, bytes, int, int]
"""Offset, content, SECINFO.FLAGS, measured chunks."""


@functools.cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(3, 3072)


def sigstruct(mrenclave: bytes, **fields: object) -> bytes:
    """Signed."""
    values: dict[str, object] = {
        "HEADER": SIGSTRUCT_HEADER, "HEADER2": SIGSTRUCT_HEADER2, "DATE": 0x20260101, "EXPONENT": 3,
        "MISCMASK": 0xFFFFFFFF, "ATTRIBUTES": 4, "ATTRIBUTEMASK": (1 << 64) - 3, "XFRM": 3, "XFRMMASK": (1 << 64) - 1,
        "ENCLAVEHASH": mrenclave,
    }  # fmt: skip
    return sign(SIGSTRUCT.pack(**values | fields), key())


def compiled(path: Path, source: str, *options: str) -> Path:
    """A shared object of assembly."""
    assembly = path.with_suffix(".S")
    assembly.write_text(source)
    command = ["gcc", "-shared", "-nostdlib", "-Wl,--build-id=none", *options, str(assembly), "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return path


# The machine's own leaves.


def loaded(image: Image) -> tuple[Machine, bytes]:
    """The machine and MRENCLAVE after ECREATE, EADD and EEXTEND of every page, one by one."""
    machine, secs = created(
        SIZE=image.size, BASEADDR=image.size if image.size > BASE else BASE, SSAFRAMESIZE=image.ssa_frame_size,
        MISCSELECT=image.misc_select, ATTRIBUTES=image.attributes, XFRM=image.xfrm & 7,
    )  # fmt: skip
    for run in image.pages():
        for at in range(0, len(run.data), PAGE):
            page, content = fresh(), bytes(run.data[at : at + PAGE])
            encls.eadd(secs, page, secs.baseaddr + run.offset + at, SECINFO.pack(FLAGS=run.flags), content)
            for chunk in range(16):
                if run.measured >> chunk & 1:
                    encls.eextend(secs, page, chunk * 256)
    digest = secs.measurement.digest()
    fields = {"ATTRIBUTES": image.attributes, "XFRM": image.xfrm & 7, "MISCSELECT": image.misc_select}
    assert initialise(machine, secs, sigstruct(digest, **fields)) == 0
    return machine, digest


def log_of(pages: Iterator[Page] | list[Page], size: int, frame: int = 1) -> bytes:
    """All that is measured, as the SDM has it."""
    log = [measurement.ecreate(frame, size)]
    for offset, content, flags, measured in pages:
        log.append(measurement.eadd(offset, SECINFO.pack(FLAGS=flags)))
        for i in range(16):
            if measured >> i & 1:
                log.append(measurement.eextend(offset + i * 256, content[i * 256 : i * 256 + 256]))
    return b"".join(log)


def mrenclave_of(pages: Iterator[Page] | list[Page], size: int, frame: int = 1) -> bytes:
    return hashlib.sha256(log_of(pages, size, frame)).digest()


def segment_pages(path: Path) -> Iterator[Page]:
    """The pages of an ELF file's PT_LOADs, one by one; parsed by somebody else."""
    for segment in ELFFile(io.BytesIO(path.read_bytes())).iter_segments("PT_LOAD"):
        start, flags = segment["p_vaddr"], segment["p_flags"]
        content = bytes(start % PAGE) + segment.data()
        content = content.ljust(-(-(start % PAGE + segment["p_memsz"]) // PAGE) * PAGE, b"\0")
        secinfo = 0x200 | bool(flags & 4) | bool(flags & 2) << 1 | bool(flags & 1) << 2
        for at in range(0, len(content), PAGE):
            yield (start & -PAGE) + at, content[at : at + PAGE], secinfo, ALL


def section(elf: ELFFile, name: str) -> Section:
    found = elf.get_section_by_name(name)
    assert found is not None, name
    return found


def symbol(elf: ELFFile, name: str) -> int:
    """The value of a dynamic one."""
    table = section(elf, ".dynsym")
    assert isinstance(table, SymbolTableSection)
    found = table.get_symbol_by_name(name)
    assert found is not None, name
    return int(found[0]["st_value"])


# SGXS.


def tcs_page(**fields: int) -> bytes:
    return TCS.pack(**{"OSSA": PAGE, "NSSA": 1, "OENTRY": 0x2000, "FSLIMIT": 0xFFF, "GSLIMIT": 0xFFF, **fields})


SMALL: list[Page] = [
    (0, tcs_page(), TCS_PAGE, ALL),
    (0x1000, bytes(PAGE), REG_RW, 0),
    (0x2000, bytes(range(256)) * 16, REG_RX, ALL),
    (0x3000, b"\x11" * PAGE, REG_RX, ALL),
    (0x4000, b"\x5a" * PAGE, REG_RW, 0x00F1),
]
"""A page of each kind: measured, not measured, measured in part."""
SMALL_SIZE = 0x8000


def sgxs(pages: list[Page] = SMALL, size: int = SMALL_SIZE, frame: int = 1) -> bytes:
    """A canonical stream; what is not measured of a page that is not zero is UNMEASRD."""
    out = [measurement.ecreate(frame, size)]
    for offset, content, flags, measured in pages:
        out.append(measurement.eadd(offset, SECINFO.pack(FLAGS=flags)))
        for i in range(16):
            chunk = content[i * 256 : i * 256 + 256]
            if measured >> i & 1:
                out.append(measurement.eextend(offset + i * 256, chunk))
            elif any(chunk):
                out.append(struct.pack("<8sQ48x", b"UNMEASRD", offset + i * 256) + chunk)
    return b"".join(out)


# Intel SDK.

SDK_SOURCE = """
	.globl enclave_entry, g_global_data
	.text
enclave_entry:
	mov $4, %eax
	.byte 0x0f, 0x01, 0xd7
	{text}
	.section .rodata
	.ascii "what is read only"
	.data
	.quad enclave_entry
g_global_data:
	.fill 5000, 1, 0x77
	.bss
	.skip {bss}
	.section .note.sgxmeta, "", @note
	.long 13, 0x5000, 1
	.asciz "sgx_metadata"
	.fill 0x5000, 1, 0
	.balign 4
"""
EADD, EEXTEND, EREMOVE, POST_ADD = 1, 2, 4, 8
SDK_SIZE = 0x100000


SDK_FUNCTIONS = """
	.text
	.type sgx_first, @function
	.type sgx_second, @function
sgx_first:
	ret
sgx_second:
	ret
	.section .data.rel.ro, "aw"
	.globl g_ecall_table
g_ecall_table:
	.quad 2, sgx_first, 0, sgx_second, 1
"""
"""As edger8r makes it, of two ECALLs."""


def sdk_object(
    path: Path, text_relocation: bool = False, bss: int = 0x2345, simulation: bool = False, functions: str = ""
) -> Path:
    """Not signed: its metadata is zero."""
    text = ".balign 4096; .skip 4092; .quad enclave_entry; .balign 4096; ret" if text_relocation else ""
    options = ("-Wl,-z,notext",) if text_relocation else ()
    source = SDK_SOURCE.replace("{text}", text).replace("{bss}", str(bss))
    source += functions
    if simulation:
        source += "\t.globl g_global_data_sim\n\t.data\ng_global_data_sim:\n\t.quad 0\n"
    return compiled(path, source, *options)


def sdk_layout(start: int, threads: int = 2) -> list[bytes]:
    """Heap, then stack, TCS, SSA and thread data with guard pages between, repeated for each thread."""
    at, table = start, []

    def entry(kind: int, pages: int, attributes: int, flags: int, size: int = 0, offset: int = 0) -> None:
        nonlocal at
        table.append(LAYOUT_ENTRY.pack(id=kind, attributes=attributes, page_count=pages, rva=at, content_size=size,
                                       content_offset=offset, si_flags=flags))  # fmt: skip
        at += pages * PAGE

    entry(1, 2, EADD, REG_RW)
    entry(3, 3, POST_ADD, REG_RW)
    group = at
    entry(10, 1, 0, 0)
    entry(8, 2, EADD | EEXTEND, REG_RW, 0xCCCCCCCC)
    entry(10, 1, 0, 0)
    entry(4, 1, EADD | EEXTEND, TCS_PAGE, len(TEMPLATE), CONTENT)
    entry(6, 2, EADD | EEXTEND, REG_RW)
    entry(5, 1, EADD | EEXTEND, REG_RW, 72, CONTENT)
    table.append(LAYOUT_GROUP.pack(id=GROUP | 9, entry_count=6, load_times=threads - 1, load_step=at - group))
    return table


CONTENT = 0x800
"""Where the TCS template is in the metadata."""
PATCH = b"patched!"


def sdk_metadata(
    layout: list[bytes], patch_at: int, version: tuple[int, int] = (1, 4), css: bytes = b"", **fields: int
) -> bytes:
    """metadata_t: 0x1000 bytes of it."""
    patches = PATCH_ENTRY.pack(dst=patch_at, src=CONTENT + 0x80, size=len(PATCH))
    table = b"".join(layout)
    values: dict[str, object] = {
        "magic_num": MAGIC, "version": version[0] << 32 | version[1], "size": 0x1000, "tcs_policy": 1,
        "ssa_frame_size": 1, "tcs_min_pool": 1, "enclave_size": SDK_SIZE, "attributes": 4, "xfrm": 3,
        "enclave_css": css, "patch_offset": 0x900, "patch_size": len(patches), "layout_offset": 0x980,
        "layout_size": len(table),
    }  # fmt: skip
    out = bytearray(METADATA.pack(**values | fields).ljust(0x1000, b"\0"))
    for at, part in ((CONTENT, TEMPLATE), (CONTENT + 0x80, PATCH), (0x900, patches), (0x980, table)):
        out[at : at + len(part)] = part
    return bytes(out)


def last_segment(path: Path) -> tuple[int, int]:
    """Its p_vaddr and p_memsz."""
    return [(s["p_vaddr"], s["p_memsz"]) for s in ELFFile(io.BytesIO(path.read_bytes())).iter_segments("PT_LOAD")][-1]


def sdk_place(path: Path) -> tuple[int, int, int]:
    """Where in the file metadata goes and where g_global_data is; the end of the segments in memory."""
    elf = ELFFile(io.BytesIO(path.read_bytes()))
    note, data = section(elf, ".note.sgxmeta"), symbol(elf, "g_global_data")
    end = max(s["p_vaddr"] + s["p_memsz"] for s in elf.iter_segments("PT_LOAD"))
    return note["sh_offset"] + 12 + 13, next(elf.address_offsets(data)), -(-end // PAGE) * PAGE


def sdk_image(
    path: Path,
    threads: int = 2,
    text_relocation: bool = False,
    simulation: bool = False,
    functions: str = "",
    **fields: int,
) -> Path:
    """A signed object: its metadata has a layout, a patch and a SIGSTRUCT for what loaders make of it."""
    sdk_object(path, text_relocation, simulation=simulation, functions=functions)
    position, patch_at, end = sdk_place(path)
    layout = sdk_layout(end, threads)
    pages = [*sdk_segments(path, patch_at, text_relocation), *sdk_contexts(end, threads)]
    css = sigstruct(mrenclave_of(pages, SDK_SIZE))
    put(path, position, sdk_metadata(layout, patch_at, (1, 4), css, **fields))
    return path


def sdk_segments(path: Path, patch_at: int, text_relocation: bool = False) -> Iterator[Page]:
    """Pages of the object's segments, patched."""
    scratch = path.with_suffix(".patched")
    scratch.write_bytes(path.read_bytes())
    put(scratch, patch_at, PATCH)
    text = next(s for s in ELFFile(io.BytesIO(path.read_bytes())).iter_segments("PT_LOAD") if s["p_flags"] == 5)
    across = (text["p_vaddr"] + PAGE, text["p_vaddr"] + 2 * PAGE) if text_relocation else ()
    for offset, content, flags, measured in segment_pages(scratch):
        yield offset, content, flags | (2 if offset in across else 0), measured
    scratch.unlink()


def sdk_contexts(start: int, threads: int) -> Iterator[Page]:
    """What sdk_layout says, written out."""
    for i in range(2):
        yield start + i * PAGE, bytes(PAGE), REG_RW, 0
    for thread in range(threads):
        at = start + 5 * PAGE + thread * 8 * PAGE
        for i in (1, 2):
            yield at + i * PAGE, b"\xcc" * PAGE, REG_RW, ALL
        tcs = at + 4 * PAGE
        fields = TCS.unpack(TEMPLATE.ljust(PAGE, b"\0"))
        content = TCS.pack(**fields | {n: fields[n] + tcs for n in ("OSSA", "OFSBASE", "OGSBASE")})
        yield tcs, content, TCS_PAGE, ALL
        for i in (5, 6):
            yield at + i * PAGE, bytes(PAGE), REG_RW, ALL
        yield at + 7 * PAGE, TEMPLATE.ljust(PAGE, b"\0"), REG_RW, ALL


def put(path: Path, at: int, content: bytes) -> None:
    """Change bytes of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


# Open Enclave.

OE_SOURCE = """
	.globl _start, _reloc_rva, _reloc_size, _enclave_rva, _td_from_tcs_offset, _tdata_rva, _tdata_size, _tdata_align
	.text
_start:	ret
	.skip 100
	.data
	.quad _start
_reloc_rva: .quad 0
_reloc_size: .quad 0
_enclave_rva: .quad 0
_td_from_tcs_offset: .quad 0
_tdata_rva: .quad 0
_tdata_size: .quad 0
_tdata_align: .quad 0
	.bss
	.skip 0x3000
	.section .tdata, "awT", @progbits
	.balign 16
	.fill 40, 1, 0x33
	.section .oeinfo, "aw", @progbits
	.balign 8
	.globl properties
properties:
	.long 1960, 2
	.quad 3, 2, 2				/* pages of heap and stack, threads */
	.short 7, 9				/* product, SVN */
	.long 1					/* EXINFO */
	.fill 32, 1, 0
	.quad 6, 0, 0				/* ATTRIBUTES, XFRM, start address */
	.fill 48, 1, 0
	.fill 1808, 1, 0
	.quad 0xececececececec
"""


def oe_image(path: Path) -> Path:
    """Not signed."""
    return compiled(path, OE_SOURCE, "-Wl,-e,_start", "-Wl,-soname=enclave")


def oe_pages(path: Path) -> tuple[list[Page], int]:
    """The pages that Open Enclave's loader makes of oe_image, and the size of ELRANGE."""
    elf = ELFFile(io.BytesIO(path.read_bytes()))
    memory: dict[int, bytearray] = {}
    flags: dict[int, int] = {}
    for offset, content, secinfo, _ in segment_pages(path):
        memory[offset], flags[offset] = bytearray(content), secinfo
    relocations = section(elf, ".rela.dyn").data()
    relocations = relocations.ljust(-(-len(relocations) // PAGE) * PAGE, b"\0")
    end = max(memory) + PAGE
    heap = end + len(relocations)
    size, limit = PAGE, heap + (3 + 2 * (2 + 2 + 4 + 1 + 1)) * PAGE
    while size < limit:
        size *= 2
    tdata, properties = section(elf, ".tdata"), section(elf, ".oeinfo")["sh_addr"]
    values = {
        "_reloc_rva": end, "_reloc_size": len(relocations), "_td_from_tcs_offset": 5 * PAGE,
        "_enclave_rva": symbol(elf, "_enclave_rva"), "_tdata_rva": tdata["sh_addr"],
        "_tdata_size": tdata["sh_size"], "_tdata_align": 16,
    }  # fmt: skip
    writes = [(symbol(elf, n), struct.pack("<Q", v)) for n, v in values.items()]
    writes.append((properties + 96, struct.pack("<6Q", properties, 1960, end, len(relocations), heap, size)))
    writes.append((properties + 144, bytes(1808)))
    for at, content in writes:
        for i, byte in enumerate(content):
            memory[(at + i) & -PAGE][(at + i) % PAGE] = byte
    pages = [(at, bytes(memory[at]), flags[at], ALL) for at in memory]
    pages += [(end + at, relocations[at : at + PAGE], REG_R, ALL) for at in range(0, len(relocations), PAGE)]
    pages += [(heap + i * PAGE, bytes(PAGE), REG_RW, 0) for i in range(3)]
    for thread in range(2):
        at = heap + (3 + thread * 10) * PAGE
        pages += [(at + i * PAGE, b"\xcc" * PAGE, REG_RW, ALL) for i in (1, 2)]
        tcs = at + 4 * PAGE
        content = TCS.pack(OSSA=tcs + PAGE, NSSA=2, OENTRY=elf["e_entry"], OFSBASE=tcs + 5 * PAGE,
                           OGSBASE=tcs + 5 * PAGE, FSLIMIT=0xFFFFFFFF, GSLIMIT=0xFFFFFFFF)  # fmt: skip
        pages.append((tcs, content, TCS_PAGE, ALL))
        pages += [(tcs + i * PAGE, bytes(PAGE), REG_RW, ALL) for i in (1, 2, 4, 5)]
    return pages, size
