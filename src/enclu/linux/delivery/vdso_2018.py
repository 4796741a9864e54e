"""The RFC's first two versions: a vDSO function in C, with two ENCLU sites in the exception table.

The function, vdso/vdso_2018.S, stores the exception in `struct enclu_sgx_enclave_exception` and returns -EFAULT.
"""

from __future__ import annotations

from typing import ClassVar

from enclu.linux.delivery.usage import Entry, VdsoFunction
from enclu.linux.delivery.vdso import VdsoDelivery
from enclu.sgx.layout import Structure

ENCLAVE_EXCEPTION = Structure(
    "enclu_sgx_enclave_exception", 16, (0, "leaf", "I"), (4, "trapnr", "H"), (6, "error_code", "H"), (8, "address", "Q")
)


class Vdso2018Delivery(VdsoDelivery):
    name: ClassVar[str] = "vdso-2018"
    vdso: ClassVar[str] = "vdso_2018"
    entry: ClassVar[Entry] = VdsoFunction(
        ("tcs", "rdi", "info"), ENCLAVE_EXCEPTION,
        {"leaf": "leaf", "vector": "trapnr", "error_code": "error_code", "address": "address"},
    )  # fmt: skip
    """enclu_vdso_2018_enter_enclave_t."""
