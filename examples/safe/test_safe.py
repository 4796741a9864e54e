"""The safe keeps what it promises, however the kernel delivers its exceptions."""

import struct

import pytest

import enclu

FILL, OPEN = range(2)
DONE, WRONG_PIN, LOCKED, BAD_ARGUMENT = range(4)

pytestmark = pytest.mark.sgx(delivery="all")


def note(pin: int, text: str = "") -> bytearray:
    return bytearray(struct.pack("<Q56s", pin, text.encode()))


@pytest.fixture
def safe(enclave):
    filled = enclave("safe.c")
    assert filled.ecall(FILL, note(1234, "the treasure is on the third island")) == DONE
    return filled


def test_the_right_pin_opens_it(safe):
    answer = note(1234)
    assert safe.ecall(OPEN, answer) == DONE
    assert answer[8:].rstrip(b"\0") == b"the treasure is on the third island"


def test_three_wrong_pins_lock_it(safe):
    for pin in range(3):
        assert safe.ecall(OPEN, note(pin)) == WRONG_PIN
    assert safe.ecall(OPEN, note(1234)) == LOCKED


def test_it_does_not_follow_pointers_to_itself(safe):
    assert safe.ecall(OPEN, safe.base) == BAD_ARGUMENT


def test_a_wild_pointer_is_the_hosts_own_fault(safe):
    with pytest.raises(enclu.EnclaveException) as raised:
        safe.ecall(OPEN, 0x1000)
    assert raised.value.name == "#PF" and raised.value.address == 0x1000
    assert safe.ecall(OPEN, note(1234)) == DONE
