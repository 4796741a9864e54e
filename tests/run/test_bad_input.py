"""What a user may get wrong on the command line: one line that names the cause and the way out, and the exit status."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import enclu, environment, run, without_privileges


def complains(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """One line on standard error, nothing on standard output."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("enclu: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], ["missing argument", "PROGRAM", "enclu run --help"]),
        (["run", "--bogus", "true"], ["no such option", "--bogus", "enclu run --help"]),
        (["run", "--delivery", "smoke", "true"], ["'smoke'", "signal", "vdso", "mm-handler"]),
        (["run", "--delivery"], ["--delivery", "requires an argument"]),
        (["run", "--delivery", "mm-handler:sometimes", "true"], ["'mm-handler:sometimes'", "mm-handler:write-once"]),
        (["run", "--delivery", "vdso:write-once", "true"], ["'vdso:write-once'", "mm-handler:write-once"]),
        (["run", "--stats=xml", "true"], ["'xml'", "json"]),
        (["run", "--epc", "4K", "true"], ["--epc", "4K: too small", "1M"]),
        (["run", "--epc", "0", "true"], ["--epc", "too small"]),
        (["run", "--epc", "lots", "true"], ["--epc", "'lots' is not a size", "64M"]),
        (["run", "--epc=-5M", "true"], ["--epc", "'-5M' is not a size"]),
        (["run", "--epc", "100G", "true"], ["--epc", "too large"]),
        (["run", "--epc", "1048577", "true"], ["--epc", "not a multiple of the page size"]),
        (["runn", "true"], ["no command 'runn'", "check", "run"]),
        (["./program", "-x"], ["no command './program'", "enclu run ./program -x"]),
        (["--bogus"], ["no such option", "--bogus"]),
        (["check", "--bogus"], ["no such option", "enclu check --help"]),
    ],
    ids=lambda value: " ".join(value) if "true" in value or len(value) < 3 else None,
)
def test_a_wrong_command_line_is_explained(arguments: list[str], words: list[str]) -> None:
    complains(enclu(*arguments), 2, *words)


def test_no_command_at_all_shows_the_help() -> None:
    done = enclu()
    assert done.returncode == 2
    assert "Usage: enclu" in done.stderr and "enclu run ./my_sgx_app" in done.stderr


@pytest.mark.parametrize("name", ["../evil", "", ".hidden", "a/b", "x" * 65, "a b"])
def test_a_machine_name_that_is_no_file_name_is_refused(name: str) -> None:
    complains(run("true", options=("--machine", name)), 125, "machine name", "letters, digits")


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("", 127, ["empty"]),
        ("no-such-program", 127, ["not found in PATH"]),
        ("/no/such/file", 127, ["no such file"]),
        ("/etc/passwd/x", 127, ["no such file"]),
        ("/etc/passwd", 126, ["not executable", "chmod +x"]),
        ("/tmp", 126, ["is a directory"]),
        ("/dev/null", 126, ["not a regular file"]),
    ],
)
def test_a_program_that_cannot_be_run_is_named(program: str, status: int, words: list[str]) -> None:
    complains(run(program), status, *words)


def test_a_program_here_but_not_in_the_path_is_found_for_the_user(tmp_path: Path) -> None:
    shutil.copy("/bin/true", tmp_path / "myprog")
    complains(run("myprog", cwd=tmp_path), 127, "did you mean ./myprog?")


def program_of(directory: Path, content: bytes, mode: int = 0o755) -> Path:
    path = directory / "program"
    path.write_bytes(content)
    path.chmod(mode)
    return path


TRUE = Path("/bin/true").read_bytes()
INTERPRETER = b"/lib64/ld-linux-x86-64.so.2\0"


def with_bytes(at: int, new: bytes) -> bytes:
    return TRUE[:at] + new + TRUE[at + len(new) :]


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 126, ["an empty file"]),
        (b"echo hello\n", 126, ["neither an ELF program nor a script", "enclu run sh"]),
        (b"\x00" * 100, 126, ["neither an ELF program nor a script"]),
        (TRUE[:30], 126, ["cut short", "30 bytes"]),
        (with_bytes(18, struct.pack("<H", 183)), 126, ["another processor", "x86-64"]),
        (with_bytes(4, b"\x01"), 126, ["32-bit", "x86-64"]),
        (with_bytes(16, struct.pack("<H", 1)), 126, ["damaged, or not a program"]),
        (b"#!/no/such/interpreter -x\n", 127, ["its interpreter /no/such/interpreter does not exist"]),
        (b"#!/etc/passwd\n", 126, ["its interpreter /etc/passwd is not executable"]),
        (TRUE.replace(INTERPRETER, b"/lib64/ld-linux-x86-64.so.9\0"), 127, ["its interpreter", "so.9 does not exist"]),
    ],
    ids=["empty", "no #!", "zeros", "30 bytes", "arm64", "32-bit", "object file", "no interpreter",
         "interpreter not executable", "no ELF interpreter"],
)  # fmt: skip
def test_a_file_that_is_no_program_is_described(content: bytes, status: int, words: list[str], tmp_path: Path) -> None:
    path = program_of(tmp_path, content)
    complains(run(path), status, str(path), *words)


def test_a_program_that_the_kernel_kills_at_exec_is_described(tmp_path: Path) -> None:
    """The headers are whole and the segments are not: exec fails past the point of no return."""
    path = program_of(tmp_path, TRUE[:3000])
    complains(run(path), -11, str(path), "cannot load it", "damaged")


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_a_setuid_program_is_refused(mode: int, tmp_path: Path) -> None:
    complains(run(program_of(tmp_path, TRUE, mode)), 126, "setuid or setgid", "run a copy")


def test_an_unreadable_program_is_refused(tmp_path: Path) -> None:
    done = run(program_of(tmp_path, TRUE, 0o111), preexec_fn=without_privileges)
    complains(done, 126, "not readable", "chmod +r")


def test_an_unreadable_program_runs_without_sgx(tmp_path: Path) -> None:
    """Where another program starts it: its memory is hidden from unprivileged tracers."""
    path = program_of(tmp_path, Path("/bin/cat").read_bytes(), 0o111)
    script = f"{path} /etc/hostname >/dev/null && echo fine; {path} /dev/sgx_enclave 2>&1"
    done = run("/bin/sh", "-c", script, preexec_fn=without_privileges)
    assert done.stdout.startswith("fine\n") and "No such file" in done.stdout and done.stderr == ""


def test_a_program_that_hides_its_memory_uses_enclaves(
    program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    done = run(program("undumpable"), env=environment(**enclave_environment), preexec_fn=without_privileges)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_a_program_that_becomes_undumpable_goes_on() -> None:
    script = (
        "import ctypes, os, subprocess; assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0; "
        "print(open('/etc/passwd').read(4)); pid = os.fork(); pid or os._exit(7); print(os.waitpid(pid, 0)[1] >> 8); "
        "print(subprocess.run(['/bin/echo', 'child'], capture_output=True, text=True).stdout)"
    )  # fmt: skip
    done = run(shutil.which("python3") or "python3", "-c", script, preexec_fn=without_privileges)
    assert (done.stdout.split(), done.stderr) == (["root", "7", "child"], "")
