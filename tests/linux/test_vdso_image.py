"""The vDSO images: what a program's linker finds in them, and __vdso_sgx_enter_enclave up to its ENCLU."""

from __future__ import annotations

import ctypes
import errno
import io
import mmap
import os
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.hash import ELFHashSection, GNUHashSection

from enclu.linux.vdso import image

BASE = 0x7E90_0000_0000
REAL = 0x7FFF_1234_5000
HOST = ["clock_gettime", "clock_getres", "gettimeofday", "time", "getcpu", "getrandom"]
SYSTEM_V_HASH_OF_LINUX_2_6 = 0x3AE75F6
ENTER = "__vdso_sgx_enter_enclave"

IMAGES = sorted(source.stem for source in Path(image.__file__).parent.glob("*.S"))

every = pytest.mark.parametrize("name", IMAGES)


def elf_of(data: bytes) -> ELFFile:
    return ELFFile(io.BytesIO(data))


def section(elf: ELFFile, name: str):
    found = elf.get_section_by_name(name)
    assert found is not None, name
    return found


def build(name: str, missing: tuple[str, ...] = ()) -> bytes:
    names = [prefix + h for h in HOST for prefix in ("", "__vdso_")]
    real = {n: 0x600 + 0x40 * HOST.index(n.removeprefix("__vdso_")) for n in names if n not in missing}
    return image.load(name).build(BASE, REAL, real)


@every
def test_one_load_segment_holds_all_that_a_linker_reads(name: str) -> None:
    elf = elf_of(image.load(name).data)
    loads = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
    assert len(loads) == 1
    load = loads[0]
    assert (load["p_offset"], load["p_vaddr"], load["p_flags"]) == (0, 0, 5)
    assert load["p_filesz"] == load["p_memsz"]
    for part in elf.iter_sections():
        if part["sh_flags"] & 2:
            assert part["sh_addr"] == part["sh_offset"]
            assert part["sh_addr"] + part["sh_size"] <= load["p_filesz"], part.name


@every
def test_no_relocations(name: str) -> None:
    assert not [s.name for s in elf_of(image.load(name).data).iter_sections() if s["sh_type"].startswith("SHT_REL")]


@every
def test_dynamic_section_has_what_glibc_and_go_look_for(name: str) -> None:
    elf = elf_of(image.load(name).data)
    tags = {t["d_tag"]: t for t in section(elf, ".dynamic").iter_tags()}
    wanted = {"DT_HASH", "DT_GNU_HASH", "DT_SYMTAB", "DT_STRTAB", "DT_VERSYM", "DT_VERDEF", "DT_SONAME"}
    assert wanted <= tags.keys()
    assert tags["DT_SONAME"].soname == "linux-vdso.so.1"


@every
def test_version_is_the_kernels(name: str) -> None:
    elf = elf_of(image.load(name).data)
    versions = {next(aux).name: version for version, aux in section(elf, ".gnu.version_d").iter_versions()}
    assert versions.keys() == {"linux-vdso.so.1", "LINUX_2.6"}
    assert versions["LINUX_2.6"]["vd_hash"] == SYSTEM_V_HASH_OF_LINUX_2_6
    index = versions["LINUX_2.6"]["vd_ndx"]
    for number, symbol in enumerate(section(elf, ".dynsym").iter_symbols()):
        if symbol["st_info"]["type"] == "STT_FUNC":
            assert section(elf, ".gnu.version").get_symbol(number)["ndx"] == index


@every
@pytest.mark.parametrize(("kind", "table"), [(ELFHashSection, ".hash"), (GNUHashSection, ".gnu.hash")])
def test_hash_tables_find_every_function(name: str, kind: type, table: str) -> None:
    elf = elf_of(build(name))
    found = section(elf, table)
    assert isinstance(found, kind)
    wanted = HOST + ["__vdso_" + h for h in HOST] + [ENTER] * (ENTER in image.load(name).symbols)
    for function in wanted:
        symbol = found.get_symbol(function)
        assert symbol is not None, function
        assert symbol["st_info"]["type"] == "STT_FUNC"
    assert found.get_symbol("__vdso_nothing") is None


def test_the_image_without_sgx_functions_has_none() -> None:
    assert ENTER not in image.load("sgx").symbols
    assert image.load("sgx").extable == []


@every
def test_plain_names_are_weak(name: str) -> None:
    for symbol in section(elf_of(image.load(name).data), ".dynsym").iter_symbols():
        if symbol.name in HOST:
            assert symbol["st_info"]["bind"] == "STB_WEAK"


