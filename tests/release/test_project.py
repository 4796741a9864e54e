"""What is said of the project as a whole: licences, versions, names; what its commands install."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import enclu
from tests.release.conftest import ROOT

FOLDERS = ("LICENSES", "docs", "examples", "scenarios", "src")
WORDS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])


def test_the_licence_is_apache_2_0_in_full() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text)
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_user_space_header_may_be_used_as_the_kernels_may() -> None:
    first = (enclu.include_dir() / "enclu_sgx.h").read_text().partition("\n")[0]
    assert first == "/* SPDX-License-Identifier: Apache-2.0 OR (GPL-2.0 WITH Linux-syscall-note) */"
    for name, words in (("GPL-2.0", "Version 2, June 1991"), ("Linux-syscall-note", "does *not* cover user programs")):
        assert words in (ROOT / "LICENSES" / f"{name}.txt").read_text()


def test_the_changelog_has_the_version_and_what_comes_next() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert enclu.__version__ == headings[1][0]
    assert all(date for _, date in headings[1:])


@pytest.mark.parametrize("path", WORDS, ids=[str(p.relative_to(ROOT)) for p in WORDS])
def test_no_page_has_enclu_come_from_an_index_of_packages(path: Path) -> None:
    assert re.findall(r"pip3? install [^`\n]*(?<![\w./-])enclu(?![\w./*-])", path.read_text()) == []


@pytest.mark.parametrize("path", WORDS, ids=[str(p.relative_to(ROOT)) for p in WORDS])
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


def packages(goal: str) -> set[str]:
    """What `make goal` would have Debian install."""
    done = subprocess.run(["make", "-n", goal], cwd=ROOT, capture_output=True, text=True, check=True)
    found = re.search(r"for p in (.+); do", done.stdout)
    assert found, done.stdout
    return set(found[1].split())


def test_each_command_installs_what_it_needs_and_no_more() -> None:
    assert packages("demo") == {"gcc", "libc6-dev", "libssl-dev", "python3-venv"}
    assert packages("compare") > packages("demo")
    assert packages("test") > packages("compare")
    assert {"chromium", "gdb", "linux-source"} & packages("compare") == set()


def test_what_scenarios_need_is_installed_for_them() -> None:
    text = "".join(path.read_text() for path in (ROOT / "scenarios").glob("*/scenario.toml"))
    named = {
        name
        for line in re.findall(r"^packages = \[(.+)\]$", text, re.MULTILINE)
        for name in re.findall(r'"(.+?)"', line)
    }
    assert named and named <= packages("compare")
