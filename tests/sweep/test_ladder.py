"""What becomes of calls that a host tampers with: each outcome brought about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from enclu.host.convention import Convention
from enclu.host.edl import Interface
from enclu.host.errors import ProcessDied
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.loaded import sweep_call
from enclu.sweep.outcome import Kind
from enclu.sweep.run import sweep
from enclu.sweep.session import Session
from enclu.sweep.subject import Subject
from enclu.sweep.watchers import NoReference, NoSuchMemory
from tests.sweep.conftest import ProofEnclave
from tests.sweep.watched import Watch, shape
from tests.sweep.watched import proof as proof
from tests.sweep.watched import swept as swept
from tests.sweep.watched import watch_image as watch_image
from tests.sweep.watched import watching as watching

Load = Callable[..., enclu.Enclave]
SAME, CHANGED, REFUSED, DIFFERENT = Kind.SAME, Kind.CHANGED, Kind.REFUSED, Kind.DIFFERENT
Proof = Callable[..., Subject]


@pytest.fixture
def load_stepping(stepping_process: enclu.Process, proof_enclave: ProofEnclave, interface: Interface) -> Load:
    return lambda *weaknesses: stepping_process.load(proof_enclave(*weaknesses), convention=interface.convention())


@pytest.mark.parametrize("call", ["sum([1, 2, 3], 3)", "copy(b'hello', bytearray(5), 5)", "ratio_x87(1, 8)"])
def test_interrupts_change_nothing(proof: Proof, call: str) -> None:
    verdict = sweep(proof(call), Behaviour.parse("int:resume"), "window")
    assert verdict.kinds == {SAME: 96} and verdict.harmless and verdict.unlike == ""


def test_a_page_that_is_withdrawn_and_given_back_changes_nothing(swept: Watch) -> None:
    assert shape(swept("pf:resume", "0:20,60:80")) == [SAME]


def test_an_exception_of_the_calls_own_is_part_of_it(proof: Proof) -> None:
    """#DE, which the enclave handles: interrupted before it, in either phase of the handler, and after."""
    verdict = sweep(proof("divide(7, 0)"), Behaviour.parse("int:resume"), "window")
    assert shape(verdict) == [SAME] and verdict.unlike == ""


def test_no_exception_can_be_handled_where_no_frame_is_left(proof: Proof) -> None:
    subject = proof("divide(7, 0)")
    with subject.session() as session:
        (handler,) = [n for n in range(1, len(session.rips)) if n in session.entries]
    verdict = sweep(subject, Behaviour.parse("pf:handle,resume"), f"{handler + 5}:{handler + 10}")
    assert {str(outcome) for outcome in verdict.points.values()} == {"same; handler: no entry, #GP"}


def test_an_instruction_that_has_an_exception_is_named(proof: Proof) -> None:
    """Not the handler's first, which has the same number."""
    subject = proof("divide(7, 0)")
    with subject.session() as session:
        (faulting,) = [n for n in range(1, len(session.rips)) if n in session.entries]
        assert session.rips[faulting] != session.rips[0]
        found: list[int] = []
        session.sweep(Behaviour.parse("int:resume"), [faulting], lambda point: found.append(point.rip))
        assert found == [session.rips[faulting]]


def test_ocalls_in_the_middle(swept: Watch) -> None:
    verdict = swept("int:resume", "60:100,200:260", lambda enclave: enclave.ecall(1, (3).to_bytes(8, "little")))
    assert verdict.reference == "result 0xb, 1 OCALLs" and shape(verdict) == [SAME]