@every
@pytest.mark.parametrize(("base", "real"), [(BASE, REAL), (REAL, BASE)])
def test_host_functions_are_reached_by_wrapping(name: str, base: int, real: int) -> None:
    built = image.load(name).build(base, real, {"__vdso_time": 0x777, "time": 0x777})
    for symbol in section(elf_of(built), ".dynsym").iter_symbols():
        if symbol.name in ("time", "__vdso_time"):
            assert symbol["st_shndx"] != "SHN_UNDEF"
            assert (base + symbol["st_value"]) % 2**64 == real + 0x777


@every
def test_functions_that_the_host_lacks_are_undefined(name: str) -> None:
    built = build(name, missing=("getrandom", "__vdso_getrandom"))
    symbols = {s.name: s for s in section(elf_of(built), ".dynsym").iter_symbols()}
    for function in ("getrandom", "__vdso_getrandom"):
        assert symbols[function]["st_shndx"] == "SHN_UNDEF"
        assert symbols[function]["st_value"] == 0
    assert symbols["time"]["st_value"] != 0


def test_the_sgx_function_is_never_redirected() -> None:
    built = image.load("vdso").build(BASE, REAL, {ENTER: 0x999})
    symbols = {s.name: s["st_value"] for s in section(elf_of(built), ".dynsym").iter_symbols()}
    assert symbols[ENTER] == image.load("vdso").symbols[ENTER]


@every
def test_stubs(name: str) -> None:
    loaded = image.load(name)
    assert loaded.data[loaded.syscall_stub :].startswith(b"\x0f\x05\xcc")
    assert loaded.data[loaded.handler :].startswith(b"\xcc\xeb\xfd")
    assert loaded.data[loaded.sigreturn :].startswith(b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05")
    exported = {s.name for s in section(elf_of(loaded.data), ".dynsym").iter_symbols()}
    assert not [n for n in exported if n.startswith("enclu")]


@pytest.mark.parametrize(("name", "sites"), [("vdso", 1), ("vdso_2018", 2), ("vdso_jmp", 1)])
def test_extable_names_every_enclu(name: str, sites: int) -> None:
    loaded = image.load(name)
    assert len(loaded.extable) == loaded.data.count(b"\x0f\x01\xd7") == sites
    for insn, fixup in loaded.extable:
        assert loaded.data[insn : insn + 3] == b"\x0f\x01\xd7"
        assert loaded.symbols[ENTER] <= insn < fixup


def test_fixup_only_where_the_image_is() -> None:
    loaded = image.load("vdso")
    loaded.build(BASE, REAL, {})
    ((insn, fixup),) = loaded.extable
    assert loaded.fixup(BASE + insn) == BASE + fixup
    assert loaded.fixup(BASE + insn + 1) is None
    assert loaded.fixup(BASE + 0x1_0000 + insn) is None


def test_a_missing_image_says_how_to_get_it() -> None:
    with pytest.raises(FileNotFoundError, match="install enclu"):
        image.load("no-such-design")


# The function itself, executed.  ENCLU is replaced by code that behaves as an enclave would.

RUN_SIZE = 256
HANDLER = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_long] * 6, ctypes.c_void_p)
PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_uint, ctypes.c_ulong, ctypes.c_ulong,
    ctypes.c_void_p,
)  # fmt: skip
OUTSIDE = b"\xc3"


class Mapped:
    """The image in this process, executable, ENCLU overwritten by a jump to `enclave`."""

    def __init__(self, enclave: bytes = OUTSIDE) -> None:
        loaded = image.load("vdso")
        self.memory = mmap.mmap(-1, 0x3000, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.memory[: len(loaded.data)] = loaded.data
        ((self.insn, self.fixup),) = loaded.extable
        # The three bytes of ENCLU hold a short jump to space that HOST_FUNCTION placeholders take, then a far one.
        hop = loaded.symbols["__vdso_clock_gettime"]
        self.memory[self.insn : self.insn + 2] = bytes([0xEB, hop - self.insn - 2])
        self.memory[hop : hop + 5] = b"\xe9" + struct.pack("<i", 0x2000 - hop - 5)
        self.memory[0x2000 : 0x2000 + len(enclave)] = enclave
        self.call = PROTOTYPE(self.address + loaded.symbols[ENTER])

    def jump_back(self, at: int, target: int) -> bytes:
        return b"\xe9" + struct.pack("<i", target - (0x2000 + at) - 5)


def run_of(handler: int = 0, tcs: int = 0x1000) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("<QIHHQQQ", tcs, 0, 0, 0, 0, handler, 0).ljust(RUN_SIZE, b"\0"), 256)


