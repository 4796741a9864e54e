"""The RFC's first two versions: a vDSO function in C, with two ENCLU sites in the exception table.

The function, vdso/vdso_2018.S, stores the exception in `struct enclu_sgx_enclave_exception` and returns -EFAULT.
"""

from __future__ import annotations

from typing import ClassVar

from enclu.linux.delivery.vdso import VdsoDelivery


class Vdso2018Delivery(VdsoDelivery):
    name: ClassVar[str] = "vdso-2018"
    vdso: ClassVar[str] = "vdso_2018"
