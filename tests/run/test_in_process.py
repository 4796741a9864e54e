"""EENTER, ERESUME, EEXIT and EDECCSSA in the program's own process, and `--no-fast-path`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enclu.linux import delivery
from enclu.native import extended_state
from enclu.native.trampoline import Rule
from enclu.run import in_process
from enclu.sgx.structs import EncluLeaf
from enclu.sgx.xsave import AVX, AVX512
from tests.run.conftest import Passes
from tests.run.observing import passed, run_by_itself
from tests.run.test_programs import PROGRAMS
from tests.support import observed
from tests.support.observed import without_races
from tests.support.runs import HANGS, environment, run

PAIRS = int(os.environ.get("ENCLU_TEST_PAIRS", "1000000"))
"""Entries and exits of four threads under signals; for a thorough search more, ENCLU_TEST_PAIRS=100000000."""
SEARCH = {rule for rule in Rule if Rule.AT_ENCLU < rule <= Rule.SITED}
MET = {
    EncluLeaf.EENTER: SEARCH | {Rule.CLAIMING, Rule.ENTERED, Rule.OUT},
    EncluLeaf.ERESUME: SEARCH | {Rule.CLAIMING, Rule.RESUMING, Rule.RESUMED, Rule.OUT},
    EncluLeaf.EEXIT: SEARCH | {Rule.CLAIMING, Rule.LEFT, Rule.OUT},
    EncluLeaf.EDECCSSA: SEARCH | {Rule.CLAIMING, Rule.DECREASED, Rule.OUT},
}
"""Rules that a thread comes by, stopped at every instruction."""
AEX = {
    "AEX": {Rule.FAULTED, Rule.AEX_DONE, Rule.OUT},
    "AEX for a page": {Rule.FAULTED, Rule.AEX_DONE, Rule.SHOWING, Rule.OUT},
}
"""The same in AEXs."""
BY_ZF = {Rule.FOUND_Z, Rule.KEPT_Z}
"""Those of the two ways to find the slot that a thread without ZF does not go."""
PUT_ASIDE, GIVEN_BACK = "XSAVE of what is put aside", "XRSTOR of what was put aside"


def sweep(program: Path, env: dict[str, str], found: Path, count: int, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.support.sweep", str(program), str(count), *more]
    env = environment(**env, ENCLU_SWEEP=str(found))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(found.read_text()))


def test_a_thread_can_be_stopped_at_every_instruction(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """Registers, extended state, TCS and slot are those before the ENCLU then, or those behind it."""
    result = sweep(program("leaves"), enclave_environment, tmp_path / "found", 700)
    assert result["wrong"] == []
    assert set(result["met"]) >= {f"{leaf.name} {rule.name}" for leaf, rules in MET.items() for rule in rules}
    assert set(result["met"]) >= {f"{way} {rule.name}" for way, rules in AEX.items() for rule in rules}
    assert set(result["met"]) >= {f"{leaf.name} RDTSC" for leaf in MET}


def test_a_thread_can_be_stopped_where_a_jump_in_place_of_its_enclu_leads(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """Of the program's own ENCLU as of the enclave's."""
    env = {**enclave_environment, "ENCLU_SWEEP_DELIVERY": "signal"}
    result = sweep(program("leaves"), env, tmp_path / "found", 350)
    assert result["wrong"] == []
    assert set(result["met"]) >= {f"{leaf.name} {rule.name}" for leaf, rules in MET.items() for rule in rules}
    assert set(result["met"]) >= {f"{leaf.name} {rule.name} in a copy" for leaf in MET for rule in SEARCH}


def test_a_thread_can_be_stopped_at_every_instruction_where_nobody_listens(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """It writes no records then."""
    env = {**enclave_environment, "ENCLU_SWEEP_UNTOLD": "1", "ENCLU_SWEEP_ONCE": "1"}
    result = sweep(program("leaves"), env, tmp_path / "found", 350)
    assert result["wrong"] == []
    assert set(result["met"]) >= {f"{leaf.name} {rule.name}" for leaf, rules in MET.items() for rule in rules - BY_ZF}
    assert not [what for what in result["met"] if what.endswith("RDTSC")]


@pytest.mark.parametrize(
    ("what", "needed", "initial"),
    [
        ("AVX and AVX-512", AVX, {AVX: "VZEROUPPER", AVX512: "KXORW of K7"}),
        ("beside", AVX512, {AVX512: "XRSTOR of initial state"}),
    ],
)
def test_a_thread_with_state_that_its_enclave_lacks_can_be_stopped_at_every_instruction(
    what: str, needed: int, initial: dict[int, str], program: Callable[[str], Path],
    enclave_environment: dict[str, str], tmp_path: Path,
) -> None:  # fmt: skip
    """What is put aside is back afterwards, or never was."""
    xcr0 = extended_state.layout().xcr0
    if not xcr0 & needed:
        pytest.skip("this processor has no such state")
    env = {**enclave_environment, "ENCLU_SWEEP_ONCE": "1"}
    result = sweep(program("leaves"), env, tmp_path / "found", 400, "1", "0", what)
    assert result["wrong"] == []
    instructions = [PUT_ASIDE, *(instruction for component, instruction in initial.items() if xcr0 & component)]
    aside = {f"{leaf} {instruction}" for leaf in ("EENTER", "ERESUME") for instruction in instructions}
    assert set(result["met"]) >= aside | {f"{way} {GIVEN_BACK}" for way in ("EEXIT", *AEX)}


def test_an_ioctl_that_adds_a_page_can_be_stopped_at_every_instruction(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """It stops as ever then, or the page is in the queue and the call is over; the lock is free."""
    result = sweep(program("queued"), enclave_environment, tmp_path / "found", 600)
    assert result["wrong"] == [] and result["over"]
    assert set(result["met"]) >= {f"ioctl {rule.name}" for rule in (Rule.LOCKING, Rule.QUEUEING, Rule.QUEUED, Rule.OUT)}


def test_a_process_can_be_killed_at_every_instruction(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """Nothing of it is left: no thread, enclave, TCS, and no tickets."""
    env = {**enclave_environment, "ENCLU_SWEEP_KILLS": "1"}
    result = sweep(program("killed_children"), env, tmp_path / "found", 900)
    assert result["wrong"] == [] and result["over"] == len(MET) + len(AEX)


DBGOPTIN, STEPPED = "a TCS has DBGOPTIN", "a program steps through its code"
WATCHED = "debug registers watch for instructions that read XCR0 in an enclave"
UNOPENED = "the program cannot open the machine's memory ({})"
BY_STOPS: dict[str, tuple[str, ...]] = {
    "debug_access": (DBGOPTIN,),
    "debug_optin": (DBGOPTIN, STEPPED),
    "device_paths": (UNOPENED.format("No such file or directory"),),
    "extended_state": (WATCHED,),
    "many_opens": (UNOPENED.format("Too many open files"),),
    "noexec_source": (UNOPENED.format("Permission denied"),),
    "one_descriptor": (UNOPENED.format("Too many open files"),),
    "single_step": (STEPPED,),
    "stepped_beside": (STEPPED,),
    "user_dispatch": ("a thread has its system calls dispatched by prctl(PR_SET_SYSCALL_USER_DISPATCH)",),
    "xsave_by_xfrm": (WATCHED,),
}
"""Programs in which some transitions have to stop their threads, and why."""
BY_CHANCE = {("entries_raced", DBGOPTIN)}
"""The same of those that may or may not: a TCS has DBGOPTIN for a moment, in which nobody need enter."""
FIRST = 6
"""Programs that enter no more often may do so by first entries alone, of a thread or at a TCS, which stop."""


def in_process_but_for_known_reasons(name: str, stderr: str) -> None:
    """So the program was entered; where memory is free for jumps, is chance."""
    (told,) = stderr.splitlines()
    counters = json.loads(told)
    chance = {in_process.OUT_OF_REACH, *(reason for program, reason in BY_CHANCE if program == name)}
    reasons = tuple(reason for reason in counters["by_stops"] if reason not in chance)
    assert reasons == BY_STOPS.get(name, ())
    if counters["leaves"].get("EENTER", 0) > FIRST and STEPPED not in reasons:
        assert counters["in_process"].get("EENTER", 0) > 0


@pytest.mark.parametrize("design", delivery.names())
@pytest.mark.parametrize(
    "name", ["entries_raced", "forks_at_speed", "jumps_give_way", "own_aex", "stepped_beside", "types_raced"]
)
def test_program(name: str, design: str, passes: Passes) -> None:
    done = passes(name, options=("--stats=json", "--quiet", "--delivery", design))
    in_process_but_for_known_reasons(name, done.stderr)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_comes_to_the_same_by_stops(
    name: str, program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    path = program(name)

    def fast() -> dict[str, Any]:
        done = run_by_itself(name, path, enclave_environment)
        in_process_but_for_known_reasons(name, done.stderr)
        return passed(name, done.returncode, done.stdout, done.stderr)

    def slow() -> dict[str, Any]:
        done = run_by_itself(name, path, enclave_environment, "--no-fast-path")
        (told,) = done.stderr.splitlines()
        assert json.loads(told)["in_process"] == {}
        return passed(name, done.returncode, done.stdout, done.stderr)

    observed.agree(slow, fast)


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("death_inside", (), ("--epc", "1M")),
        ("entries_raced", ("4000", "20"), ()),
        ("exec_while_inside", (), ("--epc", "1M")),
        ("forks_at_speed", ("1000",), ()),
        ("own_aex", (), ()),
        ("pairs", ("1000", "4", "1000"), ()),
        ("pidfd_wait", ("20", "that is killed while entering an enclave"), ()),
        ("pidfd_wait", ("20", "that is killed in an enclave"), ()),
        ("leaves", ("50", "4", "1000"), ()),
        ("random_calls", ("1",), ()),
    ],
)
def test_program_with_every_transition_by_a_stop(
    name: str, arguments: tuple[str, ...], options: tuple[str, ...], passes: Passes
) -> None:
    """Those outside PROGRAMS, but for the one about jumps."""
    assert passes(name, *arguments, options=("--quiet", "--no-fast-path", *options)).stderr == ""


def counters(program: Path, env: dict[str, str], *options: str) -> dict[str, Any]:
    done = run(program, "300", "2", options=("--stats=json", *options), env=environment(**env))
    assert done.returncode == 0, done.stdout + done.stderr
    return without_races(json.loads(done.stderr))


@pytest.mark.parametrize("design", delivery.names())
def test_the_counters_are_the_same(
    design: str, program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    fast = counters(program("leaves"), enclave_environment, "--delivery", design)
    slow = counters(program("leaves"), enclave_environment, "--delivery", design, "--no-fast-path")
    executed, by_stops = fast.pop("in_process"), fast.pop("by_stops")
    assert by_stops == [] and slow.pop("by_stops") == [] and slow.pop("in_process") == {}
    assert fast == slow
    # All but the first of each thread's.
    assert all(fast["leaves"][leaf] - executed[leaf] < 12 for leaf in ("EENTER", "ERESUME", "EEXIT", "EDECCSSA"))


def test_an_enclave_may_read_its_ssa_without_a_fault_for_entries_access_it(passes: Passes) -> None:
    ways = "--fast-path", "--no-fast-path"
    fast, slow = (json.loads(passes("own_ssa", options=("--stats=json", way)).stderr) for way in ways)
    assert fast["leaves"]["EENTER"] == slow["leaves"]["EENTER"] == 2
    assert fast["aex"] == slow["aex"] and fast["faults_resolved"] == slow["faults_resolved"]


@pytest.mark.parametrize("design", ["vdso", "signal"])
def test_state_that_an_enclave_lacks_is_put_aside_at_speed(design: str, passes: Passes) -> None:
    counters = json.loads(passes("state_aside", options=("--stats=json", "--delivery", design)).stderr)
    assert counters["by_stops"] == []
    assert all(counters["leaves"][leaf] - counters["in_process"][leaf] < 12 for leaf in ("EENTER", "EEXIT"))


@pytest.mark.parametrize("design", ["vdso", "signal"])
def test_entries_that_no_changed_page_concerns_stay_in_process(design: str, passes: Passes) -> None:
    counters = json.loads(passes("entries_unconcerned", options=("--stats=json", "--delivery", design)).stderr)
    assert counters["by_stops"] == [] and counters["leaves"]["EENTER"] == 300
    # All but the first, and the one after the first EEXIT, which has become a jump meanwhile.
    assert counters["in_process"]["EENTER"] >= 298


@pytest.mark.parametrize("design", ["vdso", "signal", "mm-handler"])
@pytest.mark.parametrize("way", ["--fast-path", "--no-fast-path"])
def test_notified_threads_under_a_storm_of_signals_get_right_results(way: str, design: str, passes: Passes) -> None:
    passes("notified", "1000", "3", "1000", options=("--delivery", design, way))


def test_threads_under_a_storm_of_signals_get_right_results(passes: Passes) -> None:
    passes("pairs", "100000", "4", "1000")


def test_pairs_under_a_storm_of_signals_are_counted_and_nothing_grows(passes: Passes) -> None:
    """What grows, of the program and of its supervisor, the program looks at itself."""
    done = passes("pairs_lasting", str(PAIRS // 4), "4", "150", options=("--stats=json",))
    counters = json.loads(done.stderr)
    leaves, in_process = counters["leaves"], counters["in_process"]
    assert leaves["EENTER"] == leaves["EEXIT"] == PAIRS // 4 * 4
    # The others are executed by a stop: a thread's first, and those that a signal finds half done.
    assert min(in_process["EENTER"], in_process["EEXIT"]) > 0.99 * PAIRS - 100


@pytest.mark.parametrize("design", ["vdso", "signal"])
def test_exceptions_under_a_storm_of_signals_get_right_results(design: str, passes: Passes) -> None:
    passes("leaves", "300", "4", "1000", options=("--delivery", design))
