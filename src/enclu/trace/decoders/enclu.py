"""Enclaves of `enclu build`: a word in RDI at EEXIT, and in RSI at EENTER if Python enters; enclave/call.h."""

from __future__ import annotations

from dataclasses import dataclass

from enclu.host.conventions.enclu_abi import Enter, Leave, told
from enclu.trace.decoders import Call, Decoder, Evidence, Kind, Names

_ECALL, _OCALL_RETURN = Call(Kind.ECALL), Call(Kind.OCALL_RETURN)
_RETURN = Call(Kind.ECALL_RETURN)


@dataclass
class _Open:
    """An entry that is not over."""

    rdi: int
    cssa: int
    waits: bool = False
    """For an OCALL."""


class Enclu(Decoder):
    """Without a word in RSI, the structure that RDI points to is what returns from OCALLs are known by."""

    convention = "enclu"

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self._calls: dict[int, list[_Open]] = {}
        """Of each TCS, the entries that are open."""

    @classmethod
    def recognises(cls, evidence: Evidence) -> bool:
        return told(evidence.rsi) is not None or (evidence.exit_rdi is not None and told(evidence.exit_rdi) is not None)

    def enter(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        calls = self._calls.setdefault(tcs, [])
        if calls and calls[-1].waits and calls[-1].rdi == rdi:
            calls[-1].waits = False
            return _OCALL_RETURN
        while calls and not calls[-1].waits and calls[-1].cssa >= cssa:
            calls.pop()  # given up
        calls.append(_Open(rdi, cssa))
        return self._entries.get(rsi) or self._entry(cssa, rsi)

    def _entry(self, cssa: int, rsi: int) -> Call:
        word = told(rsi)
        if word is None:
            return Call(Kind.ECALL, None, f"at CSSA {cssa}") if cssa else _ECALL
        why, number = word
        if why == Enter.ECALL and number is not None:
            return self.remember(self._entries, rsi, Call(Kind.ECALL, number, self.names.ecalls.get(number, "")))
        return Call(Kind.ECALL, None, {int(enter): enter.name for enter in Enter}.get(why, ""))

    def exit(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        calls = self._calls.get(tcs)
        known = self._exits.get(rdi) or self._exit(rdi)
        if calls and known.kind is Kind.OCALL:
            calls[-1].waits = True
        elif calls:
            calls.pop()
        return known

    def _exit(self, rdi: int) -> Call:
        word = told(rdi)
        if word is None:
            return _RETURN
        why, number = word
        if why == Leave.OCALL:
            return self.remember(self._exits, rdi, Call(Kind.OCALL, number, self.names.ocalls.get(number or 0, "")))
        return self.remember(self._exits, rdi, Call(Kind.ECALL_RETURN, number))
