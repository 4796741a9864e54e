"""Places in enclaves: symbols and lines as binutils tell them, and what is said where there are none."""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from enclu.host import signing
from enclu.host.build import build_enclave
from enclu.host.errors import HostError
from enclu.host.images import Image, open_image
from enclu.host.images.elf_file import SHDR, ElfFile
from enclu.host.images.regions import map_file
from enclu.host.places import Place, Places
from tests.support import enclave_images as made

CODE = """
#include "trusted.h"
#include "part.h"

static uint64_t table[16];

__attribute__((noinline)) static uint64_t decode_frame(uint64_t *frame)
{
	table[twice(1)] += 1;
	return *frame;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	(void)thread;
	return decode_frame(function ? (uint64_t *)argument : (uint64_t *)0) + twice(function);
}
"""
PART = "#include <stdint.h>\n__attribute__((noinline)) static uint64_t twice(uint64_t n)\n{\n\treturn n * 2;\n}\n"
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
FORMS = ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5", "-gdwarf-5 -gz", "-gdwarf-4 -gz", "-gdwarf-5 -O2"]
Built = Callable[..., Image]


@pytest.fixture
def built(tmp_path: Path) -> Built:
    """built(flags, compiler): an enclave in C with a header."""

    def build(flags: str = "-g", compiler: str = "gcc", code: str = CODE) -> Image:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        source, output = folder / "codec.c", tmp_path / "enclave.elf"
        source.write_text(code)
        (folder / "part.h").write_text(PART)
        if compiler != "gcc":
            command = [
                compiler, "-c", "-O1", "-ffreestanding", "-fPIE", "-fno-stack-protector", "-ffunction-sections",
                f"-I{enclu.enclave_dir()}", *flags.split(), str(source), "-o", str(folder / "codec.o"),
            ]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True)
            source = folder / "codec.o"
        build_enclave([source], output, flags=flags.split())
        return open_image(output)

    return build


