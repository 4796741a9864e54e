"""EUPDATESVN, and the first open of the device (sgx_inc_usage_count())."""

from __future__ import annotations

import errno

import pytest

from enclu.sgx import encls
from enclu.sgx.encls.svn import SvnUpdate
from enclu.sgx.structs import ErrorCode
from tests.support.memory_processor import World


@pytest.fixture
def world() -> World:
    return World()


def test_newer_microcode_raises_cpusvn_once(world: World) -> None:
    machine = world.machine
    before, machine.svn_update = machine.cpusvn, SvnUpdate.NEWER
    assert encls.eupdatesvn(machine) == ErrorCode.SUCCESS
    assert machine.cpusvn > before
    assert encls.eupdatesvn(machine) == ErrorCode.SGX_NO_UPDATE


def test_reports_have_another_key_afterwards(world: World) -> None:
    machine = world.machine
    before = machine.report_keyid
    machine.svn_update = SvnUpdate.NEWER
    encls.eupdatesvn(machine)
    assert machine.report_keyid != before


def test_the_epc_must_be_empty(world: World) -> None:
    world.build()
    world.machine.svn_update = SvnUpdate.NEWER
    assert encls.eupdatesvn(world.machine) == ErrorCode.SGX_EPC_NOT_READY


@pytest.mark.parametrize(
    ("found", "error", "reason"),
    [(SvnUpdate.NO_ENTROPY, errno.EAGAIN, "SGX_INSUFFICIENT_ENTROPY"), (SvnUpdate.FAILS, errno.EIO, "EUPDATESVN")],
)
def test_where_it_fails_the_device_is_not_opened(world: World, found: SvnUpdate, error: int, reason: str) -> None:
    world.kernel.release(world.encl)  # which the world begins with
    world.machine.svn_update = found
    for _ in range(2):
        with pytest.raises(OSError, match=reason) as caught:
            world.kernel.use()
        assert caught.value.errno == error


@pytest.mark.parametrize("found", [SvnUpdate.NONE, SvnUpdate.NEWER])
def test_else_it_is(world: World, found: SvnUpdate) -> None:
    world.kernel.release(world.encl)  # which the world begins with
    world.machine.svn_update = found
    world.kernel.use()
    assert world.machine.svn_update is SvnUpdate.NONE


def test_only_the_first_of_several_has_it_updated(world: World) -> None:
    world.build()
    world.machine.svn_update = SvnUpdate.NEWER
    before = world.machine.cpusvn
    world.kernel.use()
    assert world.machine.cpusvn == before
