"""The pages of docs/designs: every design has one, which names its ioctls, and whose code compiles and works."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.linux import delivery
from enclu.linux.delivery import usage
from tests.run.conftest import C_SOURCES, ROOT, compile_c

PAGES = ROOT / "docs" / "designs"
HEADER = ROOT / "src" / "enclu" / "include" / "enclu_sgx.h"
REGISTERING = [
    name
    for name, design in ((name, delivery.design(name)) for name in delivery.names())
    if design.registration is not None and isinstance(design.entry, usage.OwnEnclu)
]
PRELUDE = """
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <asm/sgx.h>
#include <ucontext.h>
#include "enclu_sgx.h"
"""
MAIN = """
#include "enclave.h"
int main(void)
{
	struct request add = { .op = OP_ADD, .a = 30, .b = 12 }, fail = { .op = OP_UD2 };
	unsigned long fault[4] = { 0 };
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	if (set_handler(enclave.fd))
		perror("set_handler");
	printf("%d", enter(EENTER, enclave_tcs(&enclave, 0), &add, fault));
	printf(" %d\\n", (int)add.result);
	printf("%d", enter(EENTER, enclave_tcs(&enclave, 0), &fail, fault));
	printf(" %lu %lu %lu %lu\\n", fault[0], fault[1], fault[2], fault[3]);
	return 0;
}
"""


def code(page: str) -> str:
    """The C code of a page."""
    return "\n".join(re.findall(r"^```c\n(.*?)^```$", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", delivery.names())
def test_every_design_has_a_page_that_the_tables_lead_to(name: str) -> None:
    assert (PAGES / f"{name}.md").read_text().startswith(f"# `{name}`\n")
    assert f"| [`{name}`]({name}.md) |" in (PAGES / "README.md").read_text()
    assert f"| `{name}` |" in (ROOT / "README.md").read_text()


def test_the_pages_have_every_ioctl_with_its_number() -> None:
    pages = "".join(page.read_text() for page in PAGES.glob("*.md"))
    found = re.findall(r"#define (ENCLU_SGX_IOC_\w+)\s+_IOW?R?\(ENCLU_SGX_MAGIC, (0x\w+)", HEADER.read_text())
    assert len(found) >= 9
    for ioctl, number in found:
        if ioctl != "ENCLU_SGX_IOC_GET_DELIVERY":
            assert re.search(rf"`{ioctl}`, `_IOW?R?\(0xA4, {number}\)`", pages), ioctl
        assert ioctl in pages


@pytest.mark.parametrize("page", sorted(page.name for page in PAGES.glob("*.md")))
def test_the_code_of_the_pages_compiles(page: str, tmp_path: Path) -> None:
    source = tmp_path / "snippet.c"
    shared = code("README.md") if page != "README.md" else ""
    assert code(page)
    source.write_text(PRELUDE + shared + code(page))
    compile_c("-Wall", "-Wextra", "-Werror", "-O1", "-I", HEADER.parent, "-c", source, "-o", tmp_path / "snippet.o")


@pytest.mark.parametrize("name", REGISTERING)
def test_the_code_of_the_pages_works(
    name: str, tmp_path: Path, library: list[Path], enclu_run: Callable[..., subprocess.CompletedProcess[str]],
    enclave_environment: dict[str, str],
) -> None:  # fmt: skip
    source, program = tmp_path / "snippet.c", tmp_path / "snippet"
    source.write_text(PRELUDE + code("README.md") + code(f"{name}.md") + MAIN)
    compile_c("-O1", "-I", C_SOURCES, "-I", HEADER.parent, source, *library, "-o", program, "-lcrypto")
    done = enclu_run(program, options=("--delivery", name), env=enclave_environment)
    assert (done.stdout, done.stderr) == ("0 42\n1 3 6 0 0\n", "")