def binutils(path: Path, addresses: list[int]) -> list[tuple[str, str, int]]:
    """(symbol, file's name, line) of each, as addr2line has them."""
    command = ["addr2line", "-f", "-s", "-e", str(path), *map(hex, addresses)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = []
    for symbol, where in zip(lines[::2], lines[1::2], strict=True):
        file, _, line = where.partition(" ")[0].partition(":")
        found.append((symbol, file, int(line) if line.isdigit() else 0))
    return found


def text_of(path: Path) -> range:
    section = ElfFile(path, map_file(path)).section(".text")
    assert section is not None
    return range(section.address, section.address + section.size)


def address_of(path: Path, name: str) -> int:
    return ElfFile(path, map_file(path)).symbols(".symtab", ".strtab")[name]["st_value"]


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("form", FORMS)
def test_every_line_is_the_one_that_binutils_find(form: str, compiler: str, built: Built) -> None:
    """Of the whole text: the enclave kit's, too, and assembly."""
    image = built(form, compiler)
    addresses = list(text_of(image.path))
    places = Places.of(image)
    ours = [places.at(address) for address in addresses]
    theirs = binutils(image.path, addresses)
    assert [place.line for place in ours] == [line or None for _, _, line in theirs]
    told = [Path(place.file or "").name for place in ours]
    if "5" not in form:  # whose files binutils 2.40 counts from 1, unlike readelf and gdb
        assert told == [file if line else "" for _, file, line in theirs]
    assert {"codec.c", "part.h", "entry.S"} <= set(told)
    assert all(place.missing for place in ours if place.line is None)


@pytest.mark.parametrize("form", ["-gdwarf-4", "-gdwarf-5"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_crash_is_told_as_debuggers_do(compiler: str, form: str, built: Built) -> None:
    image = built(form, compiler)
    start = address_of(image.path, "decode_frame")
    line = next(n for n, text in enumerate(CODE.splitlines(), 1) if "return *frame" in text)
    told = [str(Places.of(image).at(address)) for address in range(start, start + 64)]
    assert any(re.fullmatch(rf"decode_frame\+0x[0-9a-f]+ \(codec\.c:{line}\)", text) for text in told)
    assert Path(Places.of(image).at(start).file or "").name == "codec.c"
    assert re.fullmatch(r"twice\+0x0 \(part\.h:[34]\)", str(Places.of(image).at(address_of(image.path, "twice"))))


def test_symbols_are_told_without_debug_information(built: Built) -> None:
    image = built("-g0")
    place = Places.of(image).at(address_of(image.path, "decode_frame") + 1)
    assert str(place) == "decode_frame+0x1" and place.missing == "it has no debug information (-g)"


def test_data_has_symbols_and_no_lines(built: Built) -> None:
    image = built()
    place = Places.of(image).at(address_of(image.path, "table") + 8)
    assert (str(place), place.line, place.missing) == ("table+0x8", None, "")


def test_a_stripped_image_tells_lines_of_nothing_but_its_parts(built: Built, tmp_path: Path) -> None:
    path = built().path
    whole = shutil.copy(path, tmp_path / "whole.elf")
    address = address_of(path, "decode_frame")
    subprocess.run(["strip", str(path)], check=True)
    image = open_image(path)
    place = Places.of(image).at(address)
    assert place.symbol is None and place.missing == "stripped: it has no symbols"
    assert re.fullmatch(r"segment \d\+0x[0-9a-f]+", str(place))
    assert Places(image, whole).at(address).symbol == "decode_frame"


def test_what_was_stripped_serves_as_symbols(built: Built, tmp_path: Path) -> None:
    path, debug = built().path, tmp_path / "enclave.debug"
    address = address_of(path, "decode_frame")
    subprocess.run(["objcopy", "--only-keep-debug", str(path), str(debug)], check=True)
    subprocess.run(["strip", str(path)], check=True)
    assert re.match(r"decode_frame\+0x0 \(codec\.c:\d+\)", str(Places(open_image(path), debug).at(address)))


def test_symbols_of_another_image_are_refused(built: Built, tmp_path: Path) -> None:
    image = built()
    other = made.compiled(tmp_path / "other.elf", "\tnop\n\t.data\n\t.skip 99999\n")
    with pytest.raises(HostError, match=r"other\.elf: not of .*enclave\.elf, whose segments are elsewhere"):
        Places(image, other)


def test_parts_that_are_no_segments_are_told_by_name(built: Built) -> None:
    image = built()
    places, tcs = Places.of(image), image.tcs[1]
    assert str(places.at(tcs + 8)) == "TCS+0x1008"
    assert str(places.at(image.size + 16)) == f"ELRANGE+{image.size + 16:#x}"
    assert str(places.at(-16)) == "ELRANGE-0x10"


def test_labels_of_assembly_reach_to_the_next_one(tmp_path: Path) -> None:
    """And Intel's SDK has the image at the beginning of ELRANGE."""
    image = open_image(made.sdk_image(tmp_path / "enclave.so"))
    start = address_of(image.path, "enclave_entry")
    assert str(Places.of(image).at(start + 5)) == "enclave_entry+0x5"
    assert str(Places.of(image).at(address_of(image.path, "g_global_data") + 5)) == "g_global_data+0x5"


def test_images_may_be_anywhere_in_elrange(tmp_path: Path) -> None:
    """As the metadata of Intel's SDK may say."""
    path = made.sdk_object(tmp_path / "enclave.so")
    position, patch_at, end = made.sdk_place(path)
    data = bytearray(made.sdk_metadata(made.sdk_layout(end), patch_at, (11, 4), elrange_offset=0xE00, elrange_size=24))
    data[0xE00:0xE18] = struct.pack("<3Q", 0x80000000 + made.SDK_SIZE, 0x80000000, 4 * made.SDK_SIZE)
    made.put(path, position, bytes(data))
    places, start = Places.of(open_image(path)), address_of(path, "enclave_entry")
    assert str(places.at(made.SDK_SIZE + start + 5)) == "enclave_entry+0x5"
    assert places.at(start).symbol is None


def test_open_enclave_images_have_places(tmp_path: Path) -> None:
    image = open_image(made.oe_image(tmp_path / "enclave.so"))
    start = address_of(image.path, "_start")
    assert str(Places.of(image).at(start + 7)) == "_start+0x7"
    assert str(Places.of(image).at(image.tcs[0] - image.size)).startswith("ELRANGE-0x")


def test_sgxs_has_no_symbols_unless_they_are_named(built: Built, tmp_path: Path) -> None:
    elf = made.compiled(tmp_path / "enclave.so", "\t.globl answer\nanswer:\tret\n\tret\n", "-g")
    (tmp_path / "enclave.sgxs").write_bytes(made.sgxs())
    image = open_image(tmp_path / "enclave.sgxs")
    start = address_of(elf, "answer")
    assert Places.of(image).at(start).missing == "images of the format sgxs have no symbols"
    assert str(Places(image, elf).at(start + 1)) == "answer+0x1 (enclave.S:3)"


def test_the_place_of_an_exception_in_a_loaded_enclave(built: Built, process: enclu.Process) -> None:
    image = built()
    image.sigstruct = signing.sign(signing.unsigned(image, debug=True), made.key())
    enclave = process.load(image, debug=True)
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(0)
    place = Places.of(enclave.image).at(raised.value.ssa.gprsgx.rip - enclave.base)
    line = next(n for n, text in enumerate(CODE.splitlines(), 1) if "return *frame" in text)
    assert (place.symbol, place.line) == ("decode_frame", line)


def test_the_same_image_is_read_once(built: Built) -> None:
    image = built()
    assert Places.of(image) is Places.of(image)


# Hostile images.


def debug_section(path: Path, name: str) -> tuple[int, int]:
    section = ElfFile(path, map_file(path)).section(name)
    assert section is not None
    return section.offset, section.size


def told(path: Path, step: int = 97) -> list[Place]:
    places = Places(open_image(path))
    return [places.at(address) for address in text_of(path)[::step]]


@pytest.mark.parametrize("form", ["-gdwarf-4", "-gdwarf-5", "-gdwarf-5 -gz"])
def test_damaged_debug_information_costs_nothing_but_places(form: str, built: Built) -> None:
    """Whatever bytes are changed: each address has an answer, and the symbols stay."""
    path, chance = built(form).path, random.Random(form)
    whole = path.read_bytes()
    right = [place.symbol for place in told(path)]
    for name in (".debug_line", ".debug_line_str") if "5" in form else (".debug_line",):
        start, size = debug_section(path, name)
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(chance.choice((1, 1, 4, 64))):
                damaged[start + chance.randrange(size)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            path.write_bytes(damaged)
            assert [place.symbol for place in told(path)] == right


def test_damaged_symbols_cost_nothing_but_symbols(built: Built) -> None:
    path, chance = built("-gdwarf-5").path, random.Random(7)
    whole = path.read_bytes()
    right = [place.line for place in told(path)]
    start, size = debug_section(path, ".symtab")
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(16):
            damaged[start + chance.randrange(size)] = chance.randrange(256)
        path.write_bytes(damaged)
        assert [place.line for place in told(path)] == right


def header_of(path: Path, name: str) -> int:
    """Where a section's header is in the file."""
    elf = ElfFile(path, map_file(path))
    number = next(i for i, section in enumerate(elf.sections) if section.name == name)
    return int(elf._header["e_shoff"]) + number * SHDR.size


def test_a_section_that_claims_to_be_endless_is_not_looked_through(built: Built) -> None:
    """Decompression ends where it is told to."""
    image = built("-gdwarf-5 -gz")
    start, _ = debug_section(image.path, ".debug_line")
    made.put(image.path, start + 8, (1 << 50).to_bytes(8, "little"))
    place = Places.of(open_image(image.path)).at(address_of(image.path, "decode_frame"))
    assert place.symbol == "decode_frame" and "more debug information than is looked through" in place.missing


def test_names_cannot_move_the_cursor(built: Built, tmp_path: Path) -> None:
    image = built()
    image.path.write_bytes(image.path.read_bytes().replace(b"\0decode_frame\0", b"\0decode\x1b[2Ja\0\0"))
    addresses = list(text_of(image.path))
    found = binutils(image.path, addresses)
    start = next(a for a, (symbol, *_) in zip(addresses, found, strict=True) if symbol.startswith("decode"))
    assert Places.of(open_image(image.path)).at(start).symbol == r"decode\x1b[2Ja"
