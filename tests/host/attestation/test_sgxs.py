"""REPORTs of enclaves that are SGXS streams (fortanix/rust-sgx, doc/SGXS.md): the MAC is by EGETKEY's report key."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import enclu
from enclu.host.images import open_image
from enclu.sgx import measurement
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.structs import REPORT, SECINFO, TCS
from tests.host.attestation.conftest import signed
from tests.host.attestation.test_local import VERIFY

READ_EXECUTE, READ_WRITE = PageType.REG << 8 | 5, PageType.REG << 8 | 3


def page(offset: int, content: bytes, flags: int) -> Iterator[bytes]:
    """The records of one page, all of it measured."""
    content = content.ljust(PAGE_SIZE, b"\0")
    yield measurement.eadd(offset, SECINFO.pack(FLAGS=flags))
    for chunk in range(0, PAGE_SIZE, measurement.CHUNK):
        yield measurement.eextend(offset + chunk, content[chunk : chunk + measurement.CHUNK])


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """An enclave of our own: report.S, signed."""
    code = tmp_path / "code.bin"
    source = Path(__file__).with_name("report.S")
    subprocess.run(
        ["gcc", "-nostdlib", "-static", "-Wl,--oformat=binary,-Ttext=0,--build-id=none", "-o", code, source], check=True
    )
    tcs = TCS.pack(OSSA=0x2000, NSSA=1, OENTRY=0, FSLIMIT=0xFFFFFFFF, GSLIMIT=0xFFFFFFFF)
    records = [
        measurement.ecreate(1, 0x4000), *page(0, code.read_bytes(), READ_EXECUTE),
        *page(0x1000, tcs, PageType.TCS << 8), *page(0x2000, b"", READ_WRITE), *page(0x3000, b"", READ_WRITE),
    ]  # fmt: skip
    path = tmp_path / "report.sgxs"
    path.write_bytes(b"".join(records))
    return signed(path)


def asked_for(enclave: enclu.Enclave, target: bytes, data: bytes) -> bytes:
    """The REPORT that report.S makes."""
    memory = enclave.process.memory
    with memory.temporary(target + data + bytes(REPORT.size)) as address:
        enclave.ecall(address)
        return memory.read(address + 576, REPORT.size)


def test_the_report_of_an_sgxs_enclave_is_genuine(machine: enclu.Machine, stream: Path, app: Path) -> None:
    process = machine.process()
    enclave, target = process.load(stream), process.load(app)
    report = asked_for(enclave, enclu.attestation.target_info(target), b"said".ljust(64))
    assert REPORT.get(report, "MRENCLAVE") == hashlib.sha256(stream.read_bytes()).digest()
    assert REPORT.get(report, "REPORTDATA") == b"said".ljust(64)
    assert enclu.attestation.report_is_genuine(machine, report, enclu.attestation.target_info(target))
    assert target.ecall(VERIFY, report) == 1


def test_an_sgxs_enclave_is_quoted(machine: enclu.Machine, stream: Path) -> None:
    enclave = machine.process().load(stream)
    made = enclu.attestation.quote(enclave, b"said", by=lambda target, data: asked_for(enclave, target, data))
    enclu.attestation.verify(
        made, root=enclu.attestation.root(machine), report_data=b"said",
        mrenclave=hashlib.sha256(stream.read_bytes()).digest(),
    ).require()  # fmt: skip


def test_fortanix_report_enclave_makes_a_genuine_report(
    machine: enclu.Machine, corpus: Path, app: Path, tmp_path: Path
) -> None:
    """rust-sgx, intel-sgx/report-test: TARGETINFO is a page behind the stream, and RDI is where the REPORT goes."""
    original = next(corpus.rglob("report.sgxs"), None)
    if original is None:
        pytest.skip("ENCLU_CORPUS has no report.sgxs")
    process = machine.process()
    target = process.load(app)
    where = enclu.attestation.target_info(target)
    path = tmp_path / "report.sgxs"
    path.write_bytes(original.read_bytes() + b"".join(page(0x3000, where, READ_WRITE)))
    enclave = process.load(signed(path))
    with process.memory.temporary(REPORT.size) as address:
        enclave.ecall(address)
        report = process.memory.read(address, REPORT.size)
    assert REPORT.get(report, "MRENCLAVE") == hashlib.sha256(path.read_bytes()).digest()
    assert enclu.attestation.report_is_genuine(machine, report, where)
    assert target.ecall(VERIFY, report) == 1
    assert open_image(path).format == "sgxs"
