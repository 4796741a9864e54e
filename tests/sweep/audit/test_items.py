"""Each item finds the weakness that it is for, and does not find it where there is none."""

from __future__ import annotations

import pytest

from enclu.sweep.audit import Means, Verdict
from tests.sweep.audit.conftest import AuditOf

ITEMS = (
    ("entry/df", "KEEPS_DF", ""),
    ("entry/ac", "KEEPS_AC", ""),
    ("entry/nt", "KEEPS_NT", ""),
    ("entry/mxcsr", "KEEPS_MXCSR", ""),
    ("entry/x87-control", "KEEPS_X87_CW", ""),
    ("entry/x87-tags", "KEEPS_X87_TAGS", ""),
    ("exit/registers", "LEAVES_GPRS", ""),
    ("exit/flags", "LEAVES_FLAGS", ""),
    ("exit/vectors", "LEAVES_VECTORS", ""),
    ("exit/x87", "LEAVES_X87", ""),
    ("exception/stack-window", "OLD_ORDER", ""),
    ("exception/invalid-exitinfo", "ACCEPTS_INVALID_EXITINFO", ""),
    ("exception/any-vector", "ACCEPTS_ANY_VECTOR", ""),
    ("exception/handled-again", "REENTERS_HANDLER", ""),
    ("pointer/parameters", "POINTER_INSIDE", "sum(): [in"),
    ("pointer/parameters", "POINTER_STRADDLES", "copy(): [out"),
    ("pointer/parameters", "POINTER_NULL", "sum_outside(): [user_check"),
    ("pointer/ocall-results", "OCALL_RESULT_UNCHECKED", "look_up()"),
    ("pointer/ocall-results", "OCALL_RESULT_UNCHECKED", "relay()"),
    ("memory/double-fetch", "DOUBLE_FETCH", "sum()"),
    ("call/before-initialisation", "BEFORE_INIT", ""),
    ("image/writable-code", "WX_PAGES", ""),
)
WEAKNESSES = pytest.mark.parametrize(("item", "weakness", "subject"), ITEMS, ids=lambda value: str(value))


@WEAKNESSES
def test_a_weak_enclave_is_found(audit_of: AuditOf, item: str, weakness: str, subject: str) -> None:
    findings = audit_of(item, weakness, subject=subject)

    assert [f.verdict for f in findings] == [Verdict.WEAK], findings


@WEAKNESSES
def test_a_sound_enclave_is_not(audit_of: AuditOf, item: str, weakness: str, subject: str) -> None:
    findings = audit_of(item, subject=subject)

    assert [f.verdict for f in findings] == [Verdict.SOUND], findings


@pytest.mark.parametrize(
    "item", ["cssa/handler-at-0", "cssa/ecall-at-1", "cssa/exhausted", "entry/rsp", "call/stray-return"]
)
def test_the_sound_enclave_is_sound_in_what_it_has_no_weakness_for(audit_of: AuditOf, item: str) -> None:
    findings = audit_of(item)

    assert [f.verdict for f in findings] == [Verdict.SOUND], findings


def test_a_debug_enclave_is_found(audit_of: AuditOf) -> None:
    assert [f.verdict for f in audit_of("image/debug", debug=True)] == [Verdict.WEAK]


def test_a_production_enclave_is_not(audit_of: AuditOf) -> None:
    assert [f.verdict for f in audit_of("image/debug")] == [Verdict.SOUND]


@pytest.mark.parametrize(("weakness", "item"), [("LEAVES_VECTORS", "exit/vectors"), ("LEAVES_X87", "exit/x87")])
def test_what_is_left_is_found_in_a_debug_enclave_too(audit_of: AuditOf, item: str, weakness: str) -> None:
    assert [f.verdict for f in audit_of(item, weakness, debug=True)] == [Verdict.WEAK]


def test_a_weakness_is_of_its_own_item_alone(audit_of: AuditOf) -> None:
    others = [f for f in audit_of("entry", "KEEPS_DF") if f.item != "entry/df"]

    assert {f.verdict for f in others} == {Verdict.SOUND}


def test_smashex_is_caused_by_a_withdrawn_page(audit_of: AuditOf) -> None:
    finding = audit_of("exception/stack-window", "OLD_ORDER")[0]

    assert finding.means is Means.HOST


def test_smashex_says_how_many_bytes_of_the_stack_it_has_written(audit_of: AuditOf) -> None:
    finding = audit_of("exception/stack-window", "OLD_ORDER")[0]

    assert "bytes of the enclave's stack below" in finding.evidence


def test_a_vector_is_forged(audit_of: AuditOf) -> None:
    assert audit_of("exception/any-vector", "ACCEPTS_ANY_VECTOR")[0].means is Means.FORGED


def test_evidence_has_symbols(audit_of: AuditOf) -> None:
    finding = audit_of("pointer/parameters", "POINTER_INSIDE", subject="sum(): [in")[0]

    assert "sum+0x" in finding.evidence


def test_a_private_ecall_is_refused(audit_of: AuditOf) -> None:
    assert [(f.subject, f.verdict) for f in audit_of("call/private")] == [("inner()", Verdict.SOUND)]


def test_threads_on_one_tcs_are_the_processors_to_refuse(audit_of: AuditOf) -> None:
    assert [f.verdict for f in audit_of("call/parallel")] == [Verdict.NOT_APPLICABLE]


def test_ecalls_that_an_ocall_does_not_allow_are_refused(audit_of: AuditOf) -> None:
    found = audit_of("call/during-ocalls")

    assert {f.subject: f.verdict for f in found} == dict.fromkeys(["answer()", "receive()", "locate()"], Verdict.SOUND)
