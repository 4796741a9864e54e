"""`enclu check`, `--help` and `--version`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from enclu import __version__
from enclu.run import host_check
from tests.support.runs import DENIED, ENCLU, HANGS, enclu, environment

PTRACE, SECCOMP, SETAFFINITY, EPERM = 101, 317, 203, 1


def test_this_machine_is_fit() -> None:
    done = enclu("check")
    assert done.returncode == 0
    assert "FAIL" not in done.stdout and "trial run" in done.stdout


def test_everything_is_looked_at() -> None:
    done = enclu("check", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["works"] is True
    assert {finding["name"] for finding in report["findings"]} == {
        "kernel", "/proc", "yama", "seccomp", "vDSO", "system calls", "threads", "trial run", "FSGSBASE", "transitions",
        "CPUID faulting", "real SGX", "ENCLU", "memory", "processors", "open files", "file size",
    }  # fmt: skip
    assert all(finding["text"] for finding in report["findings"])


def denied(number: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*DENIED, str(number), str(EPERM), *ENCLU, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False, env=environment())


@pytest.mark.parametrize(("number", "words"), [(PTRACE, "may not trace"), (SECCOMP, "may not filter system calls")])
def test_what_is_denied_fails_with_a_repair(number: int, words: str) -> None:
    done = denied(number, "check")
    assert done.returncode == 1
    at = done.stdout.index("FAIL  system calls")
    failure, repair = done.stdout[at:].splitlines()[:2]
    assert words in failure and "docker run" in repair
    report = json.loads(denied(number, "check", "--json").stdout)
    assert report["works"] is False
    assert [f["name"] for f in report["findings"] if f["good"] is False] == ["system calls"]


def test_threads_that_cannot_be_pinned_are_worth_a_note() -> None:
    report = json.loads(denied(SETAFFINITY, "check", "--json").stdout)
    (finding,) = (f for f in report["findings"] if f["name"] == "processors")
    assert finding["good"] is None and "sched_setaffinity" in finding["repair"]
    assert report["works"] is True


@pytest.mark.parametrize(
    ("scope", "capable", "good"),
    [(0, False, True), (1, False, True), (2, True, True), (2, False, False), (3, True, False)],
)
def test_yama_decides_by_scope_and_capability(
    scope: int, capable: bool, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ptrace_scope"
    file.write_text(f"{scope}\n")
    monkeypatch.setattr(host_check, "capable", lambda capability: capable)
    finding = host_check.yama(file)
    assert finding.good is good and str(scope) in finding.text
    assert bool(finding.repair) is not good


def test_a_kernel_without_yama_is_fine(tmp_path: Path) -> None:
    assert host_check.yama(tmp_path / "none").good is True


@pytest.mark.parametrize(
    ("release", "good"),
    [("6.1.0-18-amd64", True), ("4.17", True), ("4.16.9", False), ("3.10.0-1160.el7", False), ("odd", None)],
)
def test_the_age_of_the_kernel_counts(release: str, good: bool | None) -> None:
    assert host_check.kernel(release).good is good


def test_seccomp_must_be_able_to_call_a_tracer(tmp_path: Path) -> None:
    actions = tmp_path / "actions_avail"
    actions.write_text("kill_process errno trace log allow\n")
    assert host_check.seccomp(actions).good is True
    actions.write_text("kill_thread errno allow\n")
    assert host_check.seccomp(actions).good is False


def test_a_trial_that_hangs_or_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_check, "TRIAL_SECONDS", 0.2)
    assert "did not end" in host_check.trial([sys.executable, "-c", "import time; time.sleep(60)"]).text
    monkeypatch.undo()
    finding = host_check.trial([sys.executable, "-c", "raise SystemExit('enclu: no luck today')"])
    assert (finding.good, finding.text) == (False, "no luck today")


def test_the_version_is_the_packages() -> None:
    assert enclu("--version").stdout == f"enclu, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--help",), ["enclu run ./my_sgx_app", "enclu check", "Nothing in an enclave is protected"]),
        (("run", "--help"), ["enclu run --epc 16M --stats ./my_sgx_app", "mm-handler", "Exit status", "126"]),
        (("check", "--help"), ["enclu check --json", "FAIL"]),
        (("-h",), ["enclu run ./my_sgx_app"]),
    ],
)
def test_help_teaches_by_examples(arguments: tuple[str, ...], words: list[str]) -> None:
    done = enclu(*arguments)
    assert done.returncode == 0
    for word in words:
        assert word in done.stdout


@pytest.mark.parametrize(
    ("code", "good", "words"),
    [
        ("0f0b", True, "does not know it"),  # ud2
        ("f4", True, "SGX is enabled beneath"),  # hlt: #GP
        ("31c0 8b00", True, "SGX is enabled beneath"),  # a read of address 0: #PF
        ("ebfe", False, "for ever"),  # a jump to itself
        ("c3", False, "executes it"),  # ret
    ],
)
def test_what_the_processor_makes_of_enclu_is_told(code: str, good: bool, words: str) -> None:
    finding = host_check.enclu_instruction(bytes.fromhex(code))
    assert finding.good is good and words in finding.text
    assert good or "Linux 5.11" in finding.repair
