"""No convention: registers in, registers out."""

from __future__ import annotations

from enclu.host.call import Call
from enclu.host.convention import Convention, Done
from enclu.host.frames import Registers


class RegistersConvention(Convention):
    """An ECALL is one EENTER with RDI, RSI, RDX, R8 and R9; its result is the Registers after EEXIT.

    For enclaves that exchange memory by pointers, as the kernel's selftest and many SGXS enclaves do.  There are no
    OCALLs: every EEXIT is the end.
    """

    needs = ()

    def ecall(self, function: int = 0, *args: int, timeout: float | None = None, **named: int) -> Registers | None:
        """`function` is RDI, `args` are the others in this order; they may be named instead."""
        registers = dict(zip(("rdi", "rsi", "rdx", "r8", "r9"), (function, *args), strict=False)) | named
        with Call(self.enclave, timeout) as call:
            call.lease(same=False)
            result: Registers | None = self.run(call, **registers)
            return result

    def exited(self, call: Call, registers: Registers) -> None:
        raise Done(registers)
