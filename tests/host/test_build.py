"""`enclu build`: enclaves of a user's own C files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import enclu
from enclu.host.build import BuildError, Layout, build_enclave
from enclu.host.images import open_image
from tests.support.runs import enclu as command

SOURCE = """
#include "trusted.h"
#include <stdlib.h>
#include <string.h>
static const char *const words[] = { "one", "two" };
uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	char *copy = malloc(4);

	(void)thread, (void)argument;
	if (copy)
		memcpy(copy, words[function], 4);
	return copy ? copy[0] + NUMBER : 0;
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mine.c"
    path.write_text(SOURCE)
    return path


def test_a_file_of_c_becomes_an_enclave(source: Path) -> None:
    done = command("build", source, "--heap", "64K", "--threads", "2", "--", "-DNUMBER=1", "-Werror")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    image = open_image(source.with_suffix(".elf"))
    assert (len(image.tcs), image.attributes, image.xfrm) == (2, 4, 3)
    heap = [region for region in image.regions() if region.name == "heap"]
    assert [region.size for region in heap] == [65536]


def test_what_it_may_use_is_in_the_image(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "other.elf"
    done = command("build", source, "-o", output, "--spare", "1M", "--avx", "--provision-key", "--", "-D", "NUMBER=1")
    assert done.returncode == 0, done.stderr
    image = open_image(output)
    assert (image.attributes, image.xfrm) == (0x14, 7)
    assert image.reserved[0][1] == 1 << 20


def test_gcc_s_own_words_are_told(source: Path) -> None:
    done = command("build", source)
    assert done.returncode == 1
    assert "mine.c:" in done.stderr
    assert "NUMBER" in done.stderr
    assert not source.with_suffix(".elf").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--heap", "5"), "not a multiple of the page size"),
        (("--stack", "lots"), "'lots' is not a size"),
        (("--threads", "0"), "threads: 0; an enclave has 1 to 256"),
        (("/dev/null/more.c",), "more.c"),
    ],
)
def test_what_cannot_be_built_is_said(source: Path, options: tuple[str, ...], text: str) -> None:
    done = command("build", source, *options)
    assert done.returncode in (1, 2)
    assert text in done.stderr


def test_without_gcc_it_is_said_how_to_get_it(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BuildError, match=r"gcc is missing.*apt-get install gcc"):
        build_enclave([source], source.with_suffix(".elf"), Layout())


def test_the_same_sources_give_the_same_enclave(source: Path, tmp_path: Path) -> None:
    measured = set()
    for name in ("a.elf", "b.elf"):
        build_enclave([source], tmp_path / name, flags=["-DNUMBER=1"])
        measured.add(open_image(tmp_path / name).mrenclave())
    assert len(measured) == 1


def test_headers_and_sources_are_where_enclave_dir_says() -> None:
    found = {path.name for path in enclu.enclave_dir().iterdir()}
    assert {"trusted.h", "sgx.h", "sealing.h", "attestation.h", "entry.S", "enclave.lds"} <= found
