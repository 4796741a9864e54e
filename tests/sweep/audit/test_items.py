"""Each item finds the weakness that it is for, and does not find it where there is none."""

from __future__ import annotations

import pytest

from enclu.sweep.audit import Means, Verdict
from enclu.sweep.audit.run import ITEMS as CHECKLIST
from tests.sweep.audit.conftest import AuditOf
from tests.sweep.conftest import OF_THE_IMAGE

ITEMS = (
    ("entry/df", "KEEPS_DF", ""),
    ("entry/ac", "KEEPS_AC", ""),
    ("entry/nt", "KEEPS_NT", ""),
    ("entry/mxcsr", "KEEPS_MXCSR", ""),
    ("entry/x87-control", "KEEPS_X87_CW", ""),
    ("entry/x87-tags", "KEEPS_X87_TAGS", ""),
    ("entry/rsp", "KEEPS_RSP", ""),
    ("entry/rsp", "PUSHES_EARLY", ""),
    ("exit/registers", "LEAVES_GPRS", ""),
    ("exit/flags", "LEAVES_FLAGS", ""),
    ("exit/vectors", "LEAVES_VECTORS", ""),
    ("exit/x87", "LEAVES_X87", ""),
    ("exception/stack-window", "OLD_ORDER", ""),
    ("exception/invalid-exitinfo", "ACCEPTS_INVALID_EXITINFO", ""),
    ("exception/any-vector", "ACCEPTS_ANY_VECTOR", ""),
    ("exception/handled-again", "REENTERS_HANDLER", ""),
    ("cssa/handler-at-0", "HANDLES_AT_0", ""),
    ("cssa/ecall-at-1", "ECALL_AT_1", ""),
    ("cssa/exhausted", "GIVES_UP_CALLS", ""),
    ("pointer/parameters", "POINTER_INSIDE", "sum(): [in"),
    ("pointer/parameters", "POINTER_STRADDLES", "copy(): [out"),
    ("pointer/parameters", "POINTER_NULL", "sum_outside(): [user_check"),
    ("pointer/ocall-results", "OCALL_RESULT_UNCHECKED", "look_up()"),
    ("pointer/ocall-results", "OCALL_RESULT_UNCHECKED", "relay()"),
    ("pointer/ocall-results", "POINTER_STRADDLES", "look_up()"),
    ("pointer/ocall-results", "POINTER_NULL", "look_up()"),
    ("memory/double-fetch", "DOUBLE_FETCH", "sum()"),
    ("memory/dynamic-pages", "EACCEPT_UNCHECKED", "keep(): restricted"),
    ("call/before-initialisation", "BEFORE_INIT", ""),
    ("call/private", "PRIVATE_FROM_ROOT", "inner()"),
    ("call/during-ocalls", "DURING_OCALLS", "answer()"),
    ("call/during-ocalls", "DURING_OCALLS", "receive()"),
    ("call/during-ocalls", "DURING_OCALLS", "locate()"),
    ("call/stray-return", "STRAY_RETURN", ""),
    ("image/writable-code", "WX_PAGES", ""),
    ("image/unmeasured-code", "UNMEASURED_CODE", ""),
)
WEAKNESSES = pytest.mark.parametrize(("item", "weakness", "subject"), ITEMS, ids=lambda value: str(value))


def places(evidence: str) -> list[str]:
    """Of weak pointers, where they led."""
    return [told.partition(" (")[0] for told in evidence.split("; ")]


@WEAKNESSES
def test_a_weak_enclave_is_found(audit_of: AuditOf, item: str, weakness: str, subject: str) -> None:
    findings = audit_of(item, weakness, subject=subject)

    assert [f.verdict for f in findings] == [Verdict.WEAK], findings


@WEAKNESSES
def test_a_sound_enclave_is_not(audit_of: AuditOf, item: str, weakness: str, subject: str) -> None:
    findings = audit_of(item, subject=subject)

    assert [f.verdict for f in findings] == [Verdict.SOUND], findings


