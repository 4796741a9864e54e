"""What ECALLs and OCALLs look like: a small file for each convention, a `Decoder` in it.

A decoder tells from the registers at EENTER and EEXIT what an entry and an exit are for.  What lies in memory it does
not know, and does not guess.  Packages add their own by the entry point group `enclu.trace_decoders`, whose names are
what `--convention` takes and whose objects are classes of Decoder.
"""

from __future__ import annotations

import enum
import importlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from enclu.base import console

GROUP = "enclu.trace_decoders"
_OWN = {
    "sdk": "Sdk",
    "open-enclave": "OpenEnclave",
    "edp": "Edp",
    "gramine": "Gramine",
    "enclu": "Enclu",
}
"""Class of each convention, in the module of its name."""
NONE = "none"
"""What --convention calls the absence of any: registers are not interpreted."""


class NoConvention(Exception):
    """A name is none of a convention, or its decoder cannot be had; the message says why."""


class Kind(enum.Enum):
    """What a leaf is for."""

    ECALL = "ecall"
    """EENTER: a call of the enclave begins, or an entry of another kind, as for an exception."""
    ECALL_RETURN = "ecall_return"
    """EEXIT: the innermost ECALL ends."""
    OCALL = "ocall"
    """EEXIT: a call of the program begins."""
    OCALL_RETURN = "ocall_return"
    """EENTER: the innermost OCALL ends."""


class Call:
    """What an EENTER or EEXIT is for, as far as its registers tell.  Made once and shown often."""

    __slots__ = ("_fields", "kind", "name", "number", "text")

    def __init__(self, kind: Kind, number: int | None = None, name: str = "") -> None:
        self.kind = kind
        self.number = number
        """Of the function, as the convention counts; None if that is not in registers."""
        self.name = name
        """Of the function, or what the convention calls this entry or exit; empty: not known."""
        number_text = f" {number}" if number is not None else ""
        self.text = console.printable(f"{_WORDS[kind]}{number_text}{' ' if name else ''}{name}")
        """For people."""
        self._fields = ""

    @property
    def fields(self) -> str:
        """For programs: a JSON object."""
        if not self._fields:
            known = {"kind": self.kind.value, "number": self.number, "name": self.name}
            self._fields = json.dumps({key: value for key, value in known.items() if value not in (None, "")})
        return self._fields


_WORDS = {
    Kind.ECALL: "ECALL",
    Kind.ECALL_RETURN: "return of ECALL",
    Kind.OCALL: "OCALL",
    Kind.OCALL_RETURN: "return of OCALL",
}


@dataclass(frozen=True)
class Names:
    """Of functions, by number."""

    ecalls: Mapping[int, str] = field(default_factory=dict)
    ocalls: Mapping[int, str] = field(default_factory=dict)


NO_NAMES = Names()
_MOST_CALLS = 10_000
"""That are remembered: what registers have is up to the program."""


class Evidence(NamedTuple):
    """What is known of an enclave after it was entered for the first time, or left."""

    program: str
    """The name of the executable that made it, without directories; empty: not known."""
    rdi: int
    """At the first EENTER, as are the two others."""
    rsi: int
    rsp: int
    exit_rdi: int | None = None
    """At the first EEXIT; None: not there yet."""


class Decoder:
    """Of one enclave.  Its methods are called for every EENTER and EEXIT, in the order of each thread."""

    convention: ClassVar[str]
    """What --convention calls it."""
    by_symbols: ClassVar[bool] = False
    """Its images have tables of functions as Intel's edger8r makes them, whose symbols are names."""

    every_leaf: ClassVar[bool] = True
    """What it tells depends on the leaves before: nothing is told after some were lost (`--lossy`)."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._entries: dict[int, Call] = {}
        self._exits: dict[int, Call] = {}
        """What to `remember`, by the register that tells."""

    @classmethod
    def recognises(cls, evidence: Evidence) -> bool:
        """Whether an enclave is of this convention, beyond reasonable doubt."""
        raise NotImplementedError

    @staticmethod
    def remember(calls: dict[int, Call], register: int, call: Call) -> Call:
        """The call, and keep it for the same register: most are made again and again."""
        if len(calls) >= _MOST_CALLS:
            calls.clear()
        calls[register] = call
        return call

    def enter(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        """What an EENTER is for."""
        raise NotImplementedError

    def exit(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        """What an EEXIT is for; `cssa` is what it was when the enclave was entered."""
        raise NotImplementedError


def names() -> list[str]:
    """What --convention takes."""
    return [*_OWN, *sorted(_others()), NONE]


def named(name: str) -> type[Decoder] | None:
    """The class for a name of `names`; None for NONE.  Raises NoConvention."""
    if name == NONE:
        return None
    if name in _OWN:
        return _own(name)
    others = _others()
    if name not in others:
        raise NoConvention(f"{name!r} is no convention (there are: {', '.join(names())})")
    return _loaded(others[name])


def usable() -> list[type[Decoder]]:
    """All of them; of those that cannot be loaded is told."""
    found = [_own(name) for name in _OWN]
    for _, point in sorted(_others().items()):
        try:
            found.append(_loaded(point))
        except NoConvention as error:
            console.say(f"{error}: no ECALLs and OCALLs are decoded by it")
    return found


def _own(name: str) -> type[Decoder]:
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    found: type[Decoder] = getattr(module, _OWN[name])
    return found


def _loaded(point: importlib.metadata.EntryPoint) -> type[Decoder]:
    """Raises NoConvention."""
    try:
        made = point.load()
    except Exception as error:  # whatever a package of somebody else's does
        raise NoConvention(f"the decoder {point.name!r} of {point.value} cannot be loaded: {error}") from None
    if not (isinstance(made, type) and issubclass(made, Decoder)):
        raise NoConvention(f"the decoder {point.name!r} of {point.value} is no subclass of {__name__}.Decoder")
    return made


def _others() -> dict[str, importlib.metadata.EntryPoint]:
    """Of other packages."""
    found = importlib.metadata.entry_points(group=GROUP)
    return {point.name: point for point in found if point.name not in _OWN and point.name != NONE}
