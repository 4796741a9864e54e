"""TCB info and QE identity: what makes them good to judge a quote by, and what they say of it then."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from enclu.host.attestation import collateral
from tests.host.attestation.forge import MANUFACTURER, PCE, QE, Parts
from tests.host.attestation.issuing import Certificate, named
from tests.host.attestation.judging import NOW, OTHER, failed, identity, judged, statement, with_collateral

DATE = "2020-01-01T00:00:00Z"


def level(svn: int, pcesvn: int, status: str) -> dict[str, Any]:
    tcb = {"sgxtcbcomponents": [{"svn": svn}] * 16, "pcesvn": pcesvn}
    return {"tcb": tcb, "tcbDate": DATE, "tcbStatus": status}


def qe_level(isvsvn: int, status: str) -> dict[str, Any]:
    return {"tcb": {"isvsvn": isvsvn}, "tcbDate": DATE, "tcbStatus": status}


def like(made: Any) -> Certificate:
    """To be issued by the root again."""
    return Certificate.like(made, MANUFACTURER.root_key)


LEVEL = level(1, 1, "UpToDate")


@pytest.mark.parametrize(
    ("levels", "status"),
    [
        ([(2, 1, "UpToDate"), (1, 1, "OutOfDate")], "OutOfDate"),
        ([(1, 2, "UpToDate"), (0, 0, "Revoked")], "Revoked"),
        ([(2, 2, "UpToDate")], collateral.UNKNOWN),
        ([(1, 1, "UpToDate"), (0, 0, "Revoked")], "UpToDate"),
        ([(0, 0, "UpToDate"), (1, 1, "Revoked")], "Revoked"),
        ([(1, 0, "UpToDate"), (1, 1, "OutOfDate")], "OutOfDate"),
    ],
)
def test_the_highest_level_that_a_platform_reaches_is_its_status(levels: list[Any], status: str) -> None:
    found = statement(tcbLevels=[level(*of) for of in levels])
    verdict = judged(**with_collateral(tcb_info=found))
    assert [c.text for c in verdict.checks if c.name == "TCB"] == [status]
    assert verdict.good == (status == "UpToDate")


def test_a_status_can_be_accepted() -> None:
    found = with_collateral(tcb_info=statement(tcbLevels=[level(1, 1, "SWHardeningNeeded")]))
    assert failed(judged(**found)) == {"TCB"}
    assert judged(**found, accepted_tcb=frozenset({"SWHardeningNeeded", "UpToDate"})).good


def test_tcb_info_of_the_second_version_is_read_too() -> None:
    tcb = {f"sgxtcbcomp{i:02}svn": 1 for i in range(1, 17)} | {"pcesvn": 1}
    levels = [level(1, 1, "UpToDate") | {"tcb": tcb}]
    assert judged(**with_collateral(tcb_info=statement(version=2, tcbLevels=levels))).good
    with pytest.raises(collateral.CollateralError, match="sgxtcbcomponents"):
        statement(version=3, tcbLevels=levels)


@pytest.mark.parametrize(
    ("changes", "check"),
    [({"fmspc": "000000000000"}, "TCB"), ({"nextUpdate": "2025-12-31T00:00:00Z"}, "TCB info")],
    ids=["other-platform", "outdated"],
)
def test_tcb_info_must_be_of_this_platform_and_time(changes: dict[str, Any], check: str) -> None:
    assert failed(judged(**with_collateral(tcb_info=statement(**changes)))) == {check}


def test_tcb_info_must_be_signed_by_who_the_root_has_certified() -> None:
    forged = collateral.parse_tcb_info(OTHER.tcb_info(PCE, NOW))
    assert failed(judged(**with_collateral(tcb_info=forged))) == {"TCB info"}
    both = [OTHER.tcb_signing, OTHER.root]
    assert "TCB info, certificate chain" in failed(judged(**with_collateral(tcb_info=forged, signing_chain=both)))
    assert "TCB info" in failed(judged(**with_collateral(signing_chain=())))


def test_a_statement_with_a_key_twice_is_refused() -> None:
    genuine = MANUFACTURER.tcb_info(PCE, NOW)
    other = json.loads(genuine)["tcbInfo"] | {"fmspc": "ffffffffffff"}
    with pytest.raises(collateral.CollateralError, match="'tcbInfo' is there twice"):
        collateral.parse_tcb_info(genuine[:-1] + b',"tcbInfo":' + json.dumps(other).encode() + b"}")
    with pytest.raises(collateral.CollateralError, match="'tcbLevels' is there twice"):
        collateral.parse_tcb_info(genuine.replace(b'"tcbLevels":', b'"tcbLevels":[],"tcbLevels":'))


def test_a_statement_is_of_the_file_itself_not_of_something_in_it() -> None:
    genuine = MANUFACTURER.tcb_info(PCE, NOW)
    other = json.loads(genuine)["tcbInfo"] | {"fmspc": "ffffffffffff"}
    within = b'{"x":{"tcbInfo":' + json.dumps(other).encode() + b"}," + genuine[1:]
    with pytest.raises(collateral.CollateralError, match="tcbInfo is within something else"):
        collateral.parse_tcb_info(within)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not tcbInfo in JSON"),
        (b"[" * 100_000, "not tcbInfo in JSON"),
        (b'{"tcbInfo":{},"signature":"00"}', "signature is 00: it must be 64 bytes"),
        (b'{"tcbInfo":[],"signature":"%s"}' % (b"00" * 64), "tcbInfo is"),
        (b'{"tcbInfo":{"fmspc":5},"signature":"%s"}' % (b"00" * 64), "fmspc is 5: it must be 6 bytes"),
    ],
)
def test_damaged_collateral_is_an_error_that_names_the_field(data: bytes, text: str) -> None:
    with pytest.raises(collateral.CollateralError, match=text):
        collateral.parse_tcb_info(data)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"id": "TDX"}, "id is TDX, not SGX"),
        ({"id": None}, "id is None, not SGX"),
        ({"version": 2, "id": "TDX"}, "id is TDX, not SGX"),
        ({"version": 1}, "version is 1, not 2 or 3"),
        ({"version": 99}, "version is 99, not 2 or 3"),
        ({"tcbType": 7}, "tcbType is 7, not 0"),
        ({"tdxModule": {}}, "tdxModule is there: it is of TDX"),
        ({"tcbLevels": [(1, 1, "UpToDate"), (1, 1, "Revoked")]}, "tcbLevels has .* twice"),
    ],
)
def test_tcb_info_of_something_else_is_refused_whoever_has_signed_it(changes: dict[str, Any], text: str) -> None:
    if "tcbLevels" in changes:
        changes = {"tcbLevels": [level(*of) for of in changes["tcbLevels"]]}
    if changes.get("version") == 2:
        tcb = {f"sgxtcbcomp{i:02}svn": 1 for i in range(1, 17)} | {"pcesvn": 1}
        changes["tcbLevels"] = [level(1, 1, "UpToDate") | {"tcb": tcb}]
    assert_refused("TCB info", text, tcb_info=statement(**changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"id": "QVE"}, "id is QVE, not QE"),
        ({"id": "TD_QE"}, "id is TD_QE, not QE"),
        ({"version": 1}, "version is 1, not 2"),
        ({"version": 3}, "version is 3, not 2"),
        ({"tcbLevels": [qe_level(0, "UpToDate"), qe_level(1, "Revoked")]}, "not in order"),
        ({"tcbLevels": [qe_level(1, "UpToDate"), qe_level(1, "Revoked")]}, "not in order"),
    ],
)
def test_an_identity_of_something_else_is_refused_whoever_has_signed_it(changes: dict[str, Any], text: str) -> None:
    assert_refused("QE identity", text, qe_identity=identity(**changes))


def assert_refused(check: str, text: str, **found: Any) -> None:
    verdict = judged(**with_collateral(**found))
    assert failed(verdict) == {check}
    [said] = [c.text for c in verdict.checks if c.name == check]
    assert re.search(text, said)


@pytest.mark.parametrize(
    ("report", "changes", "good"),
    [
        ({"MISCSELECT": 1}, {"miscselect": "01000000"}, True),
        ({"MISCSELECT": 1}, {"miscselect": "00000001"}, False),
        ({"MISCSELECT": 3}, {"miscselect": "01000000", "miscselectMask": "01000000"}, True),
        ({"MISCSELECT": 3}, {"miscselect": "03000000", "miscselectMask": "01000000"}, False),
        ({"ATTRIBUTES": 0x11}, {"attributes": "11" + "00" * 15}, True),
        ({"ATTRIBUTES": 0x15, "XFRM": 7}, {"attributes": "11" + "00" * 15}, True),
        ({"ATTRIBUTES": 0x15}, {"attributes": "15" + "00" * 15}, False),
        ({"ATTRIBUTES": 0x95}, {"attributes": "11" + "00" * 15}, False),
    ],
)
def test_values_are_little_endian_and_those_of_the_mask_s_bits(
    report: dict[str, int], changes: dict[str, str], good: bool
) -> None:
    parts = Parts()
    parts.qe_report.update(report)
    assert failed(judged(parts, **with_collateral(qe_identity=identity(**changes)))) == (set() if good else {"QE"})


def test_what_the_manufacturer_says_of_its_qe_is_of_the_mask_s_bits_only() -> None:
    fields = json.loads(MANUFACTURER.qe_identity(QE, NOW))["enclaveIdentity"]
    for name in ("miscselect", "attributes"):
        value, mask = (int(fields[n], 16) for n in (name, f"{name}Mask"))
        assert not value & ~mask
    assert fields["miscselect"] == "01000000"


@pytest.mark.parametrize(
    "changes",
    [
        {"tcbLevels": []},
        {"tcbLevels": [{"tcb": {"sgxtcbcomponents": [{"svn": 1}] * 16, "pcesvn": 1}, "tcbStatus": "UpToDate"}]},
        {"tcbLevels": [{**LEVEL, "tcbStatus": "uptodate"}]},
        {"tcbLevels": [{**LEVEL, "tcbStatus": []}]},
        {"tcbLevels": [{**LEVEL, "advisoryIDs": None}]},
        {"tcbLevels": [{**LEVEL, "tcb": {"sgxtcbcomponents": [{"svn": 256}] * 16, "pcesvn": 1}}]},
        {"tcbLevels": [{**LEVEL, "tcb": {"sgxtcbcomponents": [{"svn": 1}] * 17, "pcesvn": 1}}]},
        {"tcbLevels": [{**LEVEL, "tcb": {"sgxtcbcomponents": [{"svn": 1}] * 16, "pcesvn": 65536}}]},
        {"tcbEvaluationDataNumber": None},
        {"version": True},
        {"version": "3"},
        {"issueDate": "2025-1-1T00:00:00Z"},
        {"issueDate": "2025-01-01T00:00:00+00:00"},
        {"nextUpdate": "2026-02-30T00:00:00Z"},
        {"pceId": "0"},
    ],
    ids=repr,
)
def test_every_field_is_of_the_form_that_the_interface_says(changes: dict[str, Any]) -> None:
    with pytest.raises(collateral.CollateralError):
        statement(**changes)


@pytest.mark.parametrize(
    ("signer", "text"),
    [
        ("pck", "is no certificate for this purpose"),
        ("authority", "is an authority's, where the leaf is expected"),
        ("below the authority", "there must be 0 authorities"),
        ("another of the root's", "is no certificate for this purpose"),
    ],
)
def test_statements_are_signed_with_the_tcb_signing_certificate_only(signer: str, text: str) -> None:
    authority, below, other = MANUFACTURER.processor_ca, like(MANUFACTURER.tcb_signing), like(MANUFACTURER.tcb_signing)
    below.issuer, below.by = authority.subject, MANUFACTURER._processor_key
    other.subject = named("another")
    key, chain = {
        "pck": (MANUFACTURER.pck_key(PCE), [MANUFACTURER.pck(PCE), authority]),
        "authority": (MANUFACTURER._processor_key, [authority]),
        "below the authority": (MANUFACTURER.tcb_signing_key, [below.issue(), authority]),
        "another of the root's": (MANUFACTURER.tcb_signing_key, [other.issue()]),
    }[signer]
    signed = collateral.sign("tcbInfo", json.loads(MANUFACTURER.tcb_info(PCE, NOW))["tcbInfo"], key)
    verdict = judged(tcb_info=collateral.parse_tcb_info(signed), signing_chain=[*chain, MANUFACTURER.root])
    assert failed(verdict) == {"TCB info, certificate chain"}
    assert any(text in check.text for check in verdict.checks)
