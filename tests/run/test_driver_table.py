"""docs/driver.md: every path names functions of ours, of the kernel's that our code cites, and tests that exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINUX = ROOT / "src" / "enclu" / "linux"
ROWS = [
    [cell.strip() for cell in line.strip("|\n ").split(" | ")]
    for line in (ROOT / "docs" / "driver.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| path"))
]
every_path = pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])


def names(cell: str) -> list[str]:
    found = re.findall(r"`([^`]+)`", cell)
    assert found, "nothing is named"
    return found


@functools.cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@functools.cache
def cited() -> str:
    """Code that may cite functions of the kernel's."""
    return "".join(path.read_text() for path in sorted(LINUX.rglob("*.py")))


@every_path
def test_a_path_has_all_its_columns(row: list[str]) -> None:
    assert len(row) == 5 and all(row)


@every_path
def test_the_kernels_functions_are_cited_where_they_are_followed(row: list[str]) -> None:
    missing = [name for name in names(row[1]) if not re.search(rf"\b{name}\b", cited())]
    assert not missing


@every_path
def test_our_functions_exist(row: list[str]) -> None:
    for name in names(row[2]):
        file, function = name.split(": ")
        assert function in functions(LINUX / file), name


@every_path
def test_its_tests_exist(row: list[str]) -> None:
    tests = {name for path in (ROOT / "tests").rglob("test_*.py") for name in functions(path)}
    programs = functions_of_programs()
    missing = [name for name in names(row[4]) if name not in tests and name not in programs]
    assert not missing


@functools.cache
def functions_of_programs() -> set[str]:
    """Programs that some test runs."""
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return {p.stem for p in (ROOT / "tests" / "c" / "programs").glob("*.c") if f'"{p.stem}"' in sources}


def test_every_ioctl_of_the_header_is_a_path() -> None:
    from enclu.linux import uapi

    paths = " ".join(row[0] for row in ROWS)
    for name in vars(uapi):
        if name.startswith("SGX_IOC_ENCLAVE_"):
            number = getattr(uapi, name) & 0xFF
            assert f"{number:#04x} {name.removeprefix('SGX_IOC_ENCLAVE_')}" in paths
