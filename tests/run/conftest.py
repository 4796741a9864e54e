"""Programs for the tests of `enclu run`: compiled once a session, run under the supervisor."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.runs import HANGS

ROOT = Path(__file__).resolve().parents[2]
C_SOURCES = ROOT / "tests" / "c"
# Debian's, of the newest kernel that is installed.
LINUX_SOURCE = max(
    Path("/usr/src").glob("linux-source-*.tar.xz"),
    key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)],
    default=Path("/usr/src/linux-source-X.Y.tar.xz"),
)
LINKS = {"dynamic": [], "static": ["-static"], "static-pie": ["-static-pie"]}
# What the SGX selftest includes; nothing else of the kernel's archive is unpacked.
SELFTEST_MEMBERS = (
    "tools/testing/selftests/sgx/",
    "tools/testing/selftests/kselftest",
    "arch/x86/include/asm/sgx.h",
    "arch/x86/include/asm/enclu.h",
    "arch/x86/include/uapi/asm/sgx.h",
    "tools/include/",
)


class EncluRun(Protocol):
    def __call__(
        self, *program: str | Path, options: tuple[str, ...] = ..., timeout: float = ...,
        env: dict[str, str] | None = ..., cwd: Path | None = ..., stdin: str | None = ...,
    ) -> subprocess.CompletedProcess[str]: ...  # fmt: skip


class Passes(Protocol):
    def __call__(
        self, name: str, *arguments: str, options: tuple[str, ...] = ...
    ) -> subprocess.CompletedProcess[str]: ...


def compile_c(*arguments: str | Path) -> None:
    """Runs gcc; raises a test error with its messages if it fails or is missing."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.fail("gcc is missing; these tests compile C programs (apt-get install gcc libssl-dev)", pytrace=False)
    done = subprocess.run([gcc, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"gcc {' '.join(map(str, arguments))}\n{done.stderr}", pytrace=False)


def run_enclu(
    *program: str | Path, options: tuple[str, ...] = (), timeout: float = HANGS, env: dict[str, str] | None = None,
    cwd: Path | None = None, stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Runs PROGRAM with its arguments under `enclu run` with `options`; `timeout` is in seconds."""
    environment = {**os.environ, **(env or {})}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "enclu.cli.main", "run", *options, *map(str, program)]
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, cwd=cwd, **given)


@pytest.fixture(scope="session")
def enclu_run() -> EncluRun:
    return run_enclu


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture(scope="session")
def enclave_key(work: Path) -> str:
    """A key to sign the test enclave: generating one takes the programs too long each time."""
    key = work / "key.pem"
    private = rsa.generate_private_key(public_exponent=3, key_size=3072)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(key)


@pytest.fixture(scope="session")
def enclave_environment(work: Path, enclave_key: str) -> dict[str, str]:
    """The test enclave, compiled, and a key to sign it."""
    enclave, source = work / "enclave.elf", C_SOURCES / "enclaves"
    compile_c(
        "-g", "-Wall", "-Wextra", "-Werror", "-O1", "-ffreestanding", "-fPIE", "-mgeneral-regs-only",
        "-fno-stack-protector", "-fno-jump-tables", "-fvisibility=hidden", "-fcf-protection=none", "-static",
        "-nostdlib", "-Wl,--build-id=none,-z,norelro", "-Wl,-T," + str(source / "enclave.lds"),
        source / "entry.S", source / "body.c", "-o", enclave,
    )  # fmt: skip
    return {"ENCLU_TEST_ENCLAVE": str(enclave), "ENCLU_TEST_KEY": enclave_key}


@pytest.fixture(scope="session")
def library(work: Path) -> list[Path]:
    """Objects of the programs' host library."""
    objects = []
    includes = ("-I", C_SOURCES, "-I", ROOT / "src" / "enclu" / "include")
    for source in (C_SOURCES / "loader.c", C_SOURCES / "attempt.c", C_SOURCES / "raw.S"):
        objects.append(work / (source.name + ".o"))
        compile_c("-g", "-O1", "-Wall", "-Wextra", "-Werror", *includes, "-c", source, "-o", objects[-1])
    return objects


@pytest.fixture(scope="session")
def program(work: Path, library: list[Path]) -> Callable[[str], Path]:
    """program(name): the compiled tests/c/programs/name.c."""

    def build(name: str) -> Path:
        path = work / name
        if not path.exists():
            compile_c(
                "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-I", C_SOURCES, "-I", ROOT / "src" / "enclu" / "include",
                C_SOURCES / "programs" / f"{name}.c", *library, "-o", path, "-lcrypto", "-pthread",
            )  # fmt: skip
        return path

    return build


@pytest.fixture(scope="session")
def passes(program: Callable[[str], Path], enclu_run: EncluRun, enclave_environment: dict[str, str]) -> Passes:
    """passes(name, *arguments, options=...): runs the program, all of whose TAP lines must be ok."""

    def run(name: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        done = enclu_run(program(name), *arguments, options=options, env=enclave_environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not re.search(r"^not ok", done.stdout, re.MULTILINE), done.stdout
        assert re.search(r"^1\.\.[1-9]", done.stdout, re.MULTILINE), done.stdout
        return done

    return run


@pytest.fixture(scope="session")
def selftest_source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The selftest's directory, unpacked from the distribution's kernel source; kept between sessions."""
    if not LINUX_SOURCE.exists():
        pytest.fail(f"{LINUX_SOURCE} is missing (apt-get install linux-source)", pytrace=False)
    cache = getattr(request.config, "cache", None)
    base = Path(cache.mkdir("linux-source")) if cache is not None else tmp_path_factory.mktemp("linux-source")
    final = base / str(int(LINUX_SOURCE.stat().st_mtime))
    if not final.exists():
        # Sessions of several workers may unpack at once: each in its own place, the first rename wins.
        scratch = tmp_path_factory.mktemp("unpack", numbered=True)
        with tarfile.open(LINUX_SOURCE, "r|xz") as archive:
            for member in wanted(archive):
                archive.extract(member, scratch, filter="data")
        moved = base / f"{final.name}.{os.getpid()}"
        shutil.copytree(scratch, moved)
        try:
            moved.rename(final)
        except OSError:
            shutil.rmtree(moved)
    return next(final.glob("linux-source-*")) / "tools/testing/selftests/sgx"


def enclave_flags(makefile: Path) -> list[str]:
    """ENCL_CFLAGS of the selftest's Makefile, which differ between releases, without its include directories."""
    found = re.search(r"^ENCL_CFLAGS [:+]=((?:.*\\\n)*.*)", makefile.read_text(), re.MULTILINE)
    assert found is not None, f"{makefile}: no ENCL_CFLAGS"
    return [word for word in found[1].split() if word.startswith("-")]


def wanted(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        inside = member.name.removeprefix("./").partition("/")[2]
        if member.isfile() and inside.startswith(SELFTEST_MEMBERS):
            yield member


@pytest.fixture(scope="session")
def selftest(selftest_source: Path, work: Path) -> Callable[[str], Path]:
    """selftest(link): Linux's SGX selftest, unmodified, as its own Makefile builds it but for the kind of link."""

    def build(link: str) -> Path:
        place = work / f"selftest-{link}"
        program, enclave = place / "test_sgx", place / "test_encl.elf"
        if program.exists():
            return program
        place.mkdir()
        s = selftest_source
        include = (f"-I{s.parents[3]}/tools/include", f"-I{s.parent}")
        compile_c(
            "-Wall", "-Werror", "-g", *include, "-fPIC", "-z", "noexecstack", *LINKS[link],
            s / "main.c", s / "load.c", s / "sigstruct.c", s / "call.S", "-Wa,-I" + str(s),
            s / "sign_key.S", "-o", program, "-lcrypto",
        )  # fmt: skip
        compile_c(
            *enclave_flags(s / "Makefile"), *include, "-T", s / "test_encl.lds", s / "test_encl.c",
            s / "test_encl_bootstrap.S", "-o", enclave, "-Wl,--build-id=none",
        )  # fmt: skip
        return program

    return build