@pytest.mark.parametrize(
    ("item", "weakness", "subject"), [tried for tried in ITEMS if tried[1] not in OF_THE_IMAGE], ids=str
)
def test_a_weakness_is_found_where_the_enclave_is_told_of_interrupts(
    audit_of: AuditOf, item: str, weakness: str, subject: str
) -> None:
    """The audit's own interrupts are no part of what it looks at: AEX-Notify does not tell of them."""
    findings = audit_of(item, weakness, subject=subject, aex_notify=True)

    assert [f.verdict for f in findings] == [Verdict.WEAK], findings


def test_each_item_has_a_weak_enclave() -> None:
    """But for one that the processor sees to, and image/debug, with tests of its own."""
    without = {item.name for item in CHECKLIST} - {item for item, *_ in ITEMS}

    assert without == {"image/debug", "call/parallel"}


def test_no_pointer_leads_the_sound_enclave_into_itself(audit_of: AuditOf) -> None:
    findings = audit_of("pointer/parameters")

    assert [f for f in findings if f.verdict is not Verdict.SOUND] == []


@pytest.mark.parametrize(
    ("subject", "weak"),
    [
        ("look_up()", ["inside", "across the lower border", "across the upper border", "NULL"]),
        (
            "relay()",
            ["inside", "across the lower border", "across the upper border", "huge", "misaligned", "a mebibyte"],
        ),
    ],
)
def test_each_result_is_found_that_nobody_checks(audit_of: AuditOf, subject: str, weak: list[str]) -> None:
    """As a number, a pointer is out of all bounds, and NULL is in them."""
    (finding,) = audit_of("pointer/ocall-results", "OCALL_RESULT_UNCHECKED", subject=subject)

    assert places(finding.evidence) == weak


@pytest.mark.parametrize(
    ("weakness", "weak"), [("POINTER_STRADDLES", "across the lower border"), ("POINTER_NULL", "NULL")]
)
def test_nothing_is_found_of_a_result_but_what_nobody_checks(audit_of: AuditOf, weakness: str, weak: str) -> None:
    (finding,) = audit_of("pointer/ocall-results", weakness, subject="look_up()")

    assert places(finding.evidence) == [weak]


def test_a_number_is_no_pointer(audit_of: AuditOf) -> None:
    """Of results that are only reckoned with, none is weak: NULL and what is huge are tried, too."""
    (finding,) = audit_of("pointer/ocall-results", "OCALL_RESULT_UNCHECKED", subject="ask()")

    assert finding.verdict is Verdict.SOUND
    assert "NULL: as usual" in finding.evidence
    assert "huge: as usual" in finding.evidence


def test_a_huge_address_outside_is_the_hosts_own_harm(audit_of: AuditOf) -> None:
    (finding,) = audit_of("pointer/ocall-results", subject="look_up()")

    assert "huge: #PF of the enclave at 0xffff800000000000" in finding.evidence


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


@pytest.mark.parametrize(
    ("weakness", "evidence"),
    [("KEEPS_RSP", "compiled code runs on the host's RSP"), ("PUSHES_EARLY", "entry code writes by the host's RSP")],
)
def test_what_is_done_on_the_hosts_stack_is_told(audit_of: AuditOf, weakness: str, evidence: str) -> None:
    assert evidence in audit_of("entry/rsp", weakness)[0].evidence


def test_an_old_fault_is_what_the_entry_for_exceptions_believes_at_cssa_0(audit_of: AuditOf) -> None:
    assert "a #PF in the frame" in audit_of("cssa/handler-at-0", "HANDLES_AT_0")[0].evidence


def test_threads_on_one_tcs_are_the_processors_to_refuse(audit_of: AuditOf) -> None:
    assert [f.verdict for f in audit_of("call/parallel")] == [Verdict.NOT_APPLICABLE]


def test_a_page_that_is_given_up_may_stay(audit_of: AuditOf) -> None:
    findings = audit_of("memory/dynamic-pages", "EACCEPT_UNCHECKED", subject="keep(): trimmed")

    assert [f.verdict for f in findings] == [Verdict.UNDECIDED], findings


def test_calls_that_change_no_pages_are_not_told_of(audit_of: AuditOf) -> None:
    subjects = {f.subject for f in audit_of("memory/dynamic-pages")}

    assert subjects == {"keep(): restricted rights", "keep(): trimmed pages"}
