"""A machine and an enclave without any kernel: the leaves alone."""

from __future__ import annotations

import hashlib

from enclu.sgx import encls
from enclu.sgx.enclave_mode import EnclaveMode
from enclu.sgx.epc import EPCPage
from enclu.sgx.machine import Machine
from enclu.sgx.secs import Secs
from enclu.sgx.structs import SECINFO, SECS, SIGSTRUCT, TCS, ErrorCode

BASE, SIZE = 0x10_0000_0000, 0x40000
RW, RX, TCS_FLAGS = (SECINFO.pack(FLAGS=flags) for flags in (0x203, 0x205, 0x100))


def fresh(content: bytes = bytes(4096)) -> EPCPage:
    """A free EPC page with memory behind it."""
    page = EPCPage()
    page.data = memoryview(bytearray(content))
    return page


def created(machine: Machine | None = None, **fields: object) -> tuple[Machine, Secs]:
    machine = machine or Machine(1 << 20, b"s" * 32)
    values: dict[str, object] = {"SIZE": SIZE, "BASEADDR": BASE, "SSAFRAMESIZE": 1, "ATTRIBUTES": 4, "XFRM": 3}
    return machine, encls.ecreate(machine, fresh(), SECS.pack(**values | fields), SECINFO.pack())


def added(secs: Secs, offset: int, secinfo: bytes = RW, content: bytes = bytes(4096)) -> EPCPage:
    page = fresh()
    encls.eadd(secs, page, BASE + offset, secinfo, content)
    return page


def initialise(machine: Machine, secs: Secs, sigstruct: bytes) -> int:
    """EINIT, with launch control set for this signer as the kernel does."""
    machine.lepubkeyhash = hashlib.sha256(SIGSTRUCT.get(sigstruct, "MODULUS")).digest()
    return encls.einit(machine, secs, sigstruct)


def pretend_initialised(secs: Secs) -> None:
    """What EINIT leaves, without the cost of a signature."""
    secs.initialised = True
    secs.attributes |= 1


def entered(machine: Machine, secs: Secs) -> EnclaveMode:
    """A processor that has entered the enclave just now."""
    mode = EnclaveMode()
    mode.enter(secs.baseaddr, secs.eid, secs.baseaddr, secs.size, 0, 0, 0, 0, 0, secs.epoch)
    machine.processors.add(mode)
    return mode


def version_array() -> EPCPage:
    page = EPCPage()
    encls.epa(page)
    return page


def evict(machine: Machine, page: EPCPage, va: EPCPage, slot: int) -> tuple[bytes, bytes]:
    """EBLOCK, ETRACK, EWB of a page of an enclave in which no processor is."""
    assert page.secs is not None
    assert encls.eblock(page) == encls.etrack(page.secs) == ErrorCode.SUCCESS
    code, ciphertext, pcmd = encls.ewb(machine, page, va, slot)
    assert code == ErrorCode.SUCCESS
    return ciphertext, pcmd


def tcs(**fields: int) -> bytes:
    return TCS.pack(**{"OSSA": 0x1000, "NSSA": 2, "OENTRY": 0, **fields})
