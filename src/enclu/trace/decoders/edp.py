"""Fortanix EDP: an exit's RDI is the usercall's number, or 0 at the end of the entry.  Entries have no numbers.

fortanix/rust-sgx: doc/FORTANIX-SGX-ABI.md.
"""

from __future__ import annotations

from enclu.host.conventions.edp.abi import NORMAL_EXIT, Usercall
from enclu.trace.decoders import Call, Decoder, Evidence, Kind, Names

_RUNNERS = ("ftxsgx-runner", "ftxsgx-runner-cargo")
_USERCALLS = {int(number): Call(Kind.OCALL, int(number), number.name.lower()) for number in Usercall}


class Edp(Decoder):
    """Its registers look like anybody's: an enclave is recognised by the program that runs it."""

    convention = "edp"

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self._waiting = set[int]()
        """TCSes that have made a usercall."""

    @classmethod
    def recognises(cls, evidence: Evidence) -> bool:
        return evidence.program in _RUNNERS

    def enter(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        if tcs not in self._waiting:
            return Call(Kind.ECALL)
        self._waiting.remove(tcs)
        return Call(Kind.OCALL_RETURN)

    def exit(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        if rdi == NORMAL_EXIT:
            return Call(Kind.ECALL_RETURN)
        self._waiting.add(tcs)
        return _USERCALLS.get(rdi) or Call(Kind.OCALL, rdi)
