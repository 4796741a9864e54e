"""enclu measure, inspect and sign, as people use them."""

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from enclu.host.images import open_image
from enclu.host.signing import mrsigner
from enclu.sgx.structs import SIGSTRUCT
from tests.support import enclave_images as made

ROOT = Path(__file__).resolve().parents[3]
FORMATS = ["elf", "sgxs", "intel-sdk", "open-enclave"]
ImageFile = Callable[[str], Path]


def enclu(*arguments: object, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Its status is this, and errors are one line."""
    command = [sys.executable, "-m", "enclu.cli.main", *map(str, arguments)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables, stdin=subprocess.DEVNULL)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr.count("\n") == (1 if status else 0)
    return done


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(made.key().private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return path


@pytest.fixture
def copy(tmp_path: Path, image_file: ImageFile) -> ImageFile:
    def make(name: str) -> Path:
        path = tmp_path / f"enclave-{name}"
        path.write_bytes(image_file(name).read_bytes())
        return path

    return make


@pytest.mark.parametrize("name", FORMATS)
def test_measure_prints_mrenclave_alone(image_file: ImageFile, name: str) -> None:
    path = image_file(name)
    assert enclu("measure", path).stdout == f"{open_image(path).mrenclave().hex()}\n"


@pytest.mark.parametrize("name", FORMATS)
def test_sign_then_measure_and_inspect_agree(copy: ImageFile, key_file: Path, name: str) -> None:
    path = copy(name)
    done = enclu("sign", path, "--key", key_file, "--product", 7, "--svn", "0x10", "--json")
    told = json.loads(done.stdout)
    measured = json.loads(enclu("measure", path, "--json").stdout)
    assert measured["agrees"] is True and measured["mrenclave"] == told["MRENCLAVE"] == measured["sigstruct"]
    page = json.loads(enclu("inspect", path, "--json").stdout)
    assert page["sigstruct"]["valid"] and page["sigstruct"]["mrsigner"] == told["MRSIGNER"]
    assert (page["sigstruct"]["product"], page["sigstruct"]["svn"], page["format"]) == (7, 16, name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_changed_image_fails_measure_and_inspect(copy: ImageFile, key_file: Path, name: str) -> None:
    path = copy(name)
    enclu("sign", path, "--key", key_file)
    image = open_image(path)
    code = next(r for r in image.regions() if r.flags & 4)
    at = path.read_bytes().index(bytes(code.content[:256])) + (100 if name == "elf" else 0)
    made.put(path, at, bytes([path.read_bytes()[at] ^ 1]))
    done = enclu("measure", path, status=1)
    assert done.stdout == f"{open_image(path).mrenclave().hex()}\n"
    assert "its SIGSTRUCT is for" in done.stderr
    done = enclu("inspect", path, status=1)
    assert "NOT VALID" in done.stdout and "ENCLAVEHASH" in done.stdout
    assert "SIGSTRUCT is not valid" in done.stderr


def test_measure_takes_a_sigstruct_file(copy: ImageFile, tmp_path: Path) -> None:
    path, other = copy("sgxs"), tmp_path / "other.sig"
    other.write_bytes(made.sigstruct(bytes(32)))
    done = enclu("measure", path, "--sigstruct", other, status=1)
    assert "its SIGSTRUCT is for " + "0" * 64 in done.stderr


def test_measure_checks_every_metadata_and_one_on_demand(tmp_path: Path) -> None:
    path = made.sdk_object(tmp_path / "enclave.so")
    position, patch_at, end = made.sdk_place(path)
    for i, version in enumerate([(1, 5), (1, 4)]):
        layout = made.sdk_layout(end, 1 + i)
        pages = [*made.sdk_segments(path, patch_at), *made.sdk_contexts(end, 1)]
        css = made.sigstruct(made.mrenclave_of(pages, made.SDK_SIZE))
        made.put(path, position + i * 0x1000, made.sdk_metadata(layout, patch_at, version, css))
    assert "by its metadata 1.4 it measures to" in enclu("measure", path, status=1).stderr
    assert enclu("measure", path, "--metadata", "1.5").stdout
    assert enclu("measure", path, "--metadata", "1.4", status=1).stdout


def test_inspect_shows_who_signed_the_layout_the_threads_and_the_weaknesses(tmp_path: Path) -> None:
    path = made.sdk_image(tmp_path / "enclave.so", threads=3, text_relocation=True)
    shown = enclu("inspect", path).stdout
    image = open_image(path)
    assert image.sigstruct is not None
    signer = mrsigner(image.sigstruct).hex()
    for text in (
        "(intel-sdk)", image.mrenclave().hex(), signer, "Threads: 3", "MODE64BIT", "x87, SSE", "TCS policy",
        "debug: may be run as a debug enclave", "writable code", "text relocations", "no KSS", "2 pages are added unm",
        "heap, minimum", "guard", "not added",
    ):  # fmt: skip
        assert text in shown, text


def test_inspect_of_an_unsigned_image_says_what_to_do(image_file: ImageFile) -> None:
    shown = enclu("inspect", image_file("elf")).stdout
    assert "there is no SIGSTRUCT" in shown and "enclu sign" in shown


def test_pages_that_are_measured_in_part_are_noted(image_file: ImageFile) -> None:
    page = json.loads(enclu("inspect", image_file("sgxs"), "--json").stdout)
    assert [r["measured"] for r in page["layout"]] == [1, 0, 1, 5 / 16]
    assert any(f["name"] == "partly measured" for f in page["findings"])


def test_two_steps_with_the_key_elsewhere(copy: ImageFile, tmp_path: Path, key_file: Path) -> None:
    path, to_sign, signature = copy("open-enclave"), tmp_path / "to-sign", tmp_path / "signature"
    enclu("sign", path, "--write-unsigned", to_sign, "--svn", 4, "--date", "2026-01-02", "--no-debug")
    assert to_sign.stat().st_size == 256
    subprocess.run(["openssl", "dgst", "-sha256", "-sign", key_file, "-out", signature, to_sign], check=True)
    public = tmp_path / "public.pem"
    subprocess.run(["openssl", "rsa", "-in", key_file, "-pubout", "-out", public], check=True, capture_output=True)
    back = ("--unsigned", to_sign, "--signature", signature, "--public-key", public)
    enclu("sign", path, *back, "-o", tmp_path / "signed")
    page = json.loads(enclu("inspect", tmp_path / "signed", "--json").stdout)
    assert page["sigstruct"]["valid"] and page["sigstruct"]["svn"] == 4
    assert page["sigstruct"]["date"] == "20260102"
    assert path.read_bytes() != (tmp_path / "signed").read_bytes()
    made.put(path, path.read_bytes().index(b"\xc3" + bytes(64)), b"\xcc")
    assert "it has changed since" in enclu("sign", path, *back, status=1).stderr


def test_passphrases_from_a_file_the_environment_and_nobody(copy: ImageFile, tmp_path: Path) -> None:
    path, key, phrase = copy("elf"), tmp_path / "encrypted.pem", tmp_path / "phrase"
    encryption = serialization.BestAvailableEncryption(b"open sesame")
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(made.key().private_bytes(serialization.Encoding.PEM, form, encryption))
    phrase.write_text("open sesame\n")
    enclu("sign", path, "--key", key, "--passphrase-file", phrase)
    enclu("sign", path, "--key", key, "--passphrase-env", "PHRASE", PHRASE="open sesame")
    assert "wrong" in enclu("sign", path, "--key", key, "--passphrase-env", "PHRASE", status=1, PHRASE="x").stderr
    assert "PHRASE is not set" in enclu("sign", path, "--key", key, "--passphrase-env", "PHRASE", status=1).stderr
    assert "--passphrase-file" in enclu("sign", path, "--key", key, status=1).stderr


def test_the_passphrase_is_asked_for_at_a_terminal(copy: ImageFile, tmp_path: Path) -> None:
    path, key = copy("elf"), tmp_path / "encrypted.pem"
    encryption = serialization.BestAvailableEncryption(b"open sesame")
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(made.key().private_bytes(serialization.Encoding.PEM, form, encryption))
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "enclu.cli.main", "sign", str(path), "--key", str(key)]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, close_fds=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"Passphrase of" not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"open sesame\n")
    while True:
        try:
            seen += os.read(terminal, 1000)
        except OSError:  # it has closed the terminal
            break
    assert process.wait(30) == 0
    assert b"sesame" not in seen and b"MRENCLAVE" in seen
    os.close(terminal)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --key"), (("--key", "k", "--write-unsigned", "b"), "give --key"),
        (("--signature", "s"), "give --key"),
        (("--key", "k", "--svn", "65536"), "not a number of 16 bits"), (("--key", "k", "--svn", "x"), "not a number"),
        (("--key", "k", "--family", "12"), "not 16 bytes"), (("--key", "k", "--date", "today"), "not a date"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(image_file: ImageFile, arguments: tuple[str, ...], said: str) -> None:
    assert said in enclu("sign", image_file("elf"), *arguments, status=2).stderr


@pytest.mark.parametrize("command", ["measure", "inspect"])
def test_what_is_no_image_is_said_in_one_line(command: str, tmp_path: Path) -> None:
    done = enclu(command, tmp_path / "missing", status=1)
    assert done.stderr == f"enclu: {tmp_path}/missing: file is unreadable: No such file or directory\n"
    assert not done.stdout


@pytest.mark.parametrize("command", ["measure", "inspect", "sign"])
def test_help_teaches(command: str) -> None:
    shown = enclu(command, "--help").stdout
    assert "Examples:" in shown and f"enclu {command}" in shown and "Exit status:" in shown


def test_the_extended_identity_needs_kss(copy: ImageFile, key_file: Path) -> None:
    path = copy("sgxs")
    options = ("--attributes", "0x84", "--family", "0f" * 16, "--extended-product", "a" * 32)
    enclu("sign", path, "--key", key_file, *options)
    f = SIGSTRUCT.unpack(path.with_name(path.name + ".sig").read_bytes())
    assert (f["ATTRIBUTES"], f["ISVFAMILYID"], f["ISVEXTPRODID"]) == (0x84, b"\x0f" * 16, b"\xaa" * 16)
    assert "need the attribute KSS" in enclu("sign", copy("elf"), "--key", key_file, *options[2:], status=1).stderr
