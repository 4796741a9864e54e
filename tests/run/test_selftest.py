"""Linux's own SGX selftest, built unmodified: all of it passes, nothing is skipped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.host.images import open_image
from tests.run.conftest import EncluRun, compile_c
from tests.support.runs import HANGS

TESTS = 16
MEASURES = r"""
#include <stdio.h>
#include "defines.h"
#include "main.h"

int main(void)
{
	struct encl encl;

	if (!encl_load("test_encl.elf", &encl, ENCL_HEAP_SIZE_DEFAULT) || !encl_measure(&encl))
		return 1;
	for (int i = 0; i < 32; i++)
		printf("%02x", ((unsigned char *)&encl.sigstruct.body.mrenclave)[i]);
	return 0;
}
"""
"""What the selftest itself measures its enclave to."""
Selftest = Callable[[str], Path]


def check(output: str) -> None:
    passed = re.findall(r"^ok \d+ (.*)$", output, re.MULTILINE)
    assert len(passed) == TESTS, output
    assert not [name for name in passed if "SKIP" in name], output
    assert not re.search(r"^not ok", output, re.MULTILINE), output
    assert re.search(rf"^# Totals: pass:{TESTS} fail:0 .*skip:0 ", output, re.MULTILINE), output


@pytest.mark.parametrize("options", [(), ("--no-pin",), ("--no-fast-path",)], ids=["pinned", "unpinned", "by stops"])
@pytest.mark.parametrize("link", ["dynamic", "static", "static-pie"])
def test_every_kind_of_link_passes(
    selftest: Selftest, enclu_run: EncluRun, link: str, options: tuple[str, ...]
) -> None:
    program = selftest(link)
    done = enclu_run(program, options=("--epc", "64M", *options), cwd=program.parent, timeout=HANGS)
    check(done.stdout)
    assert done.returncode == 0


def test_passes_with_an_epc_smaller_than_its_enclaves(selftest: Selftest, enclu_run: EncluRun) -> None:
    program = selftest("dynamic")
    done = enclu_run(program, options=("--epc", "16M", "--stats=json"), cwd=program.parent, timeout=HANGS)
    check(done.stdout)
    assert done.returncode == 0
    counters = json.loads(done.stderr.strip().splitlines()[-1])
    assert counters["evictions"] > 0
    assert counters["epc_peak"] <= (16 << 20) // 4096


def test_its_enclave_measures_to_what_it_signs(
    selftest: Selftest, selftest_source: Path, enclu_run: EncluRun, tmp_path: Path
) -> None:
    enclave = selftest("dynamic").with_name("test_encl.elf")
    source, program, s = tmp_path / "measures.c", tmp_path / "measures", selftest_source
    source.write_text(MEASURES)
    compile_c(
        f"-I{s}", f"-I{s.parents[3]}/tools/include", "-z", "noexecstack", source, s / "load.c", s / "sigstruct.c",
        "-Wa,-I" + str(s), s / "sign_key.S", "-o", program, "-lcrypto",
    )  # fmt: skip
    done = enclu_run(program, cwd=enclave.parent)
    assert done.returncode == 0, done.stderr
    image = open_image(enclave)
    assert image.mrenclave().hex() == done.stdout
    assert (image.format, image.tcs) == ("elf", [0, 4096])
