"""Measures what docs/performance.md says; ratios within one run, medians of several.

.venv/bin/python benchmarks/run.py [WORD...]

With words, only what has one of them in its name.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
C = ROOT / "tests" / "c"
COMMAND = [sys.executable, "-m", "enclu.cli.main"]
ENCLU = [*COMMAND, "run"]
ROUNDS = 3
MEASURED_MIB = 256
MEASURED_BYTES = MEASURED_MIB * 256 * 5184
HEAP_MIB, HEAP_EPC = 4096, "5G"
SINGLE_MIB = 128
WALK_PAGES, WALK_EPC = 4096, "4M"
PAIRS, CALLS = "2000000", "1000000"
NO_AVX = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX"
"""What keeps the C library from leaving state in use that enclaves do not have."""
FILES = ["ls", "-lR", "/usr/share", "/usr/lib"]
SYSCALLS = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=2000000"]


def gcc(*arguments: object) -> None:
    subprocess.run(["gcc", "-O2", "-g", *map(str, arguments)], check=True)


def build(work: Path) -> dict[str, str]:
    """Compile everything; the environment that the programs want."""
    source = C / "enclaves"
    for body, name in ((source / "body.c", "enclave"), (ROOT / "benchmarks" / "walk_enclave.c", "walk_enclave")):
        gcc(
            "-O1", "-ffreestanding", "-fPIE", "-mgeneral-regs-only", "-fno-stack-protector", "-fno-jump-tables",
            "-fvisibility=hidden", "-fcf-protection=none", "-static", "-nostdlib", "-Wl,--build-id=none,-z,norelro",
            f"-Wl,-T,{source}/enclave.lds", f"-I{source}", source / "entry.S", body, "-o", work / f"{name}.elf",
        )  # fmt: skip
    include = f"-I{ROOT / 'src' / 'enclu' / 'include'}"
    for name in ("pair", "exception", "build_enclave", "walk", "calls"):
        sources = (ROOT / "benchmarks" / f"{name}.c", C / "loader.c", C / "attempt.c", C / "raw.S")
        gcc(f"-I{C}", include, *sources, "-o", work / name, "-lcrypto", "-pthread")
    for name in ("floor", "compute", "seal", "stop"):
        gcc(ROOT / "benchmarks" / f"{name}.c", "-o", work / name, "-lcrypto")
    kit = ROOT / "src" / "enclu"
    gcc(
        "-D_GNU_SOURCE", f"-iquote{kit}/host/agent", f"-iquote{kit}/enclave", ROOT / "benchmarks" / "answer.c",
        kit / "host" / "agent" / "turn.c", "-o", work / "answer", "-pthread",
    )  # fmt: skip
    subprocess.run(["openssl", "genrsa", "-3", "-out", work / "key.pem", "3072"], check=True, capture_output=True)
    image = work / "ecall.elf"
    subprocess.run([*COMMAND, "build", ROOT / "benchmarks" / "ecall.c", "-o", image], check=True)
    subprocess.run([*COMMAND, "sign", image, "--key", work / "key.pem"], check=True, capture_output=True)
    return {
        **os.environ, "PYTHONPATH": str(ROOT / "src"),
        "ENCLU_TEST_ENCLAVE": str(work / "enclave.elf"), "ENCLU_TEST_KEY": str(work / "key.pem"),
    }  # fmt: skip


def number(command: list[str], env: dict[str, str]) -> float:
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def seconds(command: list[str], env: dict[str, str]) -> float:
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env=env)
    return time.monotonic() - start


def walk(work: Path, env: dict[str, str], how: str, pages: int, epc: str) -> float:
    """Of an enclave with so many pages of heap."""
    own = {**env, "ENCLU_TEST_ENCLAVE": str(work / "walk_enclave.elf")}
    return number([*ENCLU, "--epc", epc, str(work / "walk"), str(pages), how], own)


def measured(work: Path, env: dict[str, str], kind: str) -> float:
    """An image of that kind, by Python."""
    command = [sys.executable, str(ROOT / "benchmarks" / "measure.py"), kind, str(MEASURED_MIB), str(work)]
    return number(command, env)


def ecall(work: Path, env: dict[str, str], *answer: str) -> float:
    """From Python, of the agent or of a program that answers in its place."""
    return number([sys.executable, str(ROOT / "benchmarks" / "ecall.py"), str(work / "ecall.elf"), *answer], env)


def report(name: str, ours: list[float], floor: list[float], limit: float) -> None:
    ratio = statistics.median(a / b for a, b in zip(ours, floor, strict=True))
    print(f"{name:42} {statistics.median(ours):9.3f} {statistics.median(floor):9.3f} {ratio:7.3f}  at most {limit}")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        env = build(work)
        blob = work / "blob"
        with blob.open("wb") as file:
            file.truncate(MEASURED_BYTES)
        epc = ["--epc", "1G"]
        many = [str(work / "pair"), PAIRS]
        plain = {**env, "GLIBC_TUNABLES": NO_AVX}
        cases: dict[str, tuple[Callable[[], float], Callable[[], float], float]] = {
            "EENTER+EEXIT by stops, us": (
                lambda: number([*ENCLU, "--no-fast-path", str(work / "pair")], plain),
                lambda: number([str(work / "floor")], env), 1.7),
            "EENTER+EEXIT, us": (
                lambda: number([*ENCLU, *many], plain), lambda: number([str(work / "floor")], env), 1 / 150),
            "by ENCLU of the program's, us": (
                lambda: number([*ENCLU, "--delivery", "signal", *many], plain),
                lambda: number([str(work / "floor")], env), 1 / 150),
            "two threads, us (floor: one)": (
                lambda: number([*ENCLU, *many, "2"], env), lambda: number([*ENCLU, *many], env), 3.0),
            "a timer of 1 ms, us (floor: none)": (
                lambda: number([*ENCLU, *many, "1", "1000"], env), lambda: number([*ENCLU, *many], env), 3.0),
            "state beyond XFRM, us (floor: none, + 0.2)": (
                lambda: number([*ENCLU, *many], env), lambda: number([*ENCLU, *many], plain) + 0.2, 1.0),
            "ERESUME+AEX+fixup with its code, us": (
                lambda: number([*ENCLU, str(work / "exception")], env),
                lambda: number([str(work / "floor")], env), 3.7),
            "ECALL from Python, us (floor: no enclave)": (
                lambda: ecall(work, env), lambda: ecall(work, env, str(work / "answer")), 1.5),
            f"measured {MEASURED_MIB} MiB enclave, s": (
                lambda: number([*ENCLU, *epc, str(work / "build_enclave"), str(MEASURED_MIB)], env),
                lambda: seconds(["openssl", "dgst", "-sha256", str(blob)], env), 1.4),
            "ADD_PAGES, one page a call, us": (
                lambda: number([*ENCLU, *epc, str(work / "build_enclave"), str(SINGLE_MIB), "plain"], env),
                lambda: number([str(work / "stop")], env), 1.5),
            "the same, measured, us": (
                lambda: number([*ENCLU, *epc, str(work / "build_enclave"), str(SINGLE_MIB), "single"], env),
                lambda: number([str(work / "stop")], env), 1.5),
            f"heap of {HEAP_MIB} MiB, us a page": (
                lambda: number(
                    [*ENCLU, "--epc", HEAP_EPC, str(work / "build_enclave"), str(HEAP_MIB), "heap"], env),
                lambda: 1.0, 1.0),
            "sequential walk, us a page": (
                lambda: walk(work, env, "sequential", WALK_PAGES, WALK_EPC),
                lambda: number([str(work / "seal")], env), 10.0),
            "random walk, us (floor: an AEX)": (
                lambda: walk(work, env, "random", WALK_PAGES, WALK_EPC),
                lambda: walk(work, env, "none", 2000, "64M"), 2.0),
            **{
                f"{MEASURED_MIB} MiB {kind} image measured, s": (
                    partial(measured, work, env, kind),
                    lambda: seconds(["openssl", "dgst", "-sha256", str(blob)], env), 2.0)
                for kind in ("elf", "sgxs")
            },
            "compute-bound program, s": (
                lambda: seconds([*ENCLU, str(work / "compute")], env),
                lambda: seconds([str(work / "compute")], env), 1.03),
            "dd bs=1, s": (
                lambda: seconds([*ENCLU, *SYSCALLS], env), lambda: seconds(SYSCALLS, env), 2.0),
            "the same, the device open, s": (
                lambda: number([*ENCLU, str(work / "calls"), CALLS, "enclave"], env),
                lambda: number([str(work / "calls"), CALLS], env), 2.0),
            "ls -lR, s": (
                lambda: seconds([*ENCLU, *FILES], env), lambda: seconds(FILES, env), 2.0),
        }  # fmt: skip
        print(f"{'':42} {'enclu':>9} {'floor':>9} {'ratio':>7}")
        words = sys.argv[1:]
        for name, (ours, floor, limit) in cases.items():
            if words and not any(word in name for word in words):
                continue
            pairs = [(ours(), floor()) for _ in range(ROUNDS)]
            report(name, [a for a, _ in pairs], [b for _, b in pairs], limit)


if __name__ == "__main__":
    main()
