"""Key derivation: which inputs a key depends upon (SDM 3D EGETKEY, table of key derivation)."""

import pytest

from enclu.sgx import crypto, keys
from enclu.sgx.machine import Machine
from enclu.sgx.secs import Secs
from enclu.sgx.structs import KEYREQUEST, KeyName, KeyPolicy
from tests.support.bare_enclave import created, pretend_initialised

IDENTITIES: dict[str, object] = {
    "mrenclave": b"e" * 32, "mrsigner": b"g" * 32, "isvprodid": 9, "configid": b"c" * 64, "isvfamilyid": b"f" * 16,
    "isvextprodid": b"x" * 16,
}  # fmt: skip
P = KeyPolicy


def enclave(machine: Machine) -> Secs:
    _, secs = created(machine, ATTRIBUTES=4 | 1 << 4 | 1 << 5 | 1 << 7)
    pretend_initialised(secs)
    return secs


def depends(name: KeyName, policy: int, change: str) -> bool:
    """The key is another one for an enclave that differs in `change`."""
    machine = Machine(1 << 20, b"s" * 32)
    secs = enclave(machine)
    request = KEYREQUEST.pack(KEYNAME=name, KEYPOLICY=policy)
    before = keys.derive(machine, secs, request)
    setattr(secs, change, IDENTITIES[change])
    return keys.derive(machine, secs, request) != before


@pytest.mark.parametrize(
    ("name", "policy", "on"),
    [
        (KeyName.SEAL_KEY, P.MRENCLAVE, {"mrenclave", "isvprodid"}),
        (KeyName.SEAL_KEY, P.MRSIGNER, {"mrsigner", "isvprodid"}),
        (KeyName.SEAL_KEY, P.MRSIGNER | P.NOISVPRODID, {"mrsigner"}),
        (KeyName.SEAL_KEY, P.CONFIGID | P.ISVFAMILYID | P.ISVEXTPRODID,
         {"isvprodid", "configid", "isvfamilyid", "isvextprodid"}),
        (KeyName.PROVISION_SEAL_KEY, 0, {"mrsigner", "isvprodid"}),
        (KeyName.PROVISION_SEAL_KEY, P.NOISVPRODID | P.CONFIGID | P.ISVFAMILYID | P.ISVEXTPRODID,
         {"mrsigner", "configid", "isvfamilyid", "isvextprodid"}),
        (KeyName.PROVISION_KEY, 0, {"mrsigner", "isvprodid"}),
        (KeyName.PROVISION_KEY, P.NOISVPRODID | P.CONFIGID, {"mrsigner", "isvprodid"}),
        (KeyName.EINITTOKEN_KEY, P.CONFIGID, {"mrsigner", "isvprodid"}),
        (KeyName.REPORT_KEY, P.MRSIGNER, {"mrenclave", "configid"}),
    ],
)  # fmt: skip
def test_a_key_depends_on_these_identities_and_no_other(name: KeyName, policy: int, on: set[str]) -> None:
    assert {change for change in IDENTITIES if depends(name, policy, change)} == on


@pytest.mark.parametrize("name", [KeyName.PROVISION_KEY, KeyName.EINITTOKEN_KEY])
def test_keypolicy_does_not_enter_the_keys_that_have_none(name: KeyName) -> None:
    machine = Machine(1 << 20, b"s" * 32)
    secs = enclave(machine)
    assert len({keys.derive(machine, secs, KEYREQUEST.pack(KEYNAME=name, KEYPOLICY=p)) for p in range(64)}) == 1


def test_a_named_machine_gives_the_same_key_again_and_another_machine_another() -> None:
    request = KEYREQUEST.pack(KEYNAME=KeyName.SEAL_KEY, KEYPOLICY=P.MRSIGNER, KEYID=b"k" * 32)
    machines = [Machine(1 << 20, secret) for secret in (b"s" * 32, b"s" * 32, b"t" * 32)]
    first, again, other = (keys.derive(machine, enclave(machine), request) for machine in machines)
    assert first == again != other and len(first) == 16


def test_every_key_name_gives_another_key() -> None:
    machine = Machine(1 << 20, b"s" * 32)
    secs = enclave(machine)
    assert len({keys.derive(machine, secs, KEYREQUEST.pack(KEYNAME=name)) for name in KeyName}) == len(KeyName)


def test_debug_enclaves_never_share_seal_keys_with_production_ones() -> None:
    machine = Machine(1 << 20, b"s" * 32)
    secs = enclave(machine)
    request = KEYREQUEST.pack(KEYNAME=KeyName.SEAL_KEY, KEYPOLICY=P.MRSIGNER)
    production = keys.derive(machine, secs, request)
    secs.attributes |= 2
    assert keys.derive(machine, secs, request) != production


def test_report_mac_is_rfc_4493_cmac() -> None:
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    message = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
    assert crypto.cmac(key, message).hex() == "070a16b46b4d4144f79bdd9dd04a287c"
