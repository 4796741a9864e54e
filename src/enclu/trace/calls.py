"""ECALLs and OCALLs in a trace: which enclave has which convention, and what its EENTERs and EEXITs are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from enclu.base import console
from enclu.trace import decoders
from enclu.trace.decoders import Call, Decoder, Evidence, Names
from enclu.trace.spool import Made

_MOST_ENTRIES = 1000
"""That are remembered of an enclave before it leaves for the first time."""


@dataclass(frozen=True)
class Convention:
    """What the user has said of it."""

    name: str | None = None
    """One of `decoders.names`; None: it is to be found out for each enclave."""
    names: Names = decoders.NO_NAMES
    """As they are given; of none, what the symbols of an enclave's image tell."""


class _Enclave:
    """What is known of it."""

    __slots__ = ("decoder", "entries", "evidence", "unknown")

    def __init__(self, decoder: Decoder | None, *, unknown: bool) -> None:
        self.decoder = decoder
        self.unknown = unknown
        """Its first exit may tell."""
        self.evidence: Evidence | None = None
        self.entries: list[tuple[int, int, int, int]] = []
        """What `Decoder.enter` is to be told then."""


class Calls:
    """Told of everything that a run's threads do with enclaves, in each thread's order."""

    def __init__(self, convention: Convention) -> None:
        """Raises NoConvention."""
        self._names = convention.names
        self._chosen = decoders.named(convention.name) if convention.name is not None else None
        self._automatic = convention.name is None
        self._kinds: list[type[Decoder]] | None = None
        self._enclaves: dict[int, _Enclave] = {}
        self._made: dict[int, Made] = {}
        self._lost = False
        self._cssa: dict[tuple[int, int], int] = {}
        """CSSA of TCSes, by EID and address: of one in use, what it was at its EENTER."""

    def made(self, made: Made) -> None:
        """An enclave is initialised."""
        self._made[made.eid] = made

    def event(self, name: str, values: dict[str, Any]) -> Call | None:
        """An event; of an EENTER or EEXIT, what it is for, as far as that is known."""
        if name == "leaf":
            return self.leaf(
                values["leaf"], values["eid"], values["tcs"], values["rax"], values["rdi"], values["rsi"], values["rsp"]
            )
        if name == "aex":
            self._move(values["eid"], values["tcs"], 1)
        elif name == "leaves_lost":
            self._lose()
        elif name == "enclave_removed":
            self._forget(values["eid"])
        return None

    def leaf(self, leaf: str, eid: int, tcs: int, rax: int, rdi: int, rsi: int, rsp: int) -> Call | None:
        """The same for a leaf alone."""
        try:
            if leaf == "EENTER":
                self._cssa[eid, tcs] = rax
                enclave = self._enclaves.get(eid) or self._first(eid, rdi, rsi, rsp)
                if enclave.decoder is not None:
                    return enclave.decoder.enter(tcs, rax, rdi, rsi)
                if enclave.unknown and len(enclave.entries) < _MOST_ENTRIES:
                    enclave.entries.append((tcs, rax, rdi, rsi))
            elif leaf == "EEXIT":
                entered = self._enclaves.get(eid)
                if entered is not None and entered.unknown:
                    self._settle(eid, entered, rdi)
                if entered is not None and entered.decoder is not None:
                    return entered.decoder.exit(tcs, self._cssa.get((eid, tcs), 0), rdi, rsi)
            elif leaf in ("ERESUME", "EDECCSSA"):
                self._move(eid, tcs, -1)
        except Exception as error:  # of a package of somebody else's, say
            self._enclaves[eid] = _Enclave(None, unknown=False)
            console.say(f"ECALLs and OCALLs of enclave {eid} are told no more: its decoder fails: {error!r}")
        return None

    def _move(self, eid: int, tcs: int, by: int) -> None:
        self._cssa[eid, tcs] = max(self._cssa.get((eid, tcs), 0) + by, 0)

    def _lose(self) -> None:
        """Leaves are missing."""
        self._lost = True
        for enclave in self._enclaves.values():
            if enclave.decoder is not None and enclave.decoder.every_leaf:
                enclave.decoder = None

    def _forget(self, eid: int) -> None:
        self._enclaves.pop(eid, None)
        self._made.pop(eid, None)
        for key in [key for key in self._cssa if key[0] == eid]:
            del self._cssa[key]

    def _first(self, eid: int, rdi: int, rsi: int, rsp: int) -> _Enclave:
        """An enclave is entered for the first time."""
        if not self._automatic:
            enclave = _Enclave(self._decoder(eid, self._chosen), unknown=False)
        else:
            made = self._made.get(eid)
            evidence = Evidence(made.program if made is not None else "", rdi, rsi, rsp)
            found = self._recognised(eid, evidence)
            enclave = _Enclave(found, unknown=found is None)
            enclave.evidence = evidence
        self._enclaves[eid] = enclave
        return enclave

    def _settle(self, eid: int, enclave: _Enclave, rdi: int) -> None:
        """It leaves for the first time, and what it is was not to be seen at its entry."""
        enclave.unknown = False
        if enclave.evidence is not None:
            enclave.decoder = self._recognised(eid, enclave.evidence._replace(exit_rdi=rdi))
        if enclave.decoder is not None:
            for entry in enclave.entries:
                enclave.decoder.enter(*entry)
        enclave.entries.clear()

    def _recognised(self, eid: int, evidence: Evidence) -> Decoder | None:
        if self._kinds is None:
            self._kinds = decoders.usable()
        return self._decoder(eid, next((kind for kind in self._kinds if kind.recognises(evidence)), None))

    def _decoder(self, eid: int, kind: type[Decoder] | None) -> Decoder | None:
        if kind is None or (self._lost and kind.every_leaf):
            return None
        names, made = self._names, self._made.get(eid)
        if kind.by_symbols and made is not None and not (names.ecalls or names.ocalls):
            from enclu.trace.names import of_loaded

            names = of_loaded(made.files, bytes.fromhex(made.mrenclave))
        return kind(names)
