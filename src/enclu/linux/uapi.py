"""The SGX driver's user API.  Kernel: arch/x86/include/uapi/asm/sgx.h."""

from __future__ import annotations

from enclu.base.abi import SGX_MAGIC
from enclu.sgx.layout import Structure

IOC_NONE, IOC_WRITE, IOC_READ = 0, 1, 2


_names: dict[int, str] = {}


def ioc(direction: int, number: int, size: int, name: str = "") -> int:
    """_IOC(direction, SGX_MAGIC, number, size); `name` is what the header calls it."""
    cmd = direction << 30 | size << 16 | SGX_MAGIC << 8 | number
    if name:
        _names[cmd] = name
    return cmd


def ioctl_name(cmd: int) -> str:
    """What the header calls an ioctl, or its number."""
    return _names.get(cmd, f"ioctl {cmd:#x}")


def _numbers(name: str, *fields: str) -> Structure:
    return Structure(name, 8 * len(fields), *((8 * i, f, "Q") for i, f in enumerate(fields)))


ENCLAVE_CREATE = _numbers("sgx_enclave_create", "src")
ENCLAVE_ADD_PAGES = _numbers("sgx_enclave_add_pages", "src", "offset", "length", "secinfo", "flags", "count")
ENCLAVE_INIT = _numbers("sgx_enclave_init", "sigstruct")
ENCLAVE_PROVISION = _numbers("sgx_enclave_provision", "fd")
ENCLAVE_RESTRICT_PERMISSIONS = _numbers(
    "sgx_enclave_restrict_permissions", "offset", "length", "permissions", "result", "count"
)
ENCLAVE_MODIFY_TYPES = _numbers("sgx_enclave_modify_types", "offset", "length", "page_type", "result", "count")
ENCLAVE_REMOVE_PAGES = _numbers("sgx_enclave_remove_pages", "offset", "length", "count")

SGX_IOC_ENCLAVE_CREATE = ioc(IOC_WRITE, 0x00, ENCLAVE_CREATE.size, "SGX_IOC_ENCLAVE_CREATE")
SGX_IOC_ENCLAVE_ADD_PAGES = ioc(IOC_WRITE | IOC_READ, 0x01, ENCLAVE_ADD_PAGES.size, "SGX_IOC_ENCLAVE_ADD_PAGES")
SGX_IOC_ENCLAVE_INIT = ioc(IOC_WRITE, 0x02, ENCLAVE_INIT.size, "SGX_IOC_ENCLAVE_INIT")
SGX_IOC_ENCLAVE_PROVISION = ioc(IOC_WRITE, 0x03, ENCLAVE_PROVISION.size, "SGX_IOC_ENCLAVE_PROVISION")
SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS = ioc(
    IOC_WRITE | IOC_READ, 0x05, ENCLAVE_RESTRICT_PERMISSIONS.size, "SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS"
)
SGX_IOC_ENCLAVE_MODIFY_TYPES = ioc(
    IOC_WRITE | IOC_READ, 0x06, ENCLAVE_MODIFY_TYPES.size, "SGX_IOC_ENCLAVE_MODIFY_TYPES"
)
SGX_IOC_ENCLAVE_REMOVE_PAGES = ioc(
    IOC_WRITE | IOC_READ, 0x07, ENCLAVE_REMOVE_PAGES.size, "SGX_IOC_ENCLAVE_REMOVE_PAGES"
)

SGX_PAGE_MEASURE = 0x01

ENCLAVE_RUN = Structure(
    "sgx_enclave_run", 256, (0, "tcs", "Q"), (8, "function", "I"), (12, "exception_vector", "H"),
    (14, "exception_error_code", "H"), (16, "exception_addr", "Q"), (24, "user_handler", "Q"), (32, "user_data", "Q"),
)  # fmt: skip

# Not the kernel's: include/enclu_sgx.h.
DEBUG_ACCESS = _numbers("enclu_sgx_debug_access", "address", "buffer", "length", "flags", "count")
ENCLU_SGX_IOC_DEBUG_ACCESS = ioc(IOC_WRITE | IOC_READ, 0x2E, DEBUG_ACCESS.size, "ENCLU_SGX_IOC_DEBUG_ACCESS")
ENCLU_SGX_DEBUG_WRITE = 1 << 0
ENCLU_SGX_IOC_DROP_EPC = ioc(IOC_NONE, 0x2F, 0, "ENCLU_SGX_IOC_DROP_EPC")

STEP = _numbers(
    "enclu_sgx_step", "tcs", "until", "address", "times", "then", "signo", "vector", "error_code", "room", "entry",
    "stack", "stack_from", "stack_size", "clear", "unnotified",
)  # fmt: skip
STEPPED = _numbers(
    "enclu_sgx_stepped", "tcs", "record", "recorded", "left", "xsave", "xsave_size", "stopped", "executed", "entries",
    "drawn", "has_left", "cssa", "rip", "rsp", "ursp",
)  # fmt: skip
STEP_REGISTERS = _numbers(
    "enclu_sgx_registers", "which", "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
    "r12", "r13", "r14", "r15", "rip", "rflags", "mxcsr", "fcw", "x87", "vectors",
)  # fmt: skip
CHECKPOINT = _numbers("enclu_sgx_checkpoint", "address", "action", "number", "pages")
INSIDE = _numbers("enclu_sgx_inside", "address", "buffer", "length")

ENCLU_SGX_IOC_STEP = ioc(IOC_WRITE, 0x30, STEP.size, "ENCLU_SGX_IOC_STEP")
ENCLU_SGX_IOC_STEPPED = ioc(IOC_WRITE | IOC_READ, 0x31, STEPPED.size, "ENCLU_SGX_IOC_STEPPED")
ENCLU_SGX_IOC_CHECKPOINT = ioc(IOC_WRITE | IOC_READ, 0x32, CHECKPOINT.size, "ENCLU_SGX_IOC_CHECKPOINT")
ENCLU_SGX_IOC_INSIDE = ioc(IOC_WRITE, 0x33, INSIDE.size, "ENCLU_SGX_IOC_INSIDE")
STEPPING = frozenset((ENCLU_SGX_IOC_STEP, ENCLU_SGX_IOC_STEPPED, ENCLU_SGX_IOC_CHECKPOINT, ENCLU_SGX_IOC_INSIDE))
"""Those of a host that steps through its enclaves."""
ENCLU_SGX_STEP_FREE, ENCLU_SGX_STEP_INTERRUPT, ENCLU_SGX_STEP_RAISE = range(3)
ENCLU_SGX_STEP_ALWAYS = (1 << 64) - 1
ENCLU_SGX_CHECKPOINT_TAKE, ENCLU_SGX_CHECKPOINT_MOVE, ENCLU_SGX_CHECKPOINT_RESTORE, ENCLU_SGX_CHECKPOINT_DROP = range(4)
