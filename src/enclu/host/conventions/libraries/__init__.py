"""Libraries of OCALLs that Python serves by name, for those who ask for them.

Without being asked, no enclave reaches the files, sockets and clocks of the program that it is tried in.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from enclu.host.errors import HostError

if TYPE_CHECKING:
    from enclu.host.edl.syntax import Ocall
    from enclu.host.edl.types import Types
    from enclu.host.memory import Memory

NAMES = {"posix": ("posix", "Posix"), "sgxssl": ("sgxssl", "SgxSsl")}
"""Module and class, imported when they are asked for."""


class Library(Protocol):
    """One for each enclave."""

    def function(self, ocall: Ocall, types: Types) -> Callable[..., Any] | None:
        """What serves this OCALL, called with its arguments; None for one that is not of this library."""

    def close(self) -> None:
        """The enclave is gone: what it has left open."""


class Libraries:
    """Those that were asked for, by name.  Raises HostError for a name that is none."""

    def __init__(self, memory: Memory, names: str | Iterable[str]) -> None:
        self._memory = memory
        self._libraries: list[Library] = []
        for name in (names,) if isinstance(names, str) else tuple(names):
            if name not in NAMES:
                raise HostError(f"no library of OCALLs is called {name!r}: {', '.join(NAMES)}")
            module, made = NAMES[name]
            self._libraries.append(getattr(importlib.import_module(f"{__name__}.{module}"), made)(memory))

    def function(self, ocall: Ocall, types: Types) -> Callable[..., Any] | None:
        """What serves this OCALL; None if no library does."""
        served = (library.function(ocall, types) for library in self._libraries)
        return next((function for function in served if function is not None), None)

    def hint(self, ocall: Ocall, types: Types) -> str:
        """For an error about an OCALL that nobody serves: which library would."""
        for name in NAMES:
            if Libraries(self._memory, name).function(ocall, types) is not None:
                return f"; serve={name!r} has one"
        return ""

    def close(self) -> None:
        for library in self._libraries:
            library.close()
