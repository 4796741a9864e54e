"""ECREATE, EADD, EEXTEND and EINIT: what they refuse, what they record."""

import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclu.sgx import encls
from enclu.sgx.epc import EPCPage, EPCRun
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.secs import Secs
from enclu.sgx.structs import SECINFO, SECS, SIGSTRUCT, TCS, ErrorCode
from tests.support.bare_enclave import BASE, RW, RX, SIZE, TCS_FLAGS, added, created, fresh, initialise, tcs
from tests.support.memory_processor import sign


def vector_of(caught: pytest.ExceptionInfo[Fault]) -> Vector:
    return Vector(caught.value.vector)


def add_run(secs: Secs, pages: list[EPCPage], at: int, secinfo: bytes, contents: bytes | int, measure: bool) -> None:
    memory = memoryview(bytearray(contents))
    encls.eadd_run(secs, EPCRun([*pages]), at, secinfo, memory, memory, measure)


@pytest.mark.parametrize(
    "fields",
    [
        {"SIZE": 0x1000}, {"SIZE": 0x3000}, {"BASEADDR": BASE + 0x1000}, {"BASEADDR": 1 << 47}, {"XFRM": 1},
        {"XFRM": 1 << 9 | 3}, {"ATTRIBUTES": 5}, {"ATTRIBUTES": 0}, {"ATTRIBUTES": 4 | 1 << 3},
        {"ATTRIBUTES": 4 | 1 << 6}, {"MISCSELECT": 2}, {"SSAFRAMESIZE": 0}, {"CONFIGSVN": 1},
        {"CONFIGID": b"\1" * 64}, {"CET_ATTRIBUTES": 1}, {"CET_LEG_BITMAP_OFFSET": 0x1000},
    ],
    ids=str,
)  # fmt: skip
def test_ecreate_refuses(fields: dict[str, object]) -> None:
    with pytest.raises(Fault) as caught:
        created(None, **fields)
    assert vector_of(caught) is Vector.GP


def test_ecreate_refuses_reserved_bytes_and_a_page_in_use() -> None:
    machine, secs = created()
    image = bytearray(SECS.pack(SIZE=SIZE, BASEADDR=BASE, SSAFRAMESIZE=1, ATTRIBUTES=4, XFRM=3))
    with pytest.raises(Fault) as caught:
        encls.ecreate(machine, secs.page, bytes(image), SECINFO.pack())
    assert vector_of(caught) is Vector.PF
    image[4000] = 1
    with pytest.raises(Fault) as caught:
        encls.ecreate(machine, fresh(), bytes(image), SECINFO.pack())
    assert vector_of(caught) is Vector.GP


@pytest.mark.parametrize(
    ("offset", "flags"),
    [(SIZE, 0x203), (-0x1000, 0x203), (0x800, 0x203), (0, 0x202), (0, 0x003), (0, 0x303), (0, 0x403), (0, 0x20B),
     (0, 0x213), (0, 0x223), (0, 0x10203), (0, 0x243)],
)  # fmt: skip
def test_eadd_refuses(offset: int, flags: int) -> None:
    _, secs = created()
    with pytest.raises(Fault) as caught:
        added(secs, offset, SECINFO.pack(FLAGS=flags))
    assert vector_of(caught) is Vector.GP and secs.children == 0


def test_eadd_forces_a_tcs_into_its_first_state() -> None:
    _, secs = created(ATTRIBUTES=6)
    page = added(secs, 0, SECINFO.pack(FLAGS=0x107), tcs(STATE=1, FLAGS=1, CSSA=1, AEP=0x1234))
    assert [TCS.get(page.data, name) for name in ("STATE", "FLAGS", "CSSA", "AEP", "OSSA")] == [0, 0, 0, 0, 0x1000]
    assert page.rwx == 0


def test_eadd_leaves_the_limits_of_a_64_bit_tcs_alone() -> None:
    _, secs = created()
    assert TCS.get(added(secs, 0, TCS_FLAGS, tcs(FSLIMIT=0, GSLIMIT=5)).data, "GSLIMIT") == 5


def test_eadd_refuses_reserved_bytes_of_a_tcs() -> None:
    _, secs = created()
    with pytest.raises(Fault) as caught:
        added(secs, 0, TCS_FLAGS, tcs()[:4095] + b"\1")
    assert vector_of(caught) is Vector.GP


def test_no_page_joins_while_the_secs_is_evicted() -> None:
    _, secs = created()
    secs.page.valid = False
    for leaf in (
        lambda: encls.eadd(secs, fresh(), BASE, RW, bytes(4096)),
        lambda: add_run(secs, [fresh(), fresh()], BASE, RW, 8192, True),
        lambda: encls.eaug(secs, fresh(), BASE),
        lambda: encls.etrack(secs),
    ):
        with pytest.raises(Fault) as caught:
            leaf()
        assert vector_of(caught) is Vector.PF


