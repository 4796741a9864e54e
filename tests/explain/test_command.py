"""`enclu explain` on the command line."""

from __future__ import annotations

from pathlib import Path

from tests.explain.conftest import Explain


def test_the_page_is_written_where_one_is(explain: Explain, tmp_path: Path) -> None:
    done = explain("vdso", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "explain.html: open it in a browser\n")
    page = (tmp_path / "explain.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "<code>vdso</code>" in page and "mm-handler" not in page


def test_two_designs_are_compared_when_they_are_the_threads_question(page: Path, explain: Explain) -> None:
    assert "In one minute" in page.read_text()
    done = explain("-o", "-", "vdso", "signal")
    assert done.stdout.startswith("<!DOCTYPE html>") and "In one minute" not in done.stdout


def test_a_setting_is_a_design_of_its_own(explain: Explain) -> None:
    page = explain("-o", "-", "mm-handler:write-once").stdout
    assert "refused: EBUSY" in page and "a handler is registered" in page


def test_an_unknown_design_is_said_in_one_line(explain: Explain) -> None:
    done = explain("nonsense")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("enclu: unknown design 'nonsense'; known: signal, vdso-2018,")
    assert len(done.stderr.splitlines()) == 1


def test_where_nothing_can_be_written_is_said_in_one_line(explain: Explain) -> None:
    done = explain("-o", "/nowhere/page.html", "vdso")
    assert (done.returncode, done.stderr) == (1, "enclu: /nowhere/page.html: No such file or directory\n")


def test_the_help_has_examples(explain: Explain) -> None:
    assert "enclu explain mm-handler vdso " in explain("--help").stdout
