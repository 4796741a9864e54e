"""pytest's mark `aex_everywhere`, as users' test suites meet it: pytest in a process of its own."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import enclu
from enclu.host.edl import Interface
from enclu.sweep import call
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.strategies import behaviours
from tests.host.test_pytest_plugin import run
from tests.support.runs import ROOT
from tests.support.runs import enclu as command
from tests.sweep.conftest import ProofEnclave
from tests.sweep.watched import watch_image as watch_image

pytest_plugins = ["pytester"]


@pytest.fixture
def suite(pytester: pytest.Pytester, watch_image: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test suite next to watch.c's enclave."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])))
    for suffix in ("", ".sig"):
        (pytester.path / f"watch.elf{suffix}").write_bytes(
            watch_image.with_name(watch_image.name + suffix).read_bytes()
        )
    return pytester


@pytest.fixture
def sound(stepping_process: enclu.Process, proof_enclave: ProofEnclave, interface: Interface) -> enclu.Enclave:
    return stepping_process.load(proof_enclave(), convention=interface.convention())


def marked(body: str, mark: str = "where='0:8'") -> str:
    return f"""
        import pytest

        @pytest.mark.aex_everywhere({mark})
        def test_it(enclave):
            loaded = enclave("watch.elf")
            {body}
    """


def test_a_call_that_is_safe_passes(suite: pytest.Pytester) -> None:
    body = "assert loaded.process.stepping and loaded.ecall(0, bytes(8)) == 7"
    run(suite, marked(body, "where='window', host=['int:resume', 'pf:resume']")).assert_outcomes(passed=1)


def test_other_tests_are_not_swept_and_do_not_step(suite: pytest.Pytester) -> None:
    test = """
        def test_it(enclave):
            loaded = enclave("watch.elf")
            assert not loaded.process.stepping and loaded.ecall(0, bytes(8)) == 7
    """
    run(suite, test).assert_outcomes(passed=1)


def test_a_call_that_is_not_safe_fails_with_ranges_and_a_replay(suite: pytest.Pytester) -> None:
    result = run(
        suite, marked("assert loaded.ecall(0, bytes(8)) == 7", "where='0:8', host=['int:write=0+0=01,resume']")
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*::test_it: 1 of 1 ECALLs are not safe from their host:",
        "*watch.elf: ecall(0, b'*",
        "*instructions; undisturbed: result 0x7, 0 OCALLs",
        "int:write=0+0=01,resume: an interrupt, which a host can bring about",
        "*8 crash",
        "*0-7  enclave_entry+0x0 (entry.S:*  #UD",
        "replay (crash): pytest *::test_it --aex-replay 1:0:int:write=0+0=01,resume",
        "*or: enclu sweep *watch.elf *--replay 0:int:write=0+0=01,resume",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*enclu/sweep/*.py*")  # no frames of ours
    replay = next(line for line in result.outlines if line.strip().startswith("or: enclu sweep"))
    words = shlex.split(replay.partition("enclu ")[2])
    done = command(*words)
    assert (done.returncode, re.sub(r" at \S+ \(\S+\)", "", done.stdout)) == (
        1, "0:int:write=0+0=01,resume: crash: #UD\n",
    )  # fmt: skip


def test_one_point_of_one_call_again(suite: pytest.Pytester) -> None:
    body = "assert loaded.ecall(1, bytes(8)) == 5 and loaded.ecall(0, bytes(8)) == 7"
    test = marked(body).replace('"watch.elf"', '"watch.elf", ocalls=[lambda n: 5]')
    run(suite, test, "--aex-replay", "1:3:int:write=0+0=01,resume").assert_outcomes(passed=1)
    result = run(suite, test, "--aex-replay", "2:3:int:write=0+0=01,resume")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 crash", "*3  *#UD"])
    result.stdout.fnmatch_lines(["*or: enclave.sweep(0, *"])  # not the first
    result = run(suite, test, "--aex-replay", "3:3:int:resume")
    result.stdout.fnmatch_lines(["*::test_it: aex_everywhere: the test makes 2 ECALLs"])


def test_arguments_are_each_calls_own(suite: pytest.Pytester) -> None:
    body = "word = bytearray(8); assert loaded.ecall(0, word) == 7 and word == bytes(8)"
    result = run(suite, marked(body, "where='0:8', host=['int:write=0+0=2a,resume']"))
    result.assert_outcomes(passed=1)  # as if changed before, and only in the sweep


class Pair(NamedTuple):
    data: bytearray
    size: int


def test_named_tuples_are_arguments_too() -> None:
    pair = Pair(bytearray(2), 2)
    copy = call.fresh(pair)
    assert copy == pair and type(copy) is type(pair) and copy.data is not pair.data


def test_an_ecall_in_an_ocall_belongs_to_the_outer_one(suite: pytest.Pytester) -> None:
    test = """
        import pytest

        @pytest.mark.aex_everywhere(where="100:104")
        def test_it(enclave):
            inner = []
            loaded = enclave("watch.elf", ocalls=[lambda n: inner.append(loaded.ecall(0, bytes(8))) or 5])
            assert loaded.ecall(1, bytes(8)) == 5 and set(inner) == {7}
    """
    run(suite, test).assert_outcomes(passed=1)


def test_a_call_that_ends_badly_by_itself_is_the_tests_matter(suite: pytest.Pytester) -> None:
    body = "pytest.raises(Exception, loaded.ecall, 0, b'\\1' + bytes(7)); assert loaded.ecall(0, bytes(8)) == 7"
    run(suite, marked(body)).assert_outcomes(passed=1)


def test_a_host_that_dies_is_a_finding(suite: pytest.Pytester) -> None:
    result = run(suite, marked("loaded.ecall(0, bytes(8))", "where='3', host=['int:write=0+0=03,resume']"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the call ends its host: the process with the enclaves was killed by SIGSEGV"])


def test_a_test_that_fails_by_itself_tells_of_both(suite: pytest.Pytester) -> None:
    result = run(suite, marked("assert loaded.ecall(0, bytes(8)) == 8", "where='3', host=['int:write=0+0=01,resume']"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *assert 7 == 8", "*Captured aex_everywhere call*", "*1 crash"])


def test_a_test_without_ecalls_fails(suite: pytest.Pytester) -> None:
    result = run(suite, marked("pass"))
    result.stdout.fnmatch_lines(["*::test_it: aex_everywhere: the test makes no ECALL that could be swept"])


@pytest.mark.parametrize(
    ("mark", "options", "message"),
    [
        ("where='here'", [], "aex_everywhere: 'here' is no range of instructions*"),
        ("host=['int:jump']", [], "aex_everywhere: 'jump' is nothing that a host does*"),
        ("host=[]", [], "aex_everywhere: host: an empty list"),
        ("'window'", [], "*pytest.mark.aex_everywhere(where='all', host=*"),
        ("at='window'", [], "*pytest.mark.aex_everywhere(where='all', host=*"),
        (
            "",
            ["--aex-replay", "3:int"],
            "--aex-replay: '3:int' is not CALL:N:EVENT:ACTIONS, as in 1:411:pf:handle,resume",
        ),
    ],
)
def test_a_wrong_mark_is_an_error_before_any_test_runs(
    suite: pytest.Pytester, mark: str, options: list[str], message: str
) -> None:
    result = run(suite, marked("pass", mark), *options)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{message}"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 180), behaviour=behaviours())
def test_whatever_the_host_does_what_comes_of_it_is_harmless(
    sound: enclu.Enclave, number: int, behaviour: Behaviour
) -> None:
    """A property of an enclave, whose host may interrupt it, enter its handler, and make the call again."""
    (verdict,) = sound.sweep("compute", 1, 2, where=str(number), host=[behaviour])
    assert verdict.harmless, f"--replay {number}:{behaviour}"
