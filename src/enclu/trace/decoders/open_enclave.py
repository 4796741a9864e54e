"""Open Enclave: RDI has a code and the runtime's function.  Which function of the program's, is in memory.

Open Enclave: include/openenclave/internal/calls.h, host/sgx/calls.c.
"""

from __future__ import annotations

from collections.abc import Mapping

from enclu.host.conventions.open_enclave.abi import Code, EcallFunction, OcallFunction, call_argument, parts
from enclu.trace.decoders import Call, Decoder, Evidence, Kind

_AT_ENTRY = {int(Code.ECALL): Kind.ECALL, int(Code.ORET): Kind.OCALL_RETURN}
_AT_EXIT = {int(Code.ERET): Kind.ECALL_RETURN, int(Code.OCALL): Kind.OCALL}
_FUNCTIONS = {
    Kind.ECALL: {int(function): function.name for function in EcallFunction},
    Kind.OCALL: {int(function): function.name for function in OcallFunction},
}
"""Calls that have a function."""


class OpenEnclave(Decoder):
    """An enclave's first entry is its initialisation."""

    convention = "open-enclave"
    every_leaf = False

    @classmethod
    def recognises(cls, evidence: Evidence) -> bool:
        return evidence.rdi == call_argument(Code.ECALL, EcallFunction.INIT_ENCLAVE)

    def enter(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        known = self._entries.get(rdi >> 32)
        return known or self.remember(self._entries, rdi >> 32, _call(rdi, _AT_ENTRY, Kind.ECALL))

    def exit(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        known = self._exits.get(rdi >> 32)
        return known or self.remember(self._exits, rdi >> 32, _call(rdi, _AT_EXIT, Kind.ECALL_RETURN))


def _call(rdi: int, kinds: Mapping[int, Kind], otherwise: Kind) -> Call:
    code, function, _ = parts(rdi)
    kind = kinds.get(code)
    if kind not in _FUNCTIONS:
        return Call(kind or otherwise)
    return Call(kind, function, _FUNCTIONS[kind].get(function, ""))
