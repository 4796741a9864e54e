"""Linux's own SGX selftest, built unmodified: all of it passes, nothing is skipped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = 16
Selftest = Callable[[str], Path]


def check(output: str) -> None:
    passed = re.findall(r"^ok \d+ (.*)$", output, re.MULTILINE)
    assert len(passed) == TESTS, output
    assert not [name for name in passed if "SKIP" in name], output
    assert not re.search(r"^not ok", output, re.MULTILINE), output
    assert re.search(rf"^# Totals: pass:{TESTS} fail:0 .*skip:0 ", output, re.MULTILINE), output


@pytest.mark.parametrize("options", [(), ("--no-pin",)], ids=["pinned", "unpinned"])
@pytest.mark.parametrize("link", ["dynamic", "static", "static-pie"])
def test_every_kind_of_link_passes(
    selftest: Selftest, enclu_run: Callable, link: str, options: tuple[str, ...]
) -> None:
    program = selftest(link)
    done = enclu_run(program, options=options, cwd=program.parent, timeout=100)
    check(done.stdout)
    assert done.returncode == 0


def test_passes_with_an_epc_smaller_than_its_enclaves(selftest: Selftest, enclu_run: Callable) -> None:
    program = selftest("dynamic")
    done = enclu_run(program, options=("--epc", "16M", "--stats=json"), cwd=program.parent, timeout=110)
    check(done.stdout)
    assert done.returncode == 0
    counters = json.loads(done.stderr.strip().splitlines()[-1])
    assert counters["evictions"] > 0
    assert counters["epc_peak"] <= (16 << 20) // 4096
