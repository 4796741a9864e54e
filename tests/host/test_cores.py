"""Cores of the process with the enclaves: at an exception, and of tests that fail."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

import enclu
from enclu.host.agent_process import AGENT
from tests.host.conftest import RESUMING, signed_enclave
from tests.host.test_crashes import DIVISION, POINTER, SOURCE, line_of
from tests.support.cores import PRSTATUS, Core, gdb, registers
from tests.support.runs import enclu as command

needs_gdb = pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_enclave(SOURCE, tmp_path_factory.mktemp("crashes"), "-g")


def stack(core: Path) -> str:
    """What gdb says of the core with the files that it tells of."""
    commands = command("core", "--inspect", "--gdb", core).stdout.splitlines()
    return gdb(AGENT, core, "bt", first=commands)


@needs_gdb
@pytest.mark.parametrize("design", RESUMING)
def test_an_exception_that_was_raised_has_its_line_in_the_core(
    machine: enclu.Machine, crashing: Path, tmp_path: Path, design: str
) -> None:
    enclave = machine.process(design).load(crashing, debug=True)
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(POINTER, 0)
    path = raised.value.core(tmp_path / "core")
    assert path == tmp_path / "core" and path.stat().st_mode & 0o7777 == 0o600
    said = stack(path)
    where = line_of("bad pointer").strip("()")
    assert re.search(rf"\n#0 .*decode \(index=0\) at .*{where}\n#1 .* in enclave_main ", said), said


def test_the_core_begins_with_the_frame_that_the_exception_has(
    process: enclu.Process, crashing: Path, tmp_path: Path
) -> None:
    seen: list[enclu.EnclaveException] = []

    def look(exception: enclu.EnclaveException) -> enclu.Action:
        seen.append(exception)
        exception.core(tmp_path / "core")
        return enclu.Action.RAISE

    enclave = process.load(crashing, debug=True, on_exception=look)
    with pytest.raises(enclu.EnclaveException):
        enclave.ecall(POINTER, 0)
    core, saved = Core(tmp_path / "core"), seen[0].ssa.gprsgx
    values = registers(core.all(PRSTATUS)[0])
    assert all(values[name] == getattr(saved, name) for name in ("rip", "rsp", "rbp", "rax", "r8", "r15"))
    first = core.about["threads"][0]
    assert (first["state"], first["tcs"], first["ssa"]) == ("interrupted", seen[0].tcs, 0)
    assert core.about["exception"]["vector"] == 14 and core.about["exception"]["reason"] == str(seen[0])
    assert core.about["enclaves"][0]["image"] == str(crashing)


@needs_gdb
def test_the_core_of_a_handlers_own_fault_shows_the_handler(
    process: enclu.Process, crashing: Path, tmp_path: Path
) -> None:
    enclave = process.load(crashing, debug=True)
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(DIVISION)
    said = stack(raised.value.core(tmp_path / "core"))
    assert re.search(rf"\n#0 .*enclave_exception .*{line_of('''the handler's own fault''').strip('()')}\n", said), said


def test_the_process_goes_on_after_its_core(process: enclu.Process, crashing: Path, tmp_path: Path) -> None:
    enclave = process.load(crashing, debug=True)
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(POINTER, 0)
    raised.value.core(tmp_path / "one")
    assert enclave.ecall(5) == 0
    with pytest.raises(FileExistsError):
        raised.value.core(tmp_path / "one")
    with pytest.raises(enclu.HostError, match="no enclaves are called 'some': debug, all, none"):
        raised.value.core(tmp_path / "two", enclaves="some")
    process.close()
    with pytest.raises(enclu.HostError):
        raised.value.core(tmp_path / "two")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_production_enclave_is_in_the_core_if_that_is_asked_for(
    process: enclu.Process, crashing: Path, tmp_path: Path
) -> None:
    enclave = process.load(crashing, debug=False)
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(POINTER, 0)
    hidden = Core(raised.value.core(tmp_path / "hidden"))
    shown = Core(raised.value.core(tmp_path / "shown", enclaves="all"))
    inside = [core.read(enclave.base + 0x4000, 64) for core in (hidden, shown)]
    assert inside[0] is None and inside[1] is not None and any(inside[1])


pytest_plugins = ["pytester"]


def test_a_failed_test_leaves_a_core_if_that_is_asked_for(
    pytester: pytest.Pytester, crashing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(root / "src"), os.environ.get("PYTHONPATH")])))
    pytester.makepyfile(
        f"""
        import enclu, pytest

        def test_crashes(enclave):
            enclave({str(crashing)!r}, debug=True).ecall(0, 0)

        def test_differs(enclave):
            assert enclave({str(crashing)!r}, debug=True).ecall(5) == 1

        def test_passes(enclave):
            with pytest.raises(enclu.EnclaveException):
                enclave({str(crashing)!r}, debug=True).ecall(0, 0)

        def test_has_no_enclave():
            assert False
        """
    )
    options = ("-p", "no:xdist", "-p", "no:hypothesispytest")
    done = pytester.runpytest_subprocess("--enclu-core-dir", "cores", *options)
    done.assert_outcomes(failed=3, passed=1)
    done.stdout.re_match_lines([r"core of process \d+: cores/core\..*test_crashes\.\d+"])
    crashed, differs = sorted((pytester.path / "cores").iterdir())
    assert "test_crashes" in crashed.name and "test_differs" in differs.name
    assert Core(crashed).about["exception"]["vector"] == 14 and Core(differs).about["exception"] == {}
    pytester.runpytest_subprocess(*options)
    assert len(list(pytester.path.glob("**/core.*"))) == 2
