"""`enclu quote`, as users type it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.host.attestation.forge import Parts
from tests.host.attestation.test_local import MAKE_REPORT
from tests.support.runs import enclu


@pytest.fixture(scope="module")
def made(app: Path, home: Path) -> Path:
    """A folder with a quote and what verifies it."""
    folder = home / "quotes"
    folder.mkdir()
    quote = folder / "quote.bin"
    done = enclu("quote", "make", app, "--by", str(MAKE_REPORT), "--data", "key 7", "--machine", "command", "-o", quote)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (folder / "root.pem").write_text(enclu("quote", "root", "--machine", "command").stdout)
    assert enclu("quote", "collateral", "--machine", "command", "-o", folder / "collateral").returncode == 0
    return folder


def verify(folder: Path, *options: Any) -> tuple[int, dict[str, bool | None]]:
    """The exit status, and how each check went."""
    done = enclu("quote", "verify", folder / "quote.bin", "--json", *options)
    found = json.loads(done.stdout)
    assert found["good"] == (done.returncode == 0)
    return done.returncode, {check["name"]: check["good"] for check in found["checks"]}


def test_a_quote_is_verified_by_its_machine_s_root(made: Path) -> None:
    status, checks = verify(
        made, "--root", made / "root.pem", "--collateral", made / "collateral", "--report-data", b"key 7".hex()
    )
    assert status == 0
    assert checks["quote"] and checks["TCB"] and checks["QE"] and checks["REPORTDATA"]


def test_a_machine_s_name_stands_for_its_root(made: Path) -> None:
    assert verify(made, "--machine", "command")[0] == 0
    status, checks = verify(made, "--machine", "another")
    assert status == 1
    assert checks["certificate chain"] is False


def test_without_a_root_nothing_is_believed(made: Path) -> None:
    done = enclu("quote", "verify", made / "quote.bin")
    assert done.returncode == 1
    assert "FAIL  root: no root is trusted unless you name it" in done.stdout
    assert done.stdout.endswith("the quote is NOT to be believed\n")


@pytest.mark.parametrize(
    ("options", "check"),
    [
        (("--mrenclave", "00" * 32), "MRENCLAVE"),
        (("--mrsigner", "00" * 32), "MRSIGNER"),
        (("--isvprodid", "1"), "ISVPRODID"),
        (("--min-isvsvn", "2"), "ISVSVN"),
        (("--report-data", b"key 8".hex()), "REPORTDATA"),
        (("--at", "2051-01-01"), "certificate chain"),
    ],
)
def test_what_is_not_as_expected_is_said(made: Path, options: tuple[str, ...], check: str) -> None:
    status, checks = verify(made, "--machine", "command", *options)
    assert status == 1
    assert [name for name, good in checks.items() if good is False] == [check]


def test_a_page_about_a_quote(made: Path) -> None:
    text = enclu("quote", "inspect", made / "quote.bin").stdout
    assert b"key 7".hex() in text
    whole = json.loads(enclu("quote", "inspect", made / "quote.bin", "--json").stdout)
    assert bytes.fromhex(whole["report"]["reportdata"]).rstrip(b"\0") == b"key 7"
    assert whole["certification_data"].startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("verify", "/dev/null/quote.bin"), 1, "/dev/null/quote.bin: Not a directory"),
        (("verify", "/dev/null"), 1, "/dev/null: size of the header is 48: the quote ends 48 bytes earlier"),
        (("inspect", "/dev/null"), 1, "/dev/null: size of the header"),
        (("verify", "/dev/null", "--mrenclave", "00"), 2, "1 bytes; 32 are needed"),
        (("verify", "/dev/null", "--mrsigner", "xy"), 2, "'xy' is not made of hexadecimal digits"),
        (("verify", "/dev/null", "--at", "yesterday"), 2, "'yesterday' is no time"),
        (("verify", "/dev/null", "--root", "/dev/null/root.pem"), 2, "/dev/null/root.pem"),
        (("root", "--machine", "../x"), 1, "machine name '../x'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: tuple[str, ...], status: int, text: str) -> None:
    done = enclu("quote", *arguments)
    assert done.returncode == status
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("enclu: ")


def test_two_roots_at_once_are_refused(made: Path) -> None:
    done = enclu("quote", "verify", made / "quote.bin", "--root", made / "root.pem", "--machine", "command")
    assert (done.returncode, "--root and --machine" in done.stderr) == (2, True)


def test_a_root_that_is_no_certificate_is_said(made: Path, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text("nothing")
    done = enclu("quote", "verify", made / "quote.bin", "--root", tmp_path / "root.pem")
    assert done.returncode == 1
    assert "root.pem: not a readable certificate chain in PEM" in done.stderr


def test_a_quote_by_somebody_else_is_read_as_well(tmp_path: Path) -> None:
    (tmp_path / "quote.bin").write_bytes(Parts().make())
    assert "type 5 (PCK_CHAIN)" in enclu("quote", "inspect", tmp_path / "quote.bin").stdout