def test_an_ocall_that_makes_an_ecall(proof: Proof, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ocalls_of_a_test.py").write_text("def answer(key):\n    return 5\n")
    monkeypatch.syspath_prepend(tmp_path)
    verdict = sweep(proof("ask(7)", ocalls="ocalls_of_a_test"), Behaviour.parse("int:resume"), "window")
    assert shape(verdict) == [SAME] and verdict.reference.endswith("1 OCALLs")


@pytest.mark.parametrize("call", ["random()", "ticks()"])
def test_what_the_processor_gives_is_the_same_each_time(proof: Proof, call: str) -> None:
    verdict = sweep(proof(call), Behaviour.parse("int:resume"), "80:120")
    assert (verdict.kinds, verdict.unlike, verdict.drawn) == ({SAME: 40}, "", 0)


@pytest.mark.parametrize("call", ["random()", "ticks()"])
def test_it_is_the_same_whatever_others_get_in_between(proof: Proof, call: str) -> None:
    verdict = sweep(proof(call), Behaviour.parse("int:other,resume"), "80:120")
    assert (verdict.kinds, verdict.unlike) == ({SAME: 40}, "")


@pytest.mark.parametrize("call", ["random()", "ticks()"])
def test_it_is_the_same_for_each_worker(proof: Proof, call: str) -> None:
    one, other = (sweep(proof(call), Behaviour.parse("int:resume"), "80:82") for _ in range(2))
    assert one.as_dict() == other.as_dict()


def test_checkpoints_of_the_enclaves_user_are_kept(watching: enclu.Enclave) -> None:
    for number in (0, 1):
        watching.stepping.checkpoint(number)
    watching.sweep(0, bytes(8), where="3:5")
    for number in (0, 1):
        watching.stepping.restore(number)
    assert watching.ecall(0, bytes(8)) == 7


def test_what_a_handler_has_changed_is_said_of_no_other(proof: Proof) -> None:
    verdict = sweep(proof("compute(1, 2)"), Behaviour.parse("pf:handle,handle,resume"), "140")
    assert verdict.points[140].answers == (
        "handler: accepted, and has changed where it goes on", "handler: refused, SGX_ERROR_ENCLAVE_CRASHED",
    )  # fmt: skip


# Memory that is changed in between.


def test_a_word_changed_before_it_is_read_is_as_if_changed_before_the_call(swept: Watch) -> None:
    verdict = swept("int:write=0+0=2a,resume")
    assert shape(verdict) == [CHANGED, SAME] and verdict.harmless


def test_words_changed_between_their_reading_are_different(proof: Proof) -> None:
    subject = proof("sum_outside(memory(b'\\1\\0\\0\\0' * 8), 8)")
    verdict = sweep(subject, Behaviour.parse("int:write=0+0=02,write=0+28=03,resume"), "160:220")
    assert shape(verdict) == [CHANGED, DIFFERENT, SAME] and not verdict.harmless


def test_a_word_read_twice_is_different(swept: Watch) -> None:
    verdict = swept("int:write=0+0=03,resume", make=lambda enclave: enclave.ecall(1, bytes(8)))
    assert shape(verdict) == [CHANGED, DIFFERENT, SAME]
    (different,) = [r for r in verdict.ranges if r.outcome.kind is DIFFERENT]
    assert different.outcome.detail == "result 0x8 in place of 0x5"


def test_a_crash(swept: Watch) -> None:
    verdict = swept("int:write=0+0=01,resume")
    assert shape(verdict) == [Kind.CRASH, SAME]
    assert verdict.points[0].detail == "#UD"


def test_a_hang(swept: Watch) -> None:
    assert shape(swept("int:write=0+0=02,resume", "3,9", hang=0.5)) == [Kind.HANG]


def test_what_would_hang_before_the_call_is_no_reference(proof: Proof) -> None:
    subject = proof("spin(memory(b'\\1\\0\\0\\0'))", hang=0.5)
    verdict = sweep(subject, Behaviour.parse("int:write=0+0=00,resume"), "100,200")
    assert shape(verdict) == [Kind.HANG, SAME]


def test_a_host_that_is_harmed_is_an_outcome_and_the_sweep_goes_on(watch_image: Path) -> None:
    subject = Subject(str(watch_image), "0(b'\\0' * 8)")
    verdict = sweep(subject, Behaviour.parse("int:write=0+0=03,resume"), "5,6")
    assert shape(verdict) == [Kind.HARMED] and verdict.whole and not verdict.harmless
    assert verdict.points[5] == verdict.points[6]


def test_a_host_whose_own_memory_is_overwritten_is_harmed(proof: Proof) -> None:
    """A handler that skips an instruction has memcpy() run through all that the host has."""
    subject = proof("compute(1, 2)", "ACCEPTS_ANY_VECTOR", hang=0.5)
    with subject.session() as session:
        end = len(session.rips)
    verdict = sweep(subject, Behaviour.parse("gp:handle,resume"), f"{end - 60}:{end - 53}")
    assert verdict.whole and Kind.HARMED in verdict.kinds
    assert "the enclave has overwritten the host's own memory" in {o.detail for o in verdict.points.values()}


def test_memory_that_is_not_shared_cannot_be_changed(swept: Watch) -> None:
    with pytest.raises(NoSuchMemory, match=r"write=7\+0=00: host and enclave share 2 blocks of memory in this call"):
        swept("int:write=7+0=00,resume", "5")


@pytest.mark.parametrize("write", ["0+60=" + 8 * "00", "0+64=00", "0+100000=00"])
def test_memory_behind_a_block_cannot_be_changed(swept: Watch, write: str) -> None:
    with pytest.raises(NoSuchMemory, match=r"block 0 has 64 bytes"):
        swept(f"int:write={write},resume", "5")


# What else a host does in between.


@pytest.mark.parametrize("behaviour", ["pf:handle,resume", "ud:handle,resume"])
def test_a_handler_refuses_while_rsp_is_the_hosts(proof: Proof, behaviour: str) -> None:
    verdict = sweep(proof("compute(1, 2)"), Behaviour.parse(behaviour), "0:4")
    assert shape(verdict) == [REFUSED] and verdict.causable == behaviour.startswith("pf")
    assert verdict.points[0].answers == ("handler: refused, SGX_ERROR_STACK_OVERRUN",)


def test_a_handler_that_is_entered_twice_makes_no_ocall(proof: Proof) -> None:
    assert shape(sweep(proof("compute(1, 2)"), Behaviour.parse("int:handle,handle,resume"), "0:3")) == [REFUSED]


def test_a_handler_accepts_what_the_host_may_do(proof: Proof) -> None:
    verdict = sweep(proof("compute(1, 2)"), Behaviour.parse("pf:handle,resume"), "30:34")
    assert {str(o) for o in verdict.points.values()} == {"same; handler: accepted, and has changed where it goes on"}


def test_a_handler_that_accepts_what_was_forged_is_found_by_what_it_does(proof: Proof) -> None:
    subject = proof("compute(1, 2)", "ACCEPTS_ANY_VECTOR")
    verdict = sweep(subject, Behaviour.parse("gp:handle,resume"), "140:143")
    assert not verdict.harmless and not verdict.causable
    assert shape(sweep(proof("compute(1, 2)"), Behaviour.parse("gp:handle,resume"), "140:142")) == [REFUSED]


@pytest.mark.parametrize(("move", "which"), [("again", "the same TCS"), ("other", "another TCS")])
def test_the_call_made_again_meanwhile(proof: Proof, move: str, which: str) -> None:
    verdict = sweep(proof("compute(1, 2)"), Behaviour.parse(f"int:{move},resume"), "3,100")
    assert shape(verdict) == [SAME]
    assert all(outcome.answers[0].startswith(f"the call on {which}: ") for outcome in verdict.points.values())


def test_a_host_that_does_not_go_on(swept: Watch) -> None:
    assert shape(swept("int:handle", "3,100")) == [Kind.LEFT]


def test_a_status_that_the_sdk_does_not_have_is_no_refusal(stepping_process: enclu.Process, proof: Proof) -> None:
    convention = stepping_process.load(proof("ticks()").image, convention="sdk").convention
    assert isinstance(convention, Convention)
    assert [convention.refusal(n) for n in (0, 1, 0x4F817FA0)] == ["", "SGX_ERROR_UNEXPECTED", ""]


# Calls that cannot be swept.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("sum_outside(8, 4)", "the call, undisturbed, ends so: crash, #PF"),
        ("unexpected(9223372036854775808)", "the call, undisturbed, ends so: crash, #GP"),
    ],
)
def test_a_call_that_ends_badly_by_itself(proof: Proof, call: str, message: str) -> None:
    with pytest.raises(NoReference, match=message):
        sweep(proof(call), Behaviour.parse("int:resume"))