def fields(run: ctypes.Array[ctypes.c_char]) -> tuple[int, ...]:
    """function, exception_vector, exception_error_code, exception_addr"""
    return struct.unpack_from("<IHHQ", run.raw, 8)


@pytest.fixture
def unentered() -> Mapped:
    return Mapped(b"\x0f\x0b")


@pytest.mark.parametrize("leaf", [0, 1, 4, 5, 9, 0xFFFF_FFFF, 0x8000_0002])
def test_other_leaves_are_invalid(unentered: Mapped, leaf: int) -> None:
    assert unentered.call(0, 0, 0, leaf, 0, 0, run_of()) == -errno.EINVAL


@pytest.mark.parametrize("offset", [40, 41, 47, 48, 100, 248, 255])
def test_reserved_bytes_must_be_zero(unentered: Mapped, offset: int) -> None:
    run = run_of()
    run[offset] = b"\1"
    assert unentered.call(0, 0, 0, 2, 0, 0, run) == -errno.EINVAL


def store_registers_then(mapped: Mapped, target: int, load: bytes = b"") -> None:
    """An enclave that stores RAX, RBX, RCX, RDI, RSI, RDX, R8, R9 at mapped+0x2800, loads some, and goes on."""
    where = struct.pack("<Q", mapped.address + 0x2800)
    code = b"\x49\xba" + where  # mov r10, where
    for number, modrm in enumerate((0x42, 0x5A, 0x4A, 0x7A, 0x72, 0x52)):  # mov [r10+8n], reg
        code += bytes([0x49, 0x89, modrm, 8 * number])
    code += bytes([0x4D, 0x89, 0x42, 48, 0x4D, 0x89, 0x4A, 56])
    code += load
    code += mapped.jump_back(len(code), target)
    mapped.memory[0x2000 : 0x2000 + len(code)] = code


@pytest.mark.parametrize("leaf", [2, 3])
def test_registers_at_enclu(leaf: int) -> None:
    mapped = Mapped()
    store_registers_then(mapped, mapped.insn + 3)
    run = run_of(tcs=0xABCD000)
    assert mapped.call(11, 22, 33, leaf, 44, 55, run) == 0
    seen = struct.unpack_from("<8Q", mapped.memory, 0x2800)
    assert seen == (leaf, 0xABCD000, mapped.address + mapped.insn, 11, 22, 33, 44, 55)
    assert fields(run) == (4, 0, 0, 0)


ZERO_R12_TO_R15 = bytes.fromhex("4d31e4 4d31ed 4d31f6 4d31ff")
EXCEPTION = bytes.fromhex(  # eax 3, rdi 14, rsi 0x8007, rdx 0x1122334455667788, as a fixup leaves them
    "b803000000 48c7c70e000000 48c7c607800000 48ba8877665544332211"
)


def test_an_exception_is_stored_and_returns_zero() -> None:
    mapped = Mapped()
    store_registers_then(mapped, mapped.fixup, EXCEPTION)
    run = run_of()
    assert mapped.call(1, 2, 3, 2, 4, 5, run) == 0
    assert fields(run) == (3, 14, 0x8007, 0x1122334455667788)


@pytest.mark.parametrize("result", [0, -1, -errno.EIO, -(2**31)])
def test_a_handlers_result_that_is_not_positive_is_returned(result: int) -> None:
    mapped = Mapped()
    store_registers_then(mapped, mapped.insn + 3)
    calls = []

    @HANDLER
    def handler(rdi: int, rsi: int, rdx: int, rsp: int, r8: int, r9: int, run: int) -> int:
        calls.append((rdi, rsi, rdx, r8, r9, run, rsp != 0))
        return result

    run = run_of(ctypes.cast(handler, ctypes.c_void_p).value or 0)
    assert mapped.call(1, 2, 3, 2, 4, 5, run) == result
    assert calls == [(1, 2, 3, 4, 5, ctypes.addressof(run), True)]
    assert fields(run)[0] == 4


def test_a_positive_result_is_the_next_leaf() -> None:
    mapped = Mapped()
    store_registers_then(mapped, mapped.insn + 3)
    leaves = []
    results = iter([3, 2, 0])

    @HANDLER
    def handler(*arguments: int) -> int:
        leaves.append(struct.unpack_from("<Q", mapped.memory, 0x2800)[0])
        return next(results)

    run = run_of(ctypes.cast(handler, ctypes.c_void_p).value or 0)
    assert mapped.call(0, 0, 0, 2, 0, 0, run) == 0
    assert leaves == [2, 3, 2]


