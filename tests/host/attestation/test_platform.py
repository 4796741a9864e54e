"""The quoting and certification enclaves: whom they believe, and what they keep."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import enclu
from enclu.host.attestation import architectural
from enclu.host.attestation.collateral import verify_p256
from enclu.host.attestation.pce import PCE_CERTIFICATION, PCE_INFO, PceError, PceFunction
from enclu.host.attestation.platform import Platform, QeFunction, QeOcall, product
from enclu.host.attestation.quote import parse
from enclu.sgx.machine import CPUSVN
from enclu.sgx.structs import Attribute
from tests.host.attestation.test_local import MAKE_REPORT
from tests.support import hostile


def test_the_pce_signs_with_the_key_that_the_manufacturer_derives(machine: enclu.Machine, app: Path) -> None:
    platform = Platform(machine.process())
    qe_report, signature = certified(platform, app)
    key = platform.manufacturer.pck_key(product(platform.pce.image))
    assert verify_p256(key.public_key(), signature, qe_report[:384])


def certified(platform: Platform, app: Path) -> tuple[bytes, bytes]:
    """A report of the QE to the PCE, taken from a quote being made, and its signature."""
    seen: list[bytes] = []
    enclave = platform.process.load(architectural.image("qe"), ocalls={QeOcall.PCE_INFO: platform._pce_info})

    def certify(at: int) -> int:
        request = bytearray(platform.process.memory.read(at + 520, PCE_CERTIFICATION.size))
        assert platform.pce.ecall(PceFunction.CERTIFY, request) == 0
        seen.append(bytes(request))
        return 1

    enclave.ocalls[QeOcall.CERTIFY] = certify
    quoting = Platform(platform.process)
    quoting._enclaves["qe"] = enclave
    with pytest.raises(enclu.attestation.AttestationError, match="NOT_CERTIFIED"):
        quoting.quote(enclu.attestation.report(platform.process.load(app), quoting.target_info(), by=MAKE_REPORT))
    found = PCE_CERTIFICATION.unpack(seen[0])
    return found["report"], found["signature"]


def certification(platform: Platform, report: bytes, **fields: object) -> bytearray:
    return bytearray(PCE_CERTIFICATION.pack(**{"report": report, "cpusvn": CPUSVN, "pce_svn": 1, **fields}))


def pce_target(platform: Platform) -> bytes:
    info = bytearray(PCE_INFO.size)
    assert platform.pce.ecall(PceFunction.GET_INFO, info) == 0
    return bytes(info[:512])


def test_the_pce_certifies_no_enclave_without_the_provisioning_key(machine: enclu.Machine, app: Path) -> None:
    platform = Platform(machine.process())
    report = enclu.attestation.report(platform.process.load(app), pce_target(platform), by=MAKE_REPORT)
    request = certification(platform, report)
    assert platform.pce.ecall(PceFunction.CERTIFY, request) == PceError.INVALID_PRIVILEGE


def test_the_pce_believes_no_report_that_is_not_for_it(machine: enclu.Machine, app: Path) -> None:
    platform = Platform(machine.process())
    report = enclu.attestation.report(platform.process.load(app), platform.target_info(), by=MAKE_REPORT)
    request = certification(platform, report)
    assert platform.pce.ecall(PceFunction.CERTIFY, request) == PceError.INVALID_REPORT


@pytest.mark.parametrize("fields", [{"pce_svn": 2}, {"cpusvn": bytes([2]) * 16}], ids=["isvsvn", "cpusvn"])
def test_the_pce_signs_for_no_version_higher_than_there_is(
    machine: enclu.Machine, app: Path, fields: dict[str, object]
) -> None:
    platform = Platform(machine.process())
    report, _ = certified(platform, app)
    assert platform.pce.ecall(PceFunction.CERTIFY, certification(platform, report, **fields)) == PceError.REFUSED_SVN


def test_the_qe_quotes_no_report_of_another_machine(machine: enclu.Machine, app: Path) -> None:
    with enclu.Machine() as elsewhere:
        theirs = elsewhere.process().load(app)
        platform = Platform(machine.process())
        report = enclu.attestation.report(theirs, platform.target_info(), by=MAKE_REPORT)
        with pytest.raises(enclu.attestation.AttestationError, match="INVALID_REPORT"):
            platform.quote(report)


def test_a_report_of_another_size_is_refused(machine: enclu.Machine) -> None:
    with pytest.raises(enclu.attestation.AttestationError, match="5 bytes; a REPORT has 432"):
        Platform(machine.process()).quote(bytes(5))


def test_qe_and_pce_write_nothing_into_themselves(machine: enclu.Machine) -> None:
    platform = Platform(machine.process())
    for enclave, functions in ((platform.qe, QeFunction), (platform.pce, PceFunction)):
        for function in functions:
            assert enclave.ecall(function, enclave.base) == 1  # INVALID_PARAMETER


def test_neither_can_be_loaded_as_a_debug_enclave(machine: enclu.Machine) -> None:
    process = machine.process()
    for name in ("qe", "pce"):
        with pytest.raises(enclu.HostError, match="EINIT is refused: ATTRIBUTES is 0x16"):
            process.load(architectural.image(name), debug=True)


def test_a_process_has_one_attestation_key_and_a_named_machine_keeps_it(app: Path) -> None:
    def keys(machine: enclu.Machine) -> set[bytes]:
        enclave = machine.process().load(app)
        return {parse(enclu.attestation.quote(enclave, by=MAKE_REPORT)).attestation_key for _ in range(2)}

    with enclu.Machine(name="kept") as machine:
        first = keys(machine)
    with enclu.Machine(name="kept") as machine:
        assert keys(machine) == first
    with enclu.Machine() as machine:
        assert keys(machine) != first
    assert len(first) == 1


def test_threads_that_want_the_first_quotes_at_once_get_one_key(machine: enclu.Machine, app: Path) -> None:
    enclave = machine.process().load(app)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda i: enclu.attestation.quote(enclave, bytes([i]), by=MAKE_REPORT), range(1, 7)))
    assert len({parse(quote).attestation_key for quote in made}) == 1
    for i, quote in enumerate(made, 1):
        enclu.attestation.verify(quote, root=enclu.attestation.root(machine), report_data=bytes([i])).require()


def test_a_kept_key_that_is_damaged_is_replaced(app: Path) -> None:
    def key() -> bytes:
        with enclu.Machine(name="damaged") as machine:
            made = enclu.attestation.quote(machine.process().load(app), by=MAKE_REPORT)
            return parse(made).attestation_key

    first = key()
    path = architectural.key_file("damaged")
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    second = key()
    assert second != first
    assert key() == second


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_a_kept_key_that_is_no_file_of_ones_own_is_told_or_replaced(kind: str, app: Path) -> None:
    hostile.put(path := architectural.key_file(f"hostile-{kind.replace(' ', '-').replace(chr(39), '')}"), kind)
    with enclu.Machine(name=path.stem) as machine:
        loaded = machine.process().load(app)
        if kind == "huge":
            assert enclu.attestation.quote(loaded, by=MAKE_REPORT) and path.stat().st_size < 1 << 20
            return
        with pytest.raises(enclu.HostError, match=f"{path}: {re.escape(hostile.KINDS[kind][1])}"):
            enclu.attestation.quote(loaded, by=MAKE_REPORT)


@pytest.mark.parametrize("kind", [k for k in (*hostile.KINDS, "empty", "not text") if k != "directory"])
@pytest.mark.parametrize("suffix", ["", ".sig"])
def test_a_kept_quoting_enclave_that_is_damaged_is_built_again(kind: str, suffix: str) -> None:
    right = architectural.image("pce")
    hostile.put(right.path.with_name(right.path.name + suffix), kind)
    again = architectural.image("pce")
    assert (again.path, again.sigstruct) == (right.path, right.sigstruct)
    assert again.mrenclave() == right.mrenclave()


def test_qe_and_pce_have_the_provisioning_key_and_are_no_debug_enclaves() -> None:
    for name in ("qe", "pce"):
        attributes = architectural.image(name).attributes
        assert attributes == Attribute.MODE64BIT | Attribute.PROVISIONKEY
