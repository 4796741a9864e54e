"""MRENCLAVE of every format: as the machine's own leaves measure the pages, and as the loaders' rules say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.host.images import ElfImage, IntelSdkImage, OpenEnclaveImage, SgxsImage, open_image
from enclu.host.images.sdk_metadata import LAYOUT_ENTRY
from enclu.sgx.structs import SIGSTRUCT
from tests.support import enclave_images as made
from tests.support.enclave_images import ALL, PAGE, REG_RW, REG_RX, TCS_PAGE

ImageFile = Callable[[str], Path]


@pytest.mark.parametrize("name", ["elf", "sgxs", "intel-sdk", "open-enclave"])
def test_the_machines_leaves_measure_and_einit_accepts_the_same(image_file: ImageFile, name: str) -> None:
    image = open_image(image_file(name))
    _, digest = made.loaded(image)
    assert image.format == name
    assert image.mrenclave() == digest


@pytest.mark.parametrize("name", ["elf", "sgxs", "intel-sdk", "open-enclave"])
def test_pages_are_whole_and_within_elrange(image_file: ImageFile, name: str) -> None:
    image = open_image(image_file(name))
    for run in image.pages():
        assert run.data and not len(run.data) % PAGE and not run.offset % PAGE
        assert run.offset + len(run.data) <= image.size
    assert image.tcs and all(offset < image.size for offset in image.tcs)


def test_an_sgx_stream_hashes_to_its_mrenclave_without_what_is_not_measured(image_file: ImageFile) -> None:
    image = open_image(image_file("sgxs"))
    assert isinstance(image, SgxsImage) and image.canonical
    assert image.mrenclave() == made.mrenclave_of(made.SMALL, made.SMALL_SIZE)
    runs = [(r.offset, bytes(r.data), r.flags, r.measured) for r in image.pages()]
    flat = [(o + at, d[at : at + PAGE], f, m) for o, d, f, m in runs for at in range(0, len(d), PAGE)]
    assert flat == made.SMALL


def test_a_long_sgx_stream_comes_in_runs(tmp_path: Path) -> None:
    pages = [(0, made.tcs_page(), TCS_PAGE, ALL)]
    pages += [(PAGE * i, bytes([i % 251]) * PAGE, REG_RX, ALL) for i in range(1, 700)]
    pages += [(PAGE * i, bytes(PAGE), REG_RW, 0) for i in range(700, 1000)]
    path = tmp_path / "long.sgxs"
    path.write_bytes(made.sgxs(pages, 1 << 22))
    image = open_image(path)
    runs = list(image.pages())
    assert image.mrenclave() == made.mrenclave_of(pages, 1 << 22) == made.loaded(image)[1]
    assert len(runs) < 10
    assert b"".join(bytes(r.data) for r in runs) == b"".join(content for _, content, _, _ in pages)


def test_a_stream_out_of_order_is_measured_in_its_own_order(tmp_path: Path) -> None:
    stream = made.sgxs()
    later, first = stream[64:], stream[:64]
    tcs = later[: 64 + 16 * 320]
    path = tmp_path / "reversed.sgxs"
    path.write_bytes(first + later[len(tcs) :] + tcs)
    image = open_image(path)
    assert isinstance(image, SgxsImage) and not image.canonical
    assert image.mrenclave() == made.mrenclave_of([*made.SMALL[1:], made.SMALL[0]], made.SMALL_SIZE)
    assert image.tcs == [0]


def test_chunks_of_a_page_may_come_in_any_order(tmp_path: Path) -> None:
    page = made.sgxs([(0x2000, bytes(range(256)) * 16, REG_RX, ALL)], made.SMALL_SIZE)
    create, add, chunks = page[:64], page[64:128], page[128:]
    swapped = chunks[320:640] + chunks[:320] + chunks[640:]
    path = tmp_path / "swapped.sgxs"
    path.write_bytes(create + add + swapped)
    image = open_image(path)
    assert isinstance(image, SgxsImage) and not image.in_order
    import hashlib

    assert image.mrenclave() == hashlib.sha256(create + add + swapped).digest()
    assert b"".join(bytes(r.data) for r in image.pages()) == bytes(range(256)) * 16


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_an_sdk_image_is_segments_patched_then_the_layout_with_its_groups(tmp_path: Path, threads: int) -> None:
    path = made.sdk_image(tmp_path / "enclave.so", threads)
    image = open_image(path)
    assert isinstance(image, IntelSdkImage)
    assert image.sigstruct is not None
    assert image.mrenclave() == SIGSTRUCT.get(image.sigstruct, "ENCLAVEHASH")
    assert len(image.tcs) == threads
    assert (image.tcs_policy, image.tcs_min_pool, image.ssa_frame_size) == (1, 1, 1)
    _, _, end = made.sdk_place(path)
    assert image.reserved == [(end + 2 * PAGE, 3 * PAGE)]


def test_text_relocations_make_pages_writable_also_across_a_boundary(tmp_path: Path) -> None:
    image = open_image(made.sdk_image(tmp_path / "enclave.so", text_relocation=True))
    assert isinstance(image, IntelSdkImage) and image.text_relocations
    assert image.sigstruct is not None
    assert image.mrenclave() == SIGSTRUCT.get(image.sigstruct, "ENCLAVEHASH")
    assert sum(len(run.data) for run in image.pages() if run.flags & 7 == 7) == 2 * PAGE


def test_the_newest_metadata_that_is_not_2_x_is_taken_and_others_on_demand(tmp_path: Path) -> None:
    path = made.sdk_object(tmp_path / "enclave.so")
    position, patch_at, end = made.sdk_place(path)
    versions = [((2, 4), 3), ((1, 4), 1), ((3, 3), 2), ((1, 5), 4)]
    for i, (version, threads) in enumerate(versions):
        layout = made.sdk_layout(end, threads)
        made.put(path, position + i * 0x1000, made.sdk_metadata(layout, patch_at, version))
    image = open_image(path)
    assert isinstance(image, IntelSdkImage)
    assert (image.metadata.version, len(image.tcs)) == ((3, 3), 2)
    for version, threads in versions:
        assert len(open_image(path, metadata_version=version).tcs) == threads
    assert [len(other.tcs) for other in image.other_versions()] == [3, 1, 4]


def test_sdk_1_5_adds_a_page_where_the_size_of_a_segment_rounds_further_than_its_end(tmp_path: Path) -> None:
    start, size = made.last_segment(made.sdk_object(tmp_path / "plain.so"))
    assert start % PAGE > 8
    path = made.sdk_object(tmp_path / "enclave.so", bss=0x2345 + PAGE - size % PAGE + 8)
    position, patch_at, end = made.sdk_place(path)
    pages = {}
    for version in ((1, 3), (1, 4)):
        made.put(path, position, made.sdk_metadata(made.sdk_layout(end + PAGE), patch_at, version))
        image = open_image(path)
        pages[version] = {run.offset + at for run in image.pages() for at in range(0, len(run.data), PAGE)}
    assert pages[1, 3] - pages[1, 4] == {end}


def test_elrange_that_the_metadata_sets_shifts_everything(tmp_path: Path) -> None:
    plain = open_image(made.sdk_image(tmp_path / "plain.so"))
    path = made.sdk_object(tmp_path / "enclave.so")
    position, patch_at, end = made.sdk_place(path)
    elrange = {"elrange_offset": 0xE00, "elrange_size": 24}
    data = bytearray(made.sdk_metadata(made.sdk_layout(end), patch_at, (11, 4), b"", **elrange))
    data[0xE00:0xE18] = (0x200000).to_bytes(8, "little") + bytes(8) + (0x400000).to_bytes(8, "little")
    made.put(path, position, bytes(data))
    image = open_image(path)
    assert (image.size, image.base) == (0x400000, 0)
    assert image.tcs == [offset + 0x200000 for offset in plain.tcs]


def test_an_open_enclave_image_is_what_its_loader_makes_of_it(image_file: ImageFile) -> None:
    path = image_file("open-enclave")
    image = open_image(path)
    assert isinstance(image, OpenEnclaveImage)
    pages, size = made.oe_pages(path)
    assert image.size == size
    assert image.mrenclave() == made.mrenclave_of(pages, size)
    assert (image.misc_select, image.attributes, image.sigstruct) == (1, 6, None)


def test_our_own_image_has_the_heap_and_the_addresses_of_its_note(image_file: ImageFile) -> None:
    image = open_image(image_file("elf"))
    assert isinstance(image, ElfImage)
    regions = {r.name: r for r in image.regions()}
    assert (regions["heap"].size, regions["heap"].measured) == (3 * PAGE, 0)
    assert image.reserved == [(regions["heap"].offset + 3 * PAGE, 2 * PAGE)]
    assert image.tcs == [0, PAGE]


def test_a_declared_heap_takes_no_memory(tmp_path: Path) -> None:
    path = made.sdk_object(tmp_path / "enclave.so")
    position, patch_at, end = made.sdk_place(path)
    layout = made.sdk_layout(end)
    heap = LAYOUT_ENTRY.pack(id=2, attributes=made.EADD, page_count=1 << 18, rva=1 << 30, si_flags=REG_RW)
    made.put(path, position, made.sdk_metadata([*layout, heap], patch_at, enclave_size=1 << 31))
    runs = [run for run in open_image(path).pages() if run.offset >= 1 << 30]
    assert sum(len(run.data) for run in runs) == 1 << 30
    assert len({id(run.data.obj) for run in runs}) == 1
