"""`enclu sweep` as its users run it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from enclu.base import console
from enclu.cli import sweep as command
from enclu.host.errors import HostError
from enclu.sweep import run
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.outcome import Kind
from enclu.sweep.subject import Subject
from enclu.sweep.verdict import Verdict
from tests.support.runs import ENCLU, HANGS, enclu, marked, wait_until
from tests.sweep.conftest import ProofEnclave
from tests.sweep.watched import EDL
from tests.sweep.watched import proof as proof
from tests.sweep.watched import watch_image as watch_image

Sweep = Callable[..., subprocess.CompletedProcess[str]]
WORD = "0(b'\\0' * 8)"


@pytest.fixture
def sweep(proof_enclave: ProofEnclave) -> Sweep:
    """Of a call of the proof enclave."""

    def sweep(call: str, *options: str | Path, weaknesses: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return enclu("sweep", proof_enclave(*weaknesses), call, "--edl", EDL, *options)

    return sweep


def test_a_sound_enclave(sweep: Sweep) -> None:
    done = sweep("sum([1, 2, 3], 3)", "--where", "0:10")
    assert done.returncode == 0, done.stderr
    interrupts, faults = done.stdout.split("\n\n\n")[0], done.stdout
    assert "int:resume: an interrupt, which a host can bring about\n\n      10 same" in interrupts
    assert "pf:handle,resume: #PF, by withdrawing the page of the next instruction" in faults
    assert "by its handler; handler: refused, SGX_ERROR_STACK_OVERRUN" in faults
    assert "enclave_entry" in faults and "entry.S:" in faults  # symbols and source lines


def test_a_weak_enclave(sweep: Sweep) -> None:
    done = sweep(
        "compute(1, 2)", "--host", "gp:handle,resume", "--where", "140:143", weaknesses=("ACCEPTS_ANY_VECTOR",)
    )
    assert done.returncode == 1, done.stderr
    assert "forged: no host can bring it about here" in done.stdout and "handler: accepted" in done.stdout


def test_twice_the_same(sweep: Sweep) -> None:
    one, other = (sweep("ask(7)", "--where", "0:20", "--json").stdout for _ in range(2))
    assert one == other and len(one.splitlines()) == 2


def test_slices_in_any_order_are_the_whole(sweep: Sweep, tmp_path: Path) -> None:
    words = "--host", "pf:handle,resume", "--where", "0:21", "--json"
    files = [tmp_path / f"{part}.json" for part in (1, 2, 3)]
    for part, file in enumerate(files, 1):
        file.write_text(sweep("compute(1, 2)", *words, "--slice", f"{part}/3").stdout)
    parts = [Verdict.of(file.read_text()) for file in files]
    assert [len(part.points) for part in parts] == [7, 7, 7]
    whole = sweep("compute(1, 2)", *words).stdout
    for order in files, files[::-1]:
        merged = enclu("sweep", "--json", *(word for file in order for word in ("--merge", file)))
        assert (merged.returncode, json.loads(merged.stdout)) == (0, json.loads(whole))
        assert merged.stdout == whole
    merged = enclu("sweep", "--merge", files[0], "--merge", files[2])
    assert merged.returncode == 1 and "\nparts 1, 3 of 3 only: 2 is missing\n" in merged.stdout
    merged = enclu("sweep", "--merge", files[0], "--merge", files[0])
    assert (merged.returncode, merged.stderr) == (125, "enclu: slice 1/3 is there twice\n")


def test_parts_of_other_sweeps_are_not_merged(sweep: Sweep, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "other")]
    for part, (file, call) in enumerate(zip(files, ("compute(1, 2)", "compute(1, 3)"), strict=True), 1):
        file.write_text(sweep(call, "--host", "int", "--where", "3", "--slice", f"{part}/2", "--json").stdout)
    done = enclu("sweep", "--merge", files[0], "--merge", files[1])
    assert (done.returncode, done.stderr) == (125, "enclu: call differs: not slices of the same sweep\n")


def test_one_point_again(sweep: Sweep) -> None:
    done = sweep("compute(1, 2)", "--replay", "3:pf:handle,resume")
    assert done.returncode == 0
    assert done.stdout.startswith("3:pf:handle,resume at enclave_entry+")
    assert done.stdout.endswith(": refused: by its handler; handler: refused, SGX_ERROR_STACK_OVERRUN\n")


def test_one_point_with_what_happens(sweep: Sweep) -> None:
    done = sweep("compute(1, 2)", "--replay", "3:pf:handle,resume", "--trace")
    assert "AEX #PF" in done.stderr and "ECMD_EXCEPT" in done.stderr


def test_the_simplest_behaviour(watch_image: Path) -> None:
    words = "--replay", "3:pf:again,write=0+0=01000000,handle,resume", "--minimise"
    done = enclu("sweep", watch_image, WORD, *words)
    assert done.returncode == 1
    assert "the simplest behaviour with this outcome: --replay 3:int:write=0+0=01,resume" in done.stderr
    assert ": crash: #UD" in done.stdout


def test_functions_are_each_address_once(sweep: Sweep) -> None:
    done = sweep("compute(1, 50)", "--host", "int", "--where", "functions", "--json")
    verdict = Verdict.of(done.stdout)
    assert len(verdict.points) == len(set(verdict.rips)) < len(verdict.rips)


MISTAKES: dict[str, tuple[list[str | Path], int, str]] = {
    "no such image": (["missing.elf", "0"], 125, "missing.elf: file is unreadable: No such file or directory"),
    "no image": ([], 2, "an image and a call are needed"),
    "no call": (["IMAGE", "sum([1", "--edl", EDL], 2, "CALL: 'sum([1' is no call: '[' was never closed"),
    "no argument": (["IMAGE", "0(None * 3)"], 2, "CALL: None * 3: unsupported operand"),
    "no host": (["IMAGE", "0", "--host", "ping"], 2, "--host: no event is called 'ping': int, pf, de, "),
    "no move": (["IMAGE", "0", "--host", "int:jump"], 2, "--host: 'jump' is nothing that a host does: "),
    "no such function": (["IMAGE", "nope(3)", "--edl", EDL], 125, "there is no trusted function `nope'"),
    "wrong arguments": (["IMAGE", "sum(1)", "--edl", EDL], 125, "sum(1): sum() takes 2 arguments, 1 given"),
    "no place": (["IMAGE", "compute(1, 2)", "--edl", EDL, "--where", "here"], 2, "--where: 'here' is no range"),
    "no replay": (["IMAGE", "0", "--replay", "3:int:jump"], 2, "--replay: 'jump' is nothing that a host does: "),
    "nothing for OCALLs": (["IMAGE", "0", "--ocalls", ""], 125, "--ocalls '' names no module"),
    "no module for OCALLs": (["IMAGE", "0", "--ocalls", ":x"], 125, "--ocalls ':x' names no module"),
    "a binary verdict": (["--merge", "IMAGE"], 125, ".elf: no verdict of enclu sweep: it is no text"),
    "no slice": (["IMAGE", "0", "--slice", "5/4"], 2, "'5/4' is no part: 1/4 is the first of four"),
    "no number": (["IMAGE", "0", "--replay", "x:int"], 2, "'x:int': begins with the number of an instruction"),
    "no stack pointer": (["IMAGE", "0", "--rsp", "up"], 2, "'up' is no number"),
    "no such instruction": (["IMAGE", "compute(1, 2)", "--edl", EDL, "--replay", "9999:int"], 125, "none of them"),
    "no such module": (["IMAGE", "0", "--ocalls", "no_such_module"], 125, "--ocalls no_such_module: No module named"),
    "no EDL": (["IMAGE", "0", "--edl", "missing.edl"], 2, "missing.edl"),
    "no verdict": (["--merge", EDL], 125, "enclave.edl: no verdict of enclu sweep: "),
    "no cluster": (["IMAGE", "0", "--dask", "nonsense"], 125, "no scheduler of Dask answers at nonsense"),
    "a crash": (["IMAGE", "sum_outside(8, 4)", "--edl", EDL], 125, "the call, undisturbed, ends so: crash, #PF"),
    "memory that is not shared": (
        ["IMAGE", "compute(1, 2)", "--edl", EDL, "--where", "3", "--host", "int:write=9+0=00,resume"], 125,
        "write=9+0=00: host and enclave share 1 block of memory in this call",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_told_in_a_line(proof_enclave: ProofEnclave, what: str) -> None:
    words, status, message = MISTAKES[what]
    done = enclu("sweep", *(proof_enclave() if word == "IMAGE" else word for word in words))
    assert done.returncode == status, done.stderr
    assert message in done.stderr and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("enclu: ")


@pytest.mark.parametrize(
    ("body", "message"), [("1 / 0", "ZeroDivisionError: division by zero"), ("raise SystemExit(3)", "SystemExit: 3")]
)
def test_a_module_that_raises_is_named(
    watch_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    (tmp_path / "ocalls_that_raise.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    subject = Subject(str(watch_image), WORD, ocalls="ocalls_that_raise")
    with pytest.raises(HostError, match=f"^--ocalls ocalls_that_raise: {message}$"), subject.session():
        pass


def test_an_error_that_names_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(self: Path) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    file, said = tmp_path / "part.json", list[str]()
    file.touch()
    monkeypatch.setattr(Path, "read_text", full)
    monkeypatch.setattr(console, "say", said.append)
    done = CliRunner().invoke(command.sweep, ["--merge", str(file)])
    assert (done.exit_code, said) == (125, ["No space left on device"])


def test_slices_with_several_behaviours(sweep: Sweep, tmp_path: Path) -> None:
    words = "compute(1, 2)", "--where", "0:6", "--json"
    files = [tmp_path / f"{part}.json" for part in (1, 2)]
    for part, file in enumerate(files, 1):
        file.write_text(sweep(*words, "--slice", f"{part}/2").stdout)
    for order in files, files[::-1]:
        merged = enclu("sweep", "--json", *(word for file in order for word in ("--merge", file)))
        assert (merged.returncode, merged.stdout) == (0, sweep(*words).stdout)


def test_behaviours_that_were_complete_are_told_before_an_error(watch_image: Path) -> None:
    hosts = "--host", "int:resume", "--host", "int:write=9+0=00,resume", "--host", "pf:resume"
    done = enclu("sweep", watch_image, WORD, *hosts, "--where", "0:3", "--json")
    assert [Verdict.of(line).behaviour for line in done.stdout.splitlines()] == ["int:resume"]
    assert done.returncode == 125
    assert done.stderr == "enclu: write=9+0=00: host and enclave share 2 blocks of memory in this call\n"


def test_workers_are_started_once_for_all_behaviours(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    class Once:
        def __init__(self, count: int) -> None:
            started.append(count)

        def __enter__(self) -> Once:
            return self

        def __exit__(self, *error: object) -> None: ...

        def sweep(self, subject: Subject, behaviour: Behaviour, where: str, **named: object) -> Verdict:
            return Verdict("x.elf", "0", str(behaviour), True, [], "")

    monkeypatch.setattr(run, "LocalWorkers", Once)
    done = CliRunner().invoke(command.sweep, ["x.elf", "0", "--workers", "3", "--host", "int", "--host", "pf"])
    assert (done.exit_code, started) == (0, [3]), done.output
    assert "int:resume" in done.stdout and "pf:resume" in done.stdout


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "with workers"])
def test_after_ctrl_c_there_is_what_there_was(
    proof: Callable[..., Subject], tmp_path: Path, workers: list[str]
) -> None:
    """The OCALL of a later point waits for ever: it is then that somebody loses patience."""
    (tmp_path / "ocalls_that_wait.py").write_text(
        "import pathlib, threading\ncalls = 0\n\n\ndef answer(key):\n    global calls\n    calls += 1\n"
        f"    if calls > 12:\n        pathlib.Path({str(tmp_path / 'waits')!r}).touch()\n"
        "        threading.Event().wait()\n    return 5\n"
    )
    words = [
        "sweep",
        proof("ask(7)").image,
        "ask(7)",
        "--edl",
        str(EDL),
        "--ocalls",
        "ocalls_that_wait",
        "--where",
        "0:40",
    ]
    with marked() as processes:
        environment = processes.environment()
        environment["PYTHONPATH"] += f":{tmp_path}"
        with subprocess.Popen(
            [*ENCLU, *words, "--json", *workers], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment, process_group=0,
        ) as sweeping:  # fmt: skip
            assert wait_until(lambda: (tmp_path / "waits").exists())
            for pid in [sweeping.pid] if not workers else _group(sweeping.pid):
                _interrupt(pid)
            out, err = sweeping.communicate(timeout=HANGS)
        assert sweeping.returncode == 130, err
        assert "interrupted: what follows is what had been tried" in err and "Traceback" not in err
        verdict = Verdict.of(out)
        assert verdict.wanted == 40 and not verdict.whole
        assert verdict.points and set(verdict.kinds) == {Kind.SAME}
        assert processes.all_gone()


def _group(pid: int) -> list[int]:
    """As a terminal has it: everybody of the process group."""
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _group_of(p) == pid]


def _group_of(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except OSError:
        return 0


def _interrupt(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return


def test_json_is_for_machines(sweep: Sweep) -> None:
    found = json.loads(sweep("compute(1, 2)", "--host", "int", "--where", "3", "--json").stdout)
    assert (found["program"], found["behaviour"], found["points"]) == ("enclu sweep", "int:resume", [[3, 0]])
    assert found["outcomes"] == [{"kind": "same", "detail": "", "answers": []}]
    (only,) = found["ranges"]
    assert (only["first"], only["last"], only["kind"]) == (3, 3, "same") and "entry.S" in only["from"]
