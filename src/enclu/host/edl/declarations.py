"""What EDL files declare of an enclave: functions numbered as edger8r numbers them, and types."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from enclu.host.edl.syntax import Composite, Ecall, Enumeration, Ocall


@dataclass(frozen=True)
class Declarations:
    """ECALLs and OCALLs, in the order of their numbers, and the types that the EDL files define."""

    name: str
    path: str
    includes: tuple[str, ...]
    composites: tuple[Composite | Enumeration, ...]
    ecalls: tuple[Ecall, ...]
    ocalls: tuple[Ocall, ...]
    directories: tuple[Path, ...] = ()
    """Where files that were imported, and headers, may be."""

    @cached_property
    def ecall_numbers(self) -> dict[str, int]:
        return {ecall.name: number for number, ecall in enumerate(self.ecalls)}

    @cached_property
    def ocall_numbers(self) -> dict[str, int]:
        return {ocall.name: number for number, ocall in enumerate(self.ocalls)}

    def __str__(self) -> str:
        """The interface as one EDL file that imports nothing."""
        lines = ["enclave {"]
        lines += [f'    include "{header}"' for header in self.includes]
        lines += [f"    {composite};" for composite in self.composites]
        for kind, functions in (("trusted", self.ecalls), ("untrusted", self.ocalls)):
            lines += [f"    {kind} {{", *(f"        {function};" for function in functions), "    };"]
        return "\n".join([*lines, "};", ""])