def test_a_call_that_hangs_by_itself(proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enclu.sweep.session.WARM", 0.5)
    with pytest.raises(NoReference, match=r"the call, undisturbed, takes longer than 0\.5 seconds"):
        sweep(proof("spin(memory(b'\\0\\0\\0\\0'))"), Behaviour.parse("int:resume"))


def test_instructions_far_from_each_other(proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes to step from one to the next, that is no hang."""
    subject = proof("compute(1, 1500)", hang=0.3)
    with subject.session() as session:
        far = len(session.rips) - 1
        found: list[int] = []
        session.sweep(Behaviour.parse("int:resume"), [5, far], lambda point: found.append(point.number))
        assert found == [5, far] and far > 15_000


# A loaded enclave.


def test_afterwards_all_is_as_it_was(watching: enclu.Enclave) -> None:
    memory = watching.process.memory
    with memory.temporary(bytes(8)) as word:
        (verdict,) = sweep_call(
            watching, lambda enclave: enclave.ecall(0, word), where="5", host=["int:write=0+0=09,resume"]
        )
        assert shape(verdict) == [CHANGED]
        assert memory.read(word, 8) == bytes(8)
    assert watching.watcher is None and len(watching.tcs) == len(watching.tcs_pool.free) and not watching.lost
    assert watching.ecall(0, bytes(8)) == 7


def test_an_ecall_is_swept_with_its_arguments_as_at_first_each_time(watching: enclu.Enclave) -> None:
    word = bytearray(8)
    (verdict,) = watching.sweep(0, word, where="5", host="int:write=0+0=09,resume")
    assert shape(verdict) == [CHANGED] and word == bytes(8)
    assert verdict.call == f"ecall(0, {word!r})"


def test_a_call_that_ends_badly_leaves_the_enclave_as_it_was(watching: enclu.Enclave) -> None:
    with pytest.raises(NoReference):
        sweep_call(watching, lambda enclave: enclave.ecall(0, b"\1" + bytes(7)))
    assert not watching.lost and watching.ecall(0, bytes(8)) == 7


def test_several_behaviours_have_a_verdict_each(watching: enclu.Enclave) -> None:
    host: list[str | Behaviour] = ["int:resume", Behaviour.parse("ud:resume")]
    verdicts = sweep_call(watching, lambda enclave: enclave.ecall(0, bytes(8)), where="5,6", host=host, call="it")
    assert [(v.behaviour, v.causable, v.call, len(v.points)) for v in verdicts] == [
        ("int:resume", True, "it", 2), ("ud:resume", False, "it", 2),
    ]  # fmt: skip


def test_the_host_of_a_loaded_enclave_dies_once(watching: enclu.Enclave) -> None:
    with pytest.raises(
        ProcessDied, match=r"with the memory changed before it begins, the call ends its host: .*SIGSEGV"
    ):
        sweep_call(watching, lambda enclave: enclave.ecall(0, bytes(8)), where="5", host=["int:write=0+0=03,resume"])


def test_a_loaded_enclave_is_swept_with_a_hostile_rsp(load_stepping: Load) -> None:
    old = load_stepping("OLD_ORDER")
    hosts, trusted = (old.sweep("sum", [1, 2, 3], 3, where="0:4", host="pf:handle,resume", rsp=rsp)[0]
                      for rsp in (None, "trusted"))  # fmt: skip
    assert "refused, SGX_ERROR_STACK_OVERRUN" in hosts.points[0].answers[0]
    assert "accepted" in trusted.points[0].answers[0]
    assert (hosts.options, trusted.options) == ("", "--rsp trusted")


@pytest.mark.parametrize("rsp", ["nowhere", ""])
def test_an_rsp_that_is_none_is_refused(watching: enclu.Enclave, rsp: str) -> None:
    with pytest.raises(enclu.HostError, match="is no RSP: a number, or 'trusted'"):
        watching.sweep(0, bytes(8), where="5", rsp=rsp)


def test_a_process_that_cannot_step_is_told(process: enclu.Process, watch_image: Path) -> None:
    enclave = process.load(watch_image)
    with pytest.raises(enclu.HostError, match=r"its process cannot step: Machine.process\(stepping=True\)"):
        Session(enclave, lambda enclave: enclave.ecall(0, bytes(8)))


# The same verdict twice.


def test_an_enclave_is_as_deterministic_as_its_verdict(proof: Proof) -> None:
    one, other = (
        sweep(proof("sum([1, 2, 3], 3)"), Behaviour.parse("pf:handle,resume"), "window").as_dict() for _ in range(2)
    )
    assert one == other