def test_a_positive_result_that_is_no_leaf_is_invalid() -> None:
    mapped = Mapped()
    store_registers_then(mapped, mapped.insn + 3)
    handler = HANDLER(lambda *_: 7)
    run = run_of(ctypes.cast(handler, ctypes.c_void_p).value or 0)
    assert mapped.call(0, 0, 0, 2, 0, 0, run) == -errno.EINVAL


@pytest.mark.parametrize("pushed", [0, 1, 2, 3])
def test_the_handler_gets_an_aligned_stack_and_df_clear(pushed: int) -> None:
    """The enclave sets DF and leaves words on the stack; the handler is code, not ctypes, to see RSP as it is."""
    mapped = Mapped()
    store_registers_then(mapped, mapped.insn + 3, b"\xfd" + b"\x50" * pushed)
    out = mapped.address + 0x2900
    code = (
        b"\x48\xb8" + struct.pack("<Q", out) + b"\x48\x89\x20"  # mov rax, out; mov [rax], rsp
        + b"\x48\x89\x48\x08"  # mov [rax+8], rcx
        + b"\x9c\x5a\x48\x89\x50\x10"  # pushf; pop rdx; mov [rax+16], rdx
        + b"\x48\x8b\x54\x24\x08\x48\x89\x50\x18"  # mov rdx, [rsp+8]; mov [rax+24], rdx
        + b"\x31\xc0\xc3"
    )  # fmt: skip
    mapped.memory[0x2400 : 0x2400 + len(code)] = code
    run = run_of(mapped.address + 0x2400)
    assert mapped.call(0, 0, 0, 2, 0, 0, run) == 0
    rsp, rcx, rflags, seventh = struct.unpack_from("<4Q", mapped.memory, 0x2900)
    assert rsp % 16 == 8  # a return address above a 16-byte boundary
    assert rcx > rsp
    assert not rflags & 1 << 10
    assert seventh == ctypes.addressof(run)


def test_of_the_callee_saved_registers_an_aex_clears_all_but_rbx_and_rbp() -> None:
    """RBX and R12 to R15 are zero at the fixup, as after an AEX; a caller in machine code adds them up."""
    mapped = Mapped()
    destroy = bytes.fromhex("4831db") + ZERO_R12_TO_R15
    store_registers_then(mapped, mapped.fixup, destroy + EXCEPTION)
    saves = bytes.fromhex("53 55 4154 4155 4156 4157")
    loads = bytes.fromhex("415f 415e 415d 415c 5d 5b")
    values = bytes.fromhex("bb01000000 41bc02000000 41bd03000000 41be04000000 41bf05000000")
    run = run_of()
    target = mapped.address + image.load("vdso").symbols[ENTER]
    code = saves + values + b"\xb9\2\0\0\0" + b"\x48\xb8" + struct.pack("<Q", ctypes.addressof(run)) + b"\x50"
    code += b"\x48\xb8" + struct.pack("<Q", target) + b"\xff\xd0" + b"\x59"  # call rax; pop rcx
    code += b"\x49\x89\xe3\x49\x89\xd9"  # mov r11, rsp; mov r9, rbx
    code += bytes.fromhex("4c89c9 4c01e1 4c01e9 4c01f1 4c01f9") + b"\x48\x01\xc8"  # rax += rbx+r12+...+r15
    code += loads + b"\xc3"
    mapped.memory[0x2600 : 0x2600 + len(code)] = code
    caller = ctypes.CFUNCTYPE(ctypes.c_int)(mapped.address + 0x2600)
    assert caller() == 1


@every
def test_glibc_maps_and_searches_the_image(name: str, tmp_path) -> None:
    """dlopen goes through the same lookup as the vDSO; RTLD_LOCAL keeps the names to ourselves."""
    path = tmp_path / "copy.so"
    data = bytearray(image.load(name).data)
    data[data.index(b"linux-vdso.so.1\0")] = ord("x")  # glibc has a linux-vdso.so.1 already
    path.write_bytes(data)
    library = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    base = ctypes.cast(library.__vdso_time, ctypes.c_void_p).value - image.load(name).symbols["__vdso_time"]
    assert base % mmap.PAGESIZE == 0
    assert hasattr(library, ENTER) == (ENTER in image.load(name).symbols)
