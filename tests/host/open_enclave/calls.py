"""What the test enclave is asked to do, and what it answers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import enclu

HEADER = bytes(24)
HOST_ADD, HOST_TEXT, TARGET_INFO, QUOTE, _, LOG, WRITE, WRITEV, WAKE_WAIT, NANOSLEEP, FORMATS, NOTHING, COLLATERAL = (
    range(13)
)
CALL_HOST, WAKE, WAIT, MALLOC, FREE, GET_TIME = range(0x8000, 0x8006)
Load = Callable[..., enclu.Enclave]


def numbers(*values: int) -> bytes:
    """A structure of the test enclave's: five numbers after what all structures begin with."""
    return HEADER + struct.pack("<5Q", *values, *[0] * (5 - len(values)))


def results(output: bytes) -> tuple[int, int]:
    return struct.unpack_from("<QQ", output, len(HEADER))


def ocall(enclave: enclu.Enclave, number: int, data: bytes, size: int) -> tuple[int, bytes]:
    """Have the enclave make an OCALL of an EDL file: its result, and the output buffer without the header."""
    output = enclave.ecall("ocall", numbers(number, size) + data, 32 + size)
    return struct.unpack_from("<I", output, len(HEADER))[0], output[32 + len(HEADER) : 32 + size]


def raw_ocall(enclave: enclu.Enclave, function: int, argument: int, **named: Any) -> tuple[int, int]:
    """Have the enclave make an OCALL of the runtime's: its result and value."""
    return results(enclave.ecall("raw_ocall", numbers(function, argument), 64, **named))
