"""Damaged images, field by field: an ImageError that names the file, the field and its value."""

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.host.images import ImageError, open_image
from enclu.host.images.elf_file import EHDR, PHDR
from enclu.host.images.sdk_metadata import LAYOUT_ENTRY, LAYOUT_GROUP, METADATA, PATCH_ENTRY
from enclu.sgx.structs import TCS
from tests.support import enclave_images as made
from tests.support.enclave_images import PAGE, put

ImageFile = Callable[[str], Path]


def refused(path: Path, field: str, value: str = "") -> None:
    """The error names all three."""
    with pytest.raises(ImageError) as caught:
        open_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert field in message and value in message, message


@pytest.mark.parametrize(
    ("content", "value"), [(b"", "0x0"), (b"MZ\0\0 not an enclave", "4d5a0000"), (b"\x7fELF", "0x40"), (b"E", "45")]
)
def test_what_is_no_image(tmp_path: Path, content: bytes, value: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    refused(path, "", value)


def test_a_file_that_is_not_there_a_directory_and_a_device(tmp_path: Path) -> None:
    refused(tmp_path / "missing", "file", "No such file")
    refused(tmp_path, "file", "Is a directory")
    refused(Path("/dev/null"), "kind of file")


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    refused(path, "kind of file")


def test_an_ordinary_program_is_no_enclave() -> None:
    refused(Path("/bin/ls"), "p_flags", "no segment holds TCSes")


@pytest.fixture
def copy(tmp_path: Path, image_file: ImageFile) -> Callable[[str], Path]:
    """copy(format): an image to damage."""

    def make(name: str) -> Path:
        path = tmp_path / f"{name}.image"
        path.write_bytes(image_file(name).read_bytes())
        return path

    return make


@pytest.mark.parametrize(
    ("field", "code", "value", "named"),
    [
        ("e_ident", "16s", b"\x7fELF\1\1\1" + bytes(9), "32-bit"), ("e_ident", "16s", b"\x7fELF\2\2\1" + bytes(9), ""),
        ("e_machine", "<H", 3, "0x3"), ("e_phentsize", "<H", 55, "e_phentsize"), ("e_phoff", "<Q", 1 << 40, "e_phoff"),
        ("e_phoff", "<Q", (1 << 64) - 8, "e_phoff"), ("e_phnum", "<H", 0xFFFF, "e_phoff"),
    ],
)  # fmt: skip
def test_an_elf_header(copy: Callable[[str], Path], field: str, code: str, value: object, named: str) -> None:
    path = copy("elf")
    put(path, EHDR.offset(field), struct.pack(code, value))
    refused(path, named)


@pytest.mark.parametrize("name", ["intel-sdk", "open-enclave"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("e_shoff", 1 << 50), ("e_shentsize", 63), ("e_shnum", 0xFFFF), ("e_shstrndx", 0xFFF0)],
)
def test_section_headers(copy: Callable[[str], Path], name: str, field: str, value: int) -> None:
    path = copy(name)
    put(path, EHDR.offset(field), struct.pack("<Q" if field == "e_shoff" else "<H", value))
    refused(path, "e_sh")


@pytest.mark.parametrize("name", ["elf", "intel-sdk", "open-enclave"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("p_offset", 1 << 45), ("p_filesz", 1 << 45), ("p_memsz", 1 << 45), ("p_memsz", (1 << 64) - 1), ("p_memsz", 1),
     ("p_vaddr", 1 << 45), ("p_vaddr", (1 << 64) - PAGE), ("p_vaddr", 1 << 33)],
)  # fmt: skip
def test_a_segment(copy: Callable[[str], Path], name: str, field: str, value: int) -> None:
    path = copy(name)
    data = path.read_bytes()
    start, count = EHDR.get(data, "e_phoff"), EHDR.get(data, "e_phnum")
    headers = [start + i * PHDR.size for i in range(count)]
    loads = [at for at in headers if PHDR.get(data, "p_type", at) == 1]
    put(path, loads[1] + PHDR.offset(field), struct.pack("<Q", value))
    refused(path, "")


def test_an_open_enclave_image_for_which_there_are_no_addresses(copy: Callable[[str], Path]) -> None:
    path = copy("open-enclave")
    data = path.read_bytes()
    headers = [EHDR.get(data, "e_phoff") + i * PHDR.size for i in range(EHDR.get(data, "e_phnum"))]
    last = [at for at in headers if PHDR.get(data, "p_type", at) == 1][-1]
    size = (1 << 47) - (1 << 20) - PHDR.get(data, "p_vaddr", last)
    put(path, last + PHDR.offset("p_memsz"), struct.pack("<Q", size))
    refused(path, "p_memsz", "no room for it: Cannot allocate memory")


@pytest.mark.parametrize(
    ("field", "code", "value"),
    [("STATE", "<Q", 1), ("CSSA", "<I", 1), ("AEP", "<Q", 5), ("OSSA", "<Q", 0x1234), ("OFSBASE", "<Q", 0x10)],
)
def test_a_tcs(copy: Callable[[str], Path], field: str, code: str, value: int) -> None:
    path = copy("elf")
    put(path, PAGE + TCS.offset(field), struct.pack(code, value))
    refused(path, f"TCS at 0x0, {field}", hex(value))


def test_reserved_bytes_of_a_tcs(copy: Callable[[str], Path]) -> None:
    path = copy("elf")
    put(path, PAGE + 4000, b"\1")
    refused(path, "TCS at 0x0, reserved bytes")


@pytest.mark.parametrize(("at", "value"), [(0, 1 << 40), (8, 1 << 60), (0, 1 << 28)])
def test_a_note_that_wants_more_memory_than_there_is(copy: Callable[[str], Path], at: int, value: int) -> None:
    path = copy("elf")
    data = path.read_bytes()
    note = data.index(struct.pack("<III", 6, 40, 1) + b"enclu\0") + 20
    put(path, note + at, struct.pack("<Q", value))
    refused(path, "")


STREAM = made.sgxs()
RECORD_AT = {"ECREATE": 0, "EADD": 64, "EEXTEND": 128}


@pytest.mark.parametrize(
    ("at", "content", "field"),
    [
        (0, b"UNSIZED\0", "UNSIZED"), (8, struct.pack("<I", 0), "SSAFRAMESIZE"), (12, struct.pack("<Q", 0), "SIZE"),
        (12, struct.pack("<Q", 0x3000), "SIZE"), (12, struct.pack("<Q", 1 << 60), "SIZE"), (30, b"\1", "ECREATE"),
        (64, b"NOTATAG\0", "tag"), (72, struct.pack("<Q", 0x800), "EADD.OFFSET"),
        (72, struct.pack("<Q", 1 << 40), "EADD.OFFSET"), (80, struct.pack("<Q", 0x303), "SECINFO.FLAGS"),
        (80, struct.pack("<Q", 1 << 40 | 0x203), "SECINFO.FLAGS"), (100, b"\1", "SECINFO"),
        (128, b"ECREATE\0", "tag"), (136, struct.pack("<Q", 0x10), "EEXTEND.OFFSET"),
        (136, struct.pack("<Q", 0x7000), "EEXTEND.OFFSET"), (136, struct.pack("<Q", 0x100), "EEXTEND.OFFSET"),
        (144, b"\1", "reserved"),
    ],
)  # fmt: skip
def test_a_record_of_a_stream(tmp_path: Path, at: int, content: bytes, field: str) -> None:
    path = tmp_path / "x.sgxs"
    path.write_bytes(STREAM[:at] + content + STREAM[at + len(content) :])
    refused(path, field)


@pytest.mark.parametrize("length", [10, 63, 100, 190, 300])
def test_a_stream_that_ends_within_a_record(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.sgxs"
    path.write_bytes(STREAM[:length])
    refused(path, "the file" if length > 64 else "")


def test_a_page_that_is_added_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.sgxs"
    path.write_bytes(STREAM + STREAM[64:])
    refused(path, "EADD.OFFSET", "added before")


def sdk(tmp_path: Path) -> tuple[Path, int]:
    """An image and where its metadata is."""
    path = made.sdk_image(tmp_path / "enclave.so")
    return path, made.sdk_place(path)[0]


@pytest.mark.parametrize(
    ("field", "code", "value"),
    [
        ("magic_num", "<Q", 0), ("version", "<Q", 7 << 32), ("version", "<Q", 0), ("version", "<Q", 1 << 32 | 2),
        ("version", "<Q", 11 << 32 | 4), ("size", "<I", 0), ("size", "<I", 0xFFFFFFFF), ("tcs_policy", "<I", 2),
        ("ssa_frame_size", "<I", 0), ("ssa_frame_size", "<I", 1 << 31), ("enclave_size", "<Q", 0),
        ("enclave_size", "<Q", 0x30000), ("enclave_size", "<Q", 1 << 63), ("enclave_size", "<Q", 0x2000),
        ("patch_offset", "<I", 0xFFFFFFF0), ("patch_size", "<I", 0xFFFFFFE0), ("patch_size", "<I", 31),
        ("layout_offset", "<I", 0xFFF), ("layout_size", "<I", 0x80000000), ("layout_size", "<I", 33),
    ],
)  # fmt: skip
def test_sdk_metadata(tmp_path: Path, field: str, code: str, value: int) -> None:
    path, position = sdk(tmp_path)
    put(path, position + METADATA.offset(field), struct.pack(code, value))
    refused(path, re.sub("_(offset|size)$", "", field) if field[:3] in ("pat", "lay") else "")


@pytest.mark.parametrize(
    ("index", "field", "code", "value"),
    [
        (0, "page_count", "<I", 0xFFFFFFFF), (0, "page_count", "<I", 10), (0, "rva", "<Q", 1 << 50),
        (0, "rva", "<Q", 0x1234), (0, "si_flags", "<Q", 0x403), (0, "si_flags", "<Q", 1 << 20), (5, "rva", "<Q", 1),
        (5, "content_size", "<I", 0x1001), (5, "content_size", "<I", 8), (5, "content_offset", "<I", 0xFFFFFF00),
        (7, "content_size", "<I", 0x2000),
    ],
)  # fmt: skip
def test_an_entry_of_the_sdks_layout(tmp_path: Path, index: int, field: str, code: str, value: int) -> None:
    path, position = sdk(tmp_path)
    put(path, position + 0x980 + index * 32 + LAYOUT_ENTRY.offset(field), struct.pack(code, value))
    refused(path, "")


def test_an_entry_of_the_sdks_layout_that_has_content_of_no_bytes(tmp_path: Path) -> None:
    path, position = sdk(tmp_path)
    put(path, position + 0x980 + 6 * 32 + LAYOUT_ENTRY.offset("content_offset"), struct.pack("<I", 0x100))
    put(path, position + 0x980 + 6 * 32 + LAYOUT_ENTRY.offset("content_size"), struct.pack("<I", 0))
    assert len(open_image(path).mrenclave()) == 32


@pytest.mark.parametrize(
    ("field", "code", "value"),
    [
        ("entry_count", "<H", 9), ("entry_count", "<H", 0xFFFF), ("load_times", "<I", 0xFFFFFFFF),
        ("load_times", "<I", 1 << 20), ("load_step", "<Q", 0), ("load_step", "<Q", 1), ("load_step", "<Q", 1 << 62),
    ],
)  # fmt: skip
def test_a_group_of_the_sdks_layout(tmp_path: Path, field: str, code: str, value: int) -> None:
    path, position = sdk(tmp_path)
    put(path, position + 0x980 + 8 * 32 + LAYOUT_GROUP.offset(field), struct.pack(code, value))
    refused(path, "")


@pytest.mark.parametrize(
    ("field", "code", "value"),
    [("dst", "<Q", 1 << 50), ("dst", "<Q", (1 << 64) - 4), ("src", "<I", 0xFFFFFFFF), ("size", "<I", 0xFFFFFFFF)],
)
def test_a_patch_of_the_sdks_metadata(tmp_path: Path, field: str, code: str, value: int) -> None:
    path, position = sdk(tmp_path)
    put(path, position + 0x900 + PATCH_ENTRY.offset(field), struct.pack(code, value))
    refused(path, "patch_entry")


def test_an_sdk_object_that_is_not_signed_says_so(tmp_path: Path) -> None:
    path = made.sdk_object(tmp_path / "enclave.so")
    signed = path.with_name("enclave.signed.so")
    command = f"`sgx_sign sign -enclave {path} -key KEY.pem -config CONFIG.xml -out {signed}`"
    refused(path, "metadata.magic_num", f"not signed yet? {command} writes the metadata")
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert "SGX_MODE" not in str(caught.value)


def test_an_sdk_object_of_the_simulation_mode_is_to_be_built_anew_before(tmp_path: Path) -> None:
    path = made.sdk_object(tmp_path / "enclave.so", simulation=True)
    refused(path, "metadata.magic_num", "before that, build it anew with SGX_MODE=HW")


def test_metadata_of_a_version_that_is_not_there(tmp_path: Path) -> None:
    path, _ = sdk(tmp_path)
    with pytest.raises(ImageError, match=r"metadata\.version is 2\.4: there are only 1\.4"):
        open_image(path, metadata_version=(2, 4))


@pytest.mark.parametrize(
    ("at", "code", "value", "field"),
    [
        (0, "<I", 0, "header.size"), (0, "<I", 0xFFFFFFFF, "header.size"), (4, "<I", 3, "enclave_type"),
        (8, "<Q", 1 << 60, "num_heap_pages"), (8, "<Q", 1 << 30, "heap"), (16, "<Q", (1 << 64) - 1, "num_stack_pages"),
        (16, "<Q", 1 << 24, "stack"), (24, "<Q", 0, "num_tcs"), (24, "<Q", 1 << 40, "num_tcs"),
    ],
)  # fmt: skip
def test_open_enclaves_properties(copy: Callable[[str], Path], at: int, code: str, value: int, field: str) -> None:
    path = copy("open-enclave")
    properties = path.read_bytes().index(struct.pack("<IIQ", 1960, 2, 3))
    put(path, properties + at, struct.pack(code, value))
    refused(path, field)


@pytest.mark.parametrize("size", [0, 1807, 1809, 1 << 20])
def test_a_sigstruct_of_a_wrong_size(tmp_path: Path, image_file: ImageFile, size: int) -> None:
    path = tmp_path / "wrong.sig"
    path.write_bytes(bytes(size))
    with pytest.raises(ImageError, match="a SIGSTRUCT has 1808 bytes"):
        open_image(image_file("sgxs"), path)
