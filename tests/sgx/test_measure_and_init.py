"""MRENCLAVE and EINIT."""

import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from enclu.sgx.encls import einit
from enclu.sgx.encls.init import signature_valid
from enclu.sgx.measurement import Measurement
from enclu.sgx.structs import SECINFO, SIGSTRUCT, ErrorCode
from tests.support.memory_processor import BASE, REG_RW, REG_RX, TCS_PAGE, World, sign, tcs_image


def test_mrenclave_is_the_hash_of_the_sdms_log() -> None:
    world = World()
    world.create()
    tcs, code = tcs_image(), bytes(range(256)) * 48
    world.add(0, tcs, TCS_PAGE)
    world.add(0x5000, code, REG_RX)
    world.add(0x9000, bytes(4096), REG_RW, measure=0)

    log = struct.pack("<8sIQ44x", b"ECREATE", 1, world.size)
    for offset, content, flags, measured in (
        (0, tcs, TCS_PAGE, True),
        *((0x5000 + i, code[i : i + 4096], REG_RX, True) for i in range(0, len(code), 4096)),
        (0x9000, b"", REG_RW, False),
    ):
        log += struct.pack("<8sQ48s", b"EADD", offset, SECINFO.pack(FLAGS=flags)[:48])
        for chunk in range(0, 4096 if measured else 0, 256):
            log += struct.pack("<8sQ48x", b"EEXTEND", offset + chunk) + content[chunk : chunk + 256]
    assert world.encl.secs is not None
    assert world.encl.secs.measurement.digest() == hashlib.sha256(log).digest()


@pytest.fixture
def created() -> World:
    world = World()
    world.create()
    world.add(0, tcs_image(), TCS_PAGE)
    return world


def init_with(world: World, sigstruct: bytes) -> int:
    world.machine.lepubkeyhash = hashlib.sha256(SIGSTRUCT.get(sigstruct, "MODULUS")).digest()
    assert world.encl.secs is not None
    return einit(world.machine, world.encl.secs, sigstruct)


def measured(world: World) -> bytes:
    assert world.encl.secs is not None
    return world.encl.secs.measurement.digest()


def test_threads_measure_at_once_without_disturbing_each_other() -> None:
    contents = [memoryview(bytes([i]) * (300 * 4096)) for i in range(8)]

    def digest_of(content: memoryview) -> bytes:
        measurement = Measurement()
        measurement.measure_pages(0, SECINFO.pack(FLAGS=REG_RW), content)
        return measurement.digest()

    alone = [digest_of(content) for content in contents]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(digest_of, contents)) == alone


def test_einit_takes_a_right_sigstruct(created: World) -> None:
    assert init_with(created, sign(measured(created), ISVPRODID=7, ISVSVN=3)) == ErrorCode.SUCCESS
    secs = created.encl.secs
    assert secs is not None and (secs.initialised, secs.isvprodid, secs.isvsvn) == (True, 7, 3)


@pytest.mark.parametrize("field", ["SIGNATURE", "Q1", "Q2", "MODULUS", "ENCLAVEHASH", "DATE"])
def test_einit_refuses_a_sigstruct_with_one_bit_changed(created: World, field: str) -> None:
    sigstruct = bytearray(sign(measured(created)))
    sigstruct[SIGSTRUCT.offset(field)] ^= 1
    assert init_with(created, bytes(sigstruct)) == ErrorCode.SGX_INVALID_SIGNATURE


def test_einit_refuses_another_measurement(created: World) -> None:
    assert init_with(created, sign(bytes(32))) == ErrorCode.SGX_INVALID_MEASUREMENT


def test_einit_refuses_attributes_outside_the_mask(created: World) -> None:
    assert init_with(created, sign(measured(created), attributes=0)) == ErrorCode.SGX_INVALID_ATTRIBUTE


def test_einit_refuses_a_signer_that_launch_control_does_not_name(created: World) -> None:
    created.machine.lepubkeyhash = bytes(32)
    secs = created.encl.secs
    assert secs is not None
    assert einit(created.machine, secs, sign(measured(created))) == ErrorCode.SGX_INVALID_EINITTOKEN


def test_signature_with_exponent_65537_is_invalid() -> None:
    sigstruct = bytearray(sign(bytes(32)))
    SIGSTRUCT.put(sigstruct, "EXPONENT", 65537)
    assert not signature_valid(bytes(sigstruct))


def test_base_is_where_the_world_says() -> None:
    world = World().build()
    assert world.encl.secs is not None and world.encl.secs.baseaddr == BASE
