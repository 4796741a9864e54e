"""The cases of `enclu conform` on the machine in software, and on machines that are wrong on purpose."""

from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from enclu.conform import accepted, program
from enclu.conform.report import Case, Outcome, Report, parsed
from tests.support import wrong_driver
from tests.support.runs import HANGS, ROOT, environment
from tests.support.wrong_machine import MISTAKES

WAYS = {
    "vdso": ("--delivery", "vdso"), "vdso-slow": ("--delivery", "vdso", "--no-fast-path"),
    "signal": ("--delivery", "signal"), "signal-slow": ("--delivery", "signal", "--no-fast-path"),
}  # fmt: skip
CAUGHT_BY = {
    "eenter_forgets_the_return_address": "entered/RCX is the address behind ENCLU",
    "eenter_takes_any_alignment": "eenter/RBX not page aligned",
    "eexit_clears_rdx": "eexit/RDX is kept",
    "aex_reports_gp_without_exinfo": "exception/#GP by HLT: EXITINFO without MISCSELECT.EXINFO",
    "aex_saves_no_rf": "exception/INT3 after an opt-out entry: RF in the SSA",
    "aex_leaves_avx": "after-aex/#UD by UD2: AVX in XFRM",
    "aex_leaves_rdi": "after-aex/#PF by a read: RDX, RSI, RDI and R8 to R15",
    "int1_is_a_trap": "exception/INT1 after an opt-out entry: vector, error code and address",
    "eresume_restores_no_carry": "eresume/CF is restored",
    "frames_are_asked_no_epcm": "eresume/SSA restricted to read by EMODPR",
    "edeccssa_does_nothing": "edeccssa/CSSA 1 becomes 0",
    "egetkey_knows_a_sixth_key": "egetkey/KEYNAME 5",
    "ereport_takes_reserved_bytes": "ereport/TARGETINFO byte 511 is reserved",
    "eaccept_keeps_zf": "eaccept/as one that is read",
    "eacceptcopy_ignores_permissions": "eacceptcopy/permissions are SECINFO's: read only",
    "eacceptcopy_only_reads": "operand/EACCEPTCOPY, the page, mapped to be read",
    "operands_are_asked_no_epcm": "operand/EREPORT, TARGETINFO, restricted to nothing by EMODPR",
    "emodpe_extends_a_tcs": "emodpe/a TCS",
    "the_kernel_maps_more_than_was_added": "may-map/a page added r--: mmap rw-",
    "remove_pages_needs_no_eaccept": "sgx2/REMOVE_PAGES: trimmed, but not accepted",
    **{name: each.case for name, each in wrong_driver.MISTAKES.items()},
}
"""Mistake -> the case that is about it."""


def differing(report: Report) -> list[Case]:
    return [case for case in report.cases if case.outcome is Outcome.DIFFERS]


@pytest.fixture(scope="module", params=WAYS)
def report(request: pytest.FixtureRequest) -> Report:
    return program.run(WAYS[request.param]).on_the_machine_in_software()


def test_every_case_is_as_expected_or_known_to_differ(report: Report) -> None:
    assert [f"{c.full_name}: {c.observed}, not {c.expected}" for c in differing(report)] == []
    assert sum(case.outcome is Outcome.PASSES for case in report.cases) > 300


def test_what_is_known_to_differ_are_cases() -> None:
    names = [f"{each['group']}/{each['name']}" for each in program.claims()["cases"]]
    assert [p for p in accepted.ACCEPTED if not any(fnmatchcase(name, p) for name in names)] == []


def test_what_is_known_to_differ_has_a_row_in_fidelity() -> None:
    page = (ROOT / "docs" / "fidelity.md").read_text()
    assert [row for _, row in accepted.ACCEPTED.values() if f"\n| {row}" not in page] == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_machine_is_caught_by_the_case_about_it(mistake: str) -> None:
    name = CAUGHT_BY[mistake]
    command = [sys.executable, "-m", "tests.support.wrong_machine", mistake, "run", "--quiet", "--no-fast-path"]
    done = subprocess.run(
        [*command, str(program.build()), name],
        capture_output=True,
        text=True,
        timeout=HANGS,
        env=environment(),
        cwd=ROOT,
    )
    assert done.returncode == 1, done.stderr
    assert [case.full_name for case in differing(parsed(done.stdout, mistake))] == [name]


def test_without_sgx_nothing_of_it_is_supported_and_nothing_fails() -> None:
    done = subprocess.run([program.build(), "eexit/"], capture_output=True, text=True, timeout=HANGS)
    report = parsed(done.stdout, "the host")
    assert {case.outcome for case in report.cases} == {Outcome.NOT_SUPPORTED}
    assert done.returncode == 0


def test_names_sources_and_expectations_are_there_for_every_case() -> None:
    listed = program.claims()["cases"]
    assert len({(each["group"], each["name"]) for each in listed}) == len(listed)
    assert all(
        each["name"] and each["expected"] and ("SDM" in each["source"] or "Linux" in each["source"]) for each in listed
    )
    assert all(each["group"] in program.claims()["groups"] for each in listed)


@pytest.mark.parametrize("arguments", [("-x",), ("a", "b"), ("--list", "a", "b")])
def test_the_program_explains_its_arguments(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([program.build(), *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: conform")


def test_what_cannot_be_written_is_no_success() -> None:
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([program.build(), "--list"], stdout=full).returncode == 2


def test_the_list_needs_no_machine_and_is_json() -> None:
    done = subprocess.run([program.build(), "--list", "eexit/"], capture_output=True, text=True)
    assert {each["group"] for each in json.loads(done.stdout)["cases"]} == {"eexit"}
