"""`enclu conform`: the command, reports that are none, the sources for owners of hardware, and what the docs say."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enclu.conform import image, program, table
from tests.support.runs import ROOT, enclu, environment

PART = "leaf/EENTER in"
WARNINGS = ("-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    done = enclu("conform", "--json", "-k", PART)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def reported(tmp_path: Path, document: dict[str, Any]) -> Callable[..., Path]:
    """reported(change): a file with the report, which `change` has had."""

    def write(change: Callable[[dict[str, Any]], object] = lambda document: None) -> Path:
        mine = json.loads(json.dumps(document))
        change(mine)
        path = tmp_path / "report.json"
        path.write_text(json.dumps(mine))
        return path

    return write


def test_the_report_tells_of_processor_and_kernel(document: dict[str, Any]) -> None:
    assert set(document["processor"]) == {"vendor", "brand", "family", "model", "stepping", "microcode"}
    assert set(document["kernel"]) == {"sysname", "release", "version"}


def test_people_get_a_table_of_groups() -> None:
    done = enclu("conform", "-k", PART)
    assert done.returncode == 0
    assert "leaf" in done.stdout and "passes" in done.stdout


def test_a_report_like_what_is_expected_is_told_so(reported: Callable[..., Path]) -> None:
    done = enclu("conform", reported(), "-k", PART)
    assert (done.returncode, done.stderr) == (0, "")
    assert "differs:" not in done.stdout


def test_a_report_that_differs_is_compared_by_what_is_expected_here(reported: Callable[..., Path]) -> None:
    def change(document: dict[str, Any]) -> None:
        document["cases"][0]["observed"] = document["cases"][0]["expected"] = "AEX: #UD"

    done = enclu("conform", reported(change), "-k", PART)
    assert done.returncode == 1
    assert "differs: leaf/EENTER in an enclave\n  expected AEX: #GP" in done.stdout
    assert "observed AEX: #UD" in done.stdout


def test_what_is_not_supported_there_is_no_difference(reported: Callable[..., Path]) -> None:
    path = reported(lambda document: document["cases"][0].update(observed="no SGX2", outcome="not supported"))
    assert enclu("conform", path, "-k", PART).returncode == 0


def test_cases_of_another_version_are_named(reported: Callable[..., Path]) -> None:
    done = enclu("conform", reported(lambda document: document["cases"][0].update(name="of old")), "-k", PART)
    assert "leaf/of old: no such case" in done.stdout
    assert "leaf/EENTER in an enclave: not in the report" in done.stdout


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.clear(),
        lambda document: document.update(format=2),
        lambda document: document.update(program="another"),
        lambda document: document.update(cases={}),
        lambda document: document.update(processor=[]),
        lambda document: document["kernel"].pop("release"),
        lambda document: document["processor"].update(family="6"),
        lambda document: document["cases"].append(3),
        lambda document: document["cases"][0].pop("observed"),
        lambda document: document["cases"][0].update(outcome="accepted"),
        lambda document: document["cases"][0].update(name=None),
        lambda document: document["cases"].append(document["cases"][0]),
    ],
)
def test_garbage_is_refused_in_one_line(
    reported: Callable[..., Path], change: Callable[[dict[str, Any]], object]
) -> None:
    done = enclu("conform", reported(change))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("enclu: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[]", b"[" * 100000, b"{", b'"enclu conform"'])
def test_what_is_no_report_at_all_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    done = enclu("conform", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"enclu: {path}: not a report") and done.stderr.count("\n") == 1


def test_a_report_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = enclu("conform", tmp_path / "none")
    assert (done.returncode, done.stderr) == (2, f"enclu: {tmp_path / 'none'}: No such file or directory\n")


def test_without_gcc_it_says_what_is_missing(tmp_path: Path) -> None:
    done = enclu("conform", "-k", PART, env=environment(PATH=str(tmp_path)))
    assert (done.returncode, done.stderr) == (
        2,
        "enclu: gcc is missing, which compiles the cases: apt-get install gcc\n",
    )


def test_what_was_built_is_built_again_if_somebody_has_changed_it(tmp_path: Path) -> None:
    cache = environment(XDG_CACHE_HOME=str(tmp_path))
    assert enclu("conform", "--list", "-k", PART, env=cache).returncode == 0
    (built,) = tmp_path.rglob("conform/*/conform")
    built.write_bytes(b"#!/bin/sh\necho mine\n")
    assert enclu("conform", "--list", "-k", PART, env=cache).returncode == 0
    assert built.read_bytes().startswith(b"\x7fELF")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = enclu("conform", "--list", env=environment(XDG_CACHE_HOME=str(tmp_path / "file")))
    assert done.returncode == 2
    assert done.stderr.startswith("enclu: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_owners_of_hardware_build_the_sources_with_one_command(tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    assert enclu("conform", "--source", tmp_path / "conform").returncode == 0
    done = subprocess.run(
        [compiler, *WARNINGS, "@build.args", "-o", "conform"], cwd=tmp_path / "conform", capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run([tmp_path / "conform" / "conform", "--list"], capture_output=True, text=True)
    assert json.loads(listed.stdout) == program.claims()


def test_sources_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = enclu("conform", "--source", tmp_path / "file" / "conform")
    assert done.returncode == 2
    assert done.stderr.startswith(f"enclu: {tmp_path / 'file'}") and done.stderr.count("\n") == 1


def test_the_image_is_what_is_made_of_its_source() -> None:
    assert image.OUTPUT.read_text() == image.make()


def test_the_page_has_the_groups_and_their_counts() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text()
    assert table.with_table(page, program.claims()) == page


def test_the_pages_example_of_a_case_is_one() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text()
    example = page.partition("```c\n")[2].partition("```")[0].strip()
    assert any(example in path.read_text() for path in program.sources() if path.suffix == ".c")