@settings(max_examples=15)
@given(st.integers(1, 20), st.sampled_from([RW, RX]), st.booleans(), st.binary(min_size=1, max_size=300))
def test_a_run_measures_as_its_pages_one_by_one(count: int, secinfo: bytes, measure: bool, seed: bytes) -> None:
    content = (seed * (count * 4096 // len(seed) + 1))[: count * 4096]
    _, together = created()
    add_run(together, [fresh() for _ in range(count)], BASE, secinfo, content, measure)
    _, single = created()
    for at in range(0, count * 4096, 4096):
        page = added(single, at, secinfo, content[at : at + 4096])
        for chunk in range(0, 4096 if measure else 0, 256):
            encls.eextend(single, page, chunk)
    assert together.measurement.digest() == single.measurement.digest()
    assert together.children == single.children == count


def test_a_run_longer_than_a_batch_measures_the_sdms_log() -> None:
    count = 600
    content = hashlib.shake_128(b"run").digest(count * 4096)
    _, secs = created(SIZE=0x400000, BASEADDR=0)
    add_run(secs, [fresh() for _ in range(count)], 0x1000, RW, content, True)
    log = hashlib.sha256(struct.pack("<8sIQ44x", b"ECREATE", 1, 0x400000))
    for at in range(0, count * 4096, 4096):
        log.update(struct.pack("<8sQ48s", b"EADD", 0x1000 + at, RW[:48]))
        for chunk in range(at, at + 4096, 256):
            log.update(struct.pack("<8sQ48x", b"EEXTEND", 0x1000 + chunk) + content[chunk : chunk + 256])
    assert secs.measurement.digest() == log.digest()


def test_a_run_over_a_page_in_use_faults_and_adds_the_pages_before_it_only() -> None:
    _, secs = created()
    taken = added(secs, 0x8000)
    pages = [fresh(), fresh(), taken, fresh()]
    with pytest.raises(Fault) as caught:
        add_run(secs, pages, BASE, RW, 4 * 4096, True)
    assert vector_of(caught) is Vector.PF
    assert [page.enclaveaddress for page in pages] == [BASE, BASE + 0x1000, BASE + 0x8000, 0] and secs.children == 3


@pytest.mark.parametrize("offset", [1, 128, 4096, -256])
def test_eextend_refuses_other_than_256_byte_chunks(offset: int) -> None:
    _, secs = created()
    page = added(secs, 0)
    with pytest.raises(Fault):
        encls.eextend(secs, page, offset)


def test_building_ends_with_einit() -> None:
    machine, secs = created()
    page = added(secs, 0)
    measured = secs.measurement.digest()
    sigstruct = sign(measured)
    assert initialise(machine, secs, sigstruct) == ErrorCode.SUCCESS and secs.mrenclave == measured
    assert secs.mrsigner == hashlib.sha256(SIGSTRUCT.get(sigstruct, "MODULUS")).digest()
    for leaf in (
        lambda: encls.eadd(secs, fresh(), BASE + 0x1000, RW, bytes(4096)),
        lambda: encls.eextend(secs, page, 0),
        lambda: encls.einit(machine, secs, sigstruct),
    ):
        with pytest.raises(Fault) as caught:
            leaf()
        assert vector_of(caught) is Vector.GP


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"MISCSELECT": 1, "MISCMASK": 1}, ErrorCode.SGX_INVALID_ATTRIBUTE),
        ({"MISCSELECT": 1, "MISCMASK": 0}, ErrorCode.SUCCESS),
        ({"ISVFAMILYID": b"f" * 16}, ErrorCode.SGX_INVALID_SIG_STRUCT),
        ({"ISVEXTPRODID": b"e" * 16}, ErrorCode.SGX_INVALID_SIG_STRUCT),
        ({"CET_ATTRIBUTES_MASK": 1}, ErrorCode.SGX_INVALID_SIG_STRUCT),
        ({"VENDOR": 0x8086}, ErrorCode.SUCCESS),
        ({"VENDOR": 1}, ErrorCode.SGX_INVALID_SIG_STRUCT),
    ],
    ids=str,
)  # fmt: skip
def test_einit_of_a_sigstruct_with(fields: dict[str, object], code: ErrorCode) -> None:
    machine, secs = created()
    assert initialise(machine, secs, sign(secs.measurement.digest(), **fields)) == code
    assert secs.initialised == (code == ErrorCode.SUCCESS) == bool(secs.attributes & 1)


def test_einit_refuses_other_extended_state_under_the_mask() -> None:
    machine, secs = created()
    sigstruct = sign(secs.measurement.digest(), xfrm=1)
    assert initialise(machine, secs, sigstruct) == ErrorCode.SGX_INVALID_ATTRIBUTE


def test_the_einittoken_key_attribute_is_for_the_launch_signer_only() -> None:
    machine, secs = created(ATTRIBUTES=4 | 1 << 5)
    assert encls.einit(machine, secs, sign(secs.measurement.digest())) == ErrorCode.SGX_INVALID_ATTRIBUTE
