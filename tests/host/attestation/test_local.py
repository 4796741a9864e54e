"""REPORTs and keys of real enclaves: local attestation, sealing, and what the SDK for C computes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import enclu
from enclu.host import signing
from enclu.host.attestation import identity
from enclu.host.attestation.architectural import signing_key
from enclu.host.attestation.platform import SEALED
from enclu.host.images import open_image
from enclu.sgx import crypto, keys
from enclu.sgx.machine import CPUSVN
from enclu.sgx.structs import KEYREQUEST, REPORT, TARGETINFO, Attribute, KeyName, KeyPolicy
from tests.host.attestation.conftest import PRODUCT

(MAKE_REPORT, VERIFY, SEAL, UNSEAL, OWN_REPORT, QUOTE_BY_OCALL, TARGET, CMAC, SIV, ALLOCATE, KEY) = range(11)
BUFFER = 1032


def buffer(content: bytes) -> bytearray:
    """struct buffer of app.c."""
    return bytearray((len(content).to_bytes(8, "little") + content).ljust(BUFFER, b"\0"))


def content(of: bytearray) -> bytes:
    return bytes(of[8 : 8 + int.from_bytes(of[:8], "little")])


@pytest.fixture(scope="module")
def loaded(app: Path) -> Any:
    with enclu.Machine() as machine, machine.process() as process:
        yield process.load(app)


def test_a_report_says_who_made_it_and_what_it_was_asked_to_say(loaded: Any, app: Path) -> None:
    report = REPORT.unpack(enclu.attestation.report(loaded, loaded, b"hello", by=MAKE_REPORT))
    assert report["MRENCLAVE"] == open_image(app).mrenclave()
    n = signing_key().public_key().public_numbers().n
    assert report["MRSIGNER"] == hashlib.sha256(n.to_bytes(384, "little")).digest()
    assert (report["ISVPRODID"], report["REPORTDATA"]) == (PRODUCT, b"hello".ljust(64, b"\0"))


def test_an_enclave_may_say_its_own_words_only(loaded: Any) -> None:
    report = enclu.attestation.report(loaded, loaded, b"hello", by=OWN_REPORT)
    assert REPORT.get(report, "REPORTDATA").startswith(b"the enclave's own words")


def test_the_target_of_a_report_verifies_it_and_nobody_else(app: Path, other: Path) -> None:
    with enclu.Machine() as machine:
        one, target = machine.process().load(app), machine.process().load(other)
        report = enclu.attestation.report(one, target, by=MAKE_REPORT)
        assert target.ecall(VERIFY, report) == 1
        assert one.ecall(VERIFY, report) == 0
        changed = bytearray(report)
        changed[REPORT.offset("REPORTDATA")] ^= 1
        assert target.ecall(VERIFY, bytes(changed)) == 0


def test_a_report_of_another_machine_is_not_genuine(app: Path) -> None:
    with enclu.Machine() as here, enclu.Machine() as there:
        mine, theirs = here.process().load(app), there.process().load(app)
        report = enclu.attestation.report(theirs, mine, by=MAKE_REPORT)
        assert mine.ecall(VERIFY, report) == 0
        target = enclu.attestation.target_info(mine)
        assert not enclu.attestation.report_is_genuine(here, report, target)
        assert enclu.attestation.report_is_genuine(there, report, target)


def test_target_info_is_what_the_enclave_itself_finds(loaded: Any) -> None:
    found = bytearray(TARGETINFO.size)
    assert loaded.ecall(TARGET, found) == 1
    assert identity.target_info(loaded) == bytes(found)


def test_an_enclave_does_not_answer_into_itself(loaded: Any) -> None:
    assert loaded.ecall(MAKE_REPORT, loaded.base) == 0
    assert loaded.ecall(MAKE_REPORT, loaded.base + loaded.size - 8) == 0
    assert loaded.ecall(MAKE_REPORT, (1 << 64) - 512) == 0


def test_more_report_data_than_there_is_room_for_is_refused(loaded: Any) -> None:
    with pytest.raises(enclu.attestation.AttestationError, match="65 bytes"):
        enclu.attestation.report(loaded, loaded, bytes(65), by=MAKE_REPORT)


def test_a_function_that_makes_no_report_is_named(loaded: Any) -> None:
    with pytest.raises(enclu.attestation.AttestationError, match="function 99 makes no report"):
        enclu.attestation.report(loaded, loaded, by=99)


# Sealing.


def test_what_was_sealed_is_unsealed_in_a_later_run_on_the_same_machine(app: Path) -> None:
    with enclu.Machine(name="sealing") as machine:
        sealed = buffer(b"a secret")
        assert machine.process().load(app).ecall(SEAL, sealed) == 1
    assert b"a secret" not in sealed
    with enclu.Machine(name="sealing") as machine:
        unsealed = buffer(content(sealed))
        assert machine.process().load(app).ecall(UNSEAL, unsealed) == 1
    assert content(unsealed) == b"a secret"


def test_neither_another_machine_nor_another_enclave_unseals_it(app: Path, other: Path, loaded: Any) -> None:
    sealed = buffer(b"a secret")
    assert loaded.ecall(SEAL, sealed) == 1
    with enclu.Machine() as machine:
        assert machine.process().load(app).ecall(UNSEAL, buffer(content(sealed))) == 0
    assert loaded.process.load(other).ecall(UNSEAL, buffer(content(sealed))) == 0
    assert loaded.ecall(UNSEAL, buffer(content(sealed))) == 1


def test_a_sealed_byte_changed_is_noticed_wherever_it_is(loaded: Any) -> None:
    sealed = buffer(b"a secret of more than sixteen bytes")
    assert loaded.ecall(SEAL, sealed) == 1
    for at in range(len(content(sealed))):
        changed = bytearray(content(sealed))
        changed[at] ^= 0x40
        assert loaded.ecall(UNSEAL, buffer(bytes(changed))) == 0, at


@pytest.mark.parametrize("size", [0, 1, 15, 16, 900])
def test_what_is_sealed_is_unsealed_whatever_its_size(loaded: Any, size: int) -> None:
    secret = (bytes(range(250)) * 4)[:size]
    blob = buffer(secret)
    assert loaded.ecall(SEAL, blob) == 1
    unsealed = buffer(content(blob))
    assert loaded.ecall(UNSEAL, unsealed) == 1
    assert content(unsealed) == secret


@pytest.mark.parametrize("size", [1, 15, 16, 17, 32, 33, 900])
def test_sealing_is_aes_siv_under_keys_of_egetkey(loaded: Any, size: int) -> None:
    secret = bytes(i % 251 for i in range(size))
    blob = buffer(secret)
    assert loaded.ecall(SEAL, blob) == 1
    sealed = SEALED.unpack(content(blob)[: SEALED.size])
    keyid = bytearray(sealed["keyid"])
    both = b""
    for last in (0, 1):
        keyid[31] = keyid[31] & 0xFE | last
        both += egetkey(loaded, sealed, bytes(keyid))
    header = content(blob)[: SEALED.offset("siv")]
    assert AESSIV(both).decrypt(sealed["siv"] + content(blob)[SEALED.size :], [header]) == secret
    assert (sealed["keypolicy"], sealed["cpusvn"], sealed["size"]) == (KeyPolicy.MRENCLAVE, CPUSVN, size)


def egetkey(enclave: Any, sealed: dict[str, Any], keyid: bytes) -> bytes:
    """What the enclave gets for its request: sgx_seal() in sealing.c."""
    request = KEYREQUEST.pack(
        KEYNAME=KeyName.SEAL_KEY, KEYPOLICY=KeyPolicy.MRENCLAVE, ISVSVN=sealed["isvsvn"], CPUSVN=sealed["cpusvn"],
        ATTRIBUTEMASK=int(Attribute.DEBUG), XFRMMASK=(1 << 64) - 4, KEYID=keyid,
    )  # fmt: skip
    image = enclave.image
    secs = SimpleNamespace(
        mrenclave=image.mrenclave(), mrsigner=signing.mrsigner(image.sigstruct), isvprodid=PRODUCT, configid=bytes(64),
        attributes=enclave.attributes | Attribute.INIT, xfrm=enclave.xfrm, miscselect=image.misc_select,
        isvfamilyid=bytes(16), isvextprodid=bytes(16),
    )  # fmt: skip
    machine = SimpleNamespace(secret=enclave.process.machine.secret, cpusvn=CPUSVN)
    return keys.derive(cast(Any, machine), cast(Any, secs), request)


# What else there is for enclaves in C.


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=16, max_size=16), st.binary(max_size=600))
def test_sgx_cmac_is_cmac(loaded: Any, key: bytes, message: bytes) -> None:
    request = bytearray((len(message).to_bytes(8, "little") + key + message).ljust(BUFFER, b"\0"))
    assert loaded.ecall(CMAC, request) == 1
    assert bytes(request[:16]) == crypto.cmac(key, message)


def test_malloc_gives_what_nobody_else_has_and_takes_pages_as_it_needs_them(app: Path) -> None:
    with enclu.Machine() as machine, machine.process() as process:
        faults: list[int] = []

        def count(exception: enclu.EnclaveException) -> enclu.Action:
            faults.append(exception.address)
            return enclu.Action.HANDLE

        enclave = process.load(app, on_exception=count)
        assert enclave.ecall(ALLOCATE, 2000) == 0
        spare = enclave.base + enclave.image.reserved[0][0]
        assert faults
        assert all(spare <= address < enclave.base + enclave.size for address in faults)
        assert len(set(faults)) == len(faults)
        once = len(faults)
        assert enclave.ecall(ALLOCATE, 2000) == 0
        assert len(faults) == once
