"""Numbers and structures that Open Enclave's host and enclaves agree upon.

Open Enclave: include/openenclave/internal/calls.h, internal/sgx/ecall_context.h, bits/result.h, bits/exception.h.
"""

from __future__ import annotations

import enum

from enclu.host.errors import HostError
from enclu.sgx.layout import Structure


class Code(enum.IntEnum):
    """oe_code_t: what an entry or an exit is."""

    ECALL = 1
    ERET = 2
    OCALL = 3
    ORET = 4


class EcallFunction(enum.IntEnum):
    """oe_func_t, of ECALLs."""

    DESTRUCTOR = 0
    INIT_ENCLAVE = 1
    CALL_ENCLAVE_FUNCTION = 2
    VIRTUAL_EXCEPTION_HANDLER = 3
    CALL_AT_EXIT_FUNCTIONS = 4


class OcallFunction(enum.IntEnum):
    """oe_func_t, of OCALLs."""

    CALL_HOST_FUNCTION = 0x8000
    THREAD_WAKE = 0x8001
    THREAD_WAIT = 0x8002
    MALLOC = 0x8003
    FREE = 0x8004
    GET_TIME = 0x8005


EXCEPTION_CONTINUE_EXECUTION = 0xFFFF_FFFF
"""oe_exception_dispatcher's answer when the enclave can be resumed."""


def call_argument(code: int, function: int, result: int = 0) -> int:
    """oe_make_call_arg1(): RDI of every entry and exit."""
    return code << 48 | function << 32 | result


def parts(argument: int) -> tuple[int, int, int]:
    """Code, function and result of an RDI."""
    return argument >> 48, argument >> 32 & 0xFFFF, argument & 0xFFFF


_BUFFERS = ("input_buffer", "input_buffer_size", "output_buffer", "output_buffer_size", "output_bytes_written")


def _call_args(first: tuple[str, ...]) -> Structure:
    names = (*first, "function_id", *_BUFFERS, "result")
    return Structure("oe_call_function_args", 8 * len(names), *((8 * i, name, "Q") for i, name in enumerate(names)))


CALL_ARGS = _call_args(())
"""oe_call_enclave_function_args_t and oe_call_host_function_args_t, which are alike."""
CALL_ARGS_WITH_TABLE = _call_args(("table_id",))
"""The same before 0.11, when runtime and program had tables of functions each."""
DEFAULT_TABLE = (1 << 64) - 1
"""The program's table; others are the runtime's."""


def _context(args: Structure) -> Structure:
    names = ("ocall_buffer_size", "ocall_buffer", "debug_eenter_rip", "debug_eenter_rbp", "debug_eexit_rip",
             "debug_eexit_rbp", "debug_eexit_rsp")  # fmt: skip
    fields = ((args.size + 8 * i, name, "Q") for i, name in enumerate(names))
    return Structure("oe_ecall_context", args.size + 8 * len(names), *fields)


CONTEXT, CONTEXT_WITH_TABLE = _context(CALL_ARGS), _context(CALL_ARGS_WITH_TABLE)
"""oe_ecall_context_t, RDX of every entry: memory for the enclave to make OCALLs with."""
OCALL_BUFFER_SIZE = 16 * 1024
ALIGNMENT = 16
"""Of buffers, and of each part of them: OE_EDGER8R_BUFFER_ALIGNMENT."""


class OeResult(enum.IntEnum):
    """oe_result_t."""

    OE_OK = 0
    OE_FAILURE = 1
    OE_BUFFER_TOO_SMALL = 2
    OE_INVALID_PARAMETER = 3
    OE_REENTRANT_ECALL = 4
    OE_OUT_OF_MEMORY = 5
    OE_OUT_OF_THREADS = 6
    OE_UNEXPECTED = 7
    OE_VERIFY_FAILED = 8
    OE_NOT_FOUND = 9
    OE_INTEGER_OVERFLOW = 10
    OE_PUBLIC_KEY_NOT_FOUND = 11
    OE_OUT_OF_BOUNDS = 12
    OE_OVERLAPPED_COPY = 13
    OE_CONSTRAINT_FAILED = 14
    OE_IOCTL_FAILED = 15
    OE_UNSUPPORTED = 16
    OE_READ_FAILED = 17
    OE_SERVICE_UNAVAILABLE = 18
    OE_ENCLAVE_ABORTING = 19
    OE_ENCLAVE_ABORTED = 20
    OE_PLATFORM_ERROR = 21
    OE_INVALID_CPUSVN = 22
    OE_INVALID_ISVSVN = 23
    OE_INVALID_KEYNAME = 24
    OE_DEBUG_DOWNGRADE = 25
    OE_REPORT_PARSE_ERROR = 26
    OE_MISSING_CERTIFICATE_CHAIN = 27
    OE_BUSY = 28
    OE_NOT_OWNER = 29
    OE_INVALID_SGX_CERTIFICATE_EXTENSIONS = 30
    OE_MEMORY_LEAK = 31
    OE_BAD_ALIGNMENT = 32


class OeError(HostError):
    """An enclave, or what called it, answered with another result than OE_OK."""

    def __init__(self, what: str, result: int) -> None:
        try:
            name = OeResult(result).name
        except ValueError:
            name = f"oe_result_t {result:#x}"
        super().__init__(f"{what}: {name}")
        self.result = result
