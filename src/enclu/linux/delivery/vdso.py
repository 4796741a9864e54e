"""What Linux 5.11 shipped: the vDSO's own ENCLU has an entry in an exception table.

Kernel: arch/x86/entry/vdso/extable.c, vsgx.S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from enclu.linux.delivery.base import Code, Delivery, Thread
from enclu.linux.delivery.usage import Entry, VdsoFunction
from enclu.linux.uapi import ENCLAVE_RUN
from enclu.linux.vdso import image

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.sgx.processor import Registers


class VdsoDelivery(Delivery):
    name: ClassVar[str] = "vdso"
    vdso: ClassVar[str] = "vdso"
    entry: ClassVar[Entry] = VdsoFunction(
        ("rdi", "rsi", "rdx", "leaf", "r8", "r9", "info"), ENCLAVE_RUN,
        {"tcs": "tcs", "leaf": "function", "vector": "exception_vector", "error_code": "exception_error_code",
         "address": "exception_addr", "handler": "user_handler"},
        kept=("r10",),
    )  # fmt: skip
    """vdso_sgx_enter_enclave_t."""

    def __init__(self, setting: str | None = None) -> None:
        super().__init__(setting)
        self._image = image.load(self.vdso)

    def target(self, mm: MM, thread: Thread, cpu: Code, regs: Registers) -> int | None:
        return self._image.fixup(regs.rip)
