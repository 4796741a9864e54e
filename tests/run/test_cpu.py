"""`enclu run --cpu`: on this host, and on hosts whose processor is one of AMD's as far as CPUID tells."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.linux import intel_cpu
from tests.run.conftest import Passes
from tests.support import amd_hosts
from tests.support.runs import HANGS, environment, run

LOADER = "/lib64/ld-linux-x86-64.so.2"
ON_AMD = Path(amd_hosts.__file__)


def on_amd(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`enclu run` with these arguments on the host `name`."""
    command = [sys.executable, str(ON_AMD), name, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=HANGS, env=environment(), stdin=subprocess.DEVNULL, check=False
    )


def test_who_looks_for_intels_sgx_finds_it(passes: Passes) -> None:
    passes("intel_sgx", options=("--cpu", "intel"))


@pytest.mark.parametrize("name", amd_hosts.TABLES)
def test_who_looks_for_intels_sgx_finds_it_on_amds_processors(name: str, program: Callable[[str], Path]) -> None:
    done = on_amd(name, "--cpu", "intel", program("intel_sgx"))
    assert done.returncode == 0 and "not ok" not in done.stdout, done.stdout + done.stderr


def test_unless_told_otherwise_the_processor_is_the_hosts(program: Callable[[str], Path]) -> None:
    for options in ((), ("--cpu", "host")):
        done = on_amd("epyc-7713", *options, program("intel_sgx"))
        assert re.search(r"^not ok \d+.* GenuineIntel", done.stdout, re.MULTILINE), done.stdout + done.stderr
        assert re.search(r"^ok \d+.* leaf 7: SGX$", done.stdout, re.MULTILINE)


def answers(name: str) -> list[int]:
    """Sizes of the caches of levels 1 (data), 2 and 3."""
    cpuid = intel_cpu.of(amd_hosts.cpuid(amd_hosts.table(name)))
    sizes = []
    for subleaf in (0, 2, 3):
        _, ebx, ecx, _ = cpuid(4, subleaf)
        sizes.append(((ebx >> 22) + 1) * ((ebx & 0xFFF) + 1) * (ecx + 1))
    return sizes


@pytest.mark.parametrize("name", amd_hosts.TABLES)
def test_the_c_library_takes_the_caches_from_it(name: str) -> None:
    done = on_amd(name, "--cpu", "intel", "/bin/sh", "-c", "for i in 1_D 2_ 3_; do getconf LEVEL${i}CACHE_SIZE; done")
    assert [int(size) for size in done.stdout.split()] == answers(name), done.stderr


@pytest.mark.parametrize("name", amd_hosts.TABLES)
def test_the_c_librarys_thresholds_are_sane(name: str) -> None:
    done = on_amd(name, "--cpu", "intel", LOADER, "--list-tunables")
    found = dict(re.findall(r"^glibc\.cpu\.x86_(\w+): (0x[0-9a-f]+)", done.stdout, re.MULTILINE))
    values = {key: int(value, 16) for key, value in found.items()}
    first, second, third = answers(name)
    assert values["data_cache_size"] == first
    assert third <= values["shared_cache_size"] <= third + second
    assert second // 2 <= values["non_temporal_threshold"] <= third
    assert 2048 <= values["rep_movsb_threshold"] <= values["non_temporal_threshold"]


@pytest.mark.parametrize("name", ["epyc-7742", "epyc-9655"])
@pytest.mark.parametrize("command", [["go", "version"], [sys.executable, "-c", "import hashlib, ssl; print(ssl)"]])
def test_programs_with_processor_dispatch_of_their_own_start(name: str, command: list[str]) -> None:
    path = shutil.which(command[0])
    assert path is not None, f"{command[0]} is missing"
    done = on_amd(name, "--cpu", "intel", path, *command[1:])
    assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_the_apic_id_is_the_supervisors(program: Callable[[str], Path]) -> None:
    first, *_, last = sorted(os.sched_getaffinity(0))
    done = run(program("apic_id"), str(last), preexec_fn=lambda: os.sched_setaffinity(0, {first}))
    assert done.returncode == 0 and "not ok" not in done.stdout, done.stdout + done.stderr


def test_another_processor_is_refused() -> None:
    done = run("true", options=("--cpu", "amd"))
    assert done.returncode == 2 and "'host', 'intel'" in done.stderr
