"""Numbers and structures between enclaves made with what we ship for C and who enters them: enclave/call.h."""

from __future__ import annotations

import enum

from enclu.sgx.layout import Structure

SGX_CALL = Structure(
    "sgx_call", 64,
    (0, "enter", "Q"), (8, "exit", "Q"), (16, "function", "Q"), (24, "argument", "Q"), (32, "result", "Q"),
    (40, "ocall", "Q"), (48, "ocall_argument", "Q"), (56, "ocall_result", "Q"),
)  # fmt: skip
FRAMES = 3
"""SSA frames of every TCS."""
MARK = 0x656E636C
"""CALL_MARK: the upper half of a call_word()."""
UNTOLD = 0xFFF_FFFF
"""CALL_UNTOLD: the number of no function, or of one that has a greater one."""
WHY = 28
"""CALL_WHY: the bit from which on it says why the enclave is entered or left."""


class Enter(enum.IntEnum):
    """sgx_call.enter."""

    ECALL = 0
    ORET = 1
    EXCEPTION = 2
    RESET = 3


class Leave(enum.IntEnum):
    """sgx_call.exit."""

    DONE = 0
    OCALL = 1
    REFUSED = 2
    """No ECALL is served here, or there is no OCALL to return from."""


def call_word(why: int, number: int = UNTOLD) -> int:
    """The same in C: in RDI at EEXIT and, if who enters is so kind, in RSI at EENTER."""
    return MARK << 32 | why << WHY | min(number, UNTOLD)


def told(word: int) -> tuple[int, int | None] | None:
    """Why the enclave is entered or left, and the number of the function, if there is one; None: it is no such word."""
    if word >> 32 != MARK:
        return None
    number = word & UNTOLD
    return word >> WHY & 0xF, number if number != UNTOLD else None
