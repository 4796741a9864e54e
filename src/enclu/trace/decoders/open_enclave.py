"""Open Enclave: RDI has a code and the runtime's function.  Which function of the program's, is in memory.

Open Enclave: include/openenclave/internal/calls.h, host/sgx/calls.c.
"""

from __future__ import annotations

from enclu.host.conventions.open_enclave.abi import Code, EcallFunction, OcallFunction, call_argument, parts
from enclu.trace.decoders import Call, Decoder, Evidence, Kind, Names

_KINDS = {
    int(Code.ECALL): Kind.ECALL,
    int(Code.ERET): Kind.ECALL_RETURN,
    int(Code.OCALL): Kind.OCALL,
    int(Code.ORET): Kind.OCALL_RETURN,
}
_FUNCTIONS = {
    Kind.ECALL: {int(function): function.name for function in EcallFunction},
    Kind.OCALL: {int(function): function.name for function in OcallFunction},
}
"""Calls that have a function."""


class OpenEnclave(Decoder):
    """An enclave's first entry is its initialisation."""

    convention = "open-enclave"
    every_leaf = False

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self._calls: dict[int, Call] = {}

    @classmethod
    def recognises(cls, evidence: Evidence) -> bool:
        return evidence.rdi == call_argument(Code.ECALL, EcallFunction.INIT_ENCLAVE)

    def enter(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        return self._calls.get(rdi >> 32) or self._calls.setdefault(rdi >> 32, self._call(rdi, Kind.ECALL))

    def exit(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        return self._calls.get(rdi >> 32) or self._calls.setdefault(rdi >> 32, self._call(rdi, Kind.ECALL_RETURN))

    def _call(self, rdi: int, otherwise: Kind) -> Call:
        code, function, _ = parts(rdi)
        kind = _KINDS.get(code)
        if kind not in _FUNCTIONS:
            return Call(kind or otherwise)
        return Call(kind, function, _FUNCTIONS[kind].get(function, ""))
