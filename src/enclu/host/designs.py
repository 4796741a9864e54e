"""How the agent enters enclaves under each delivery design; made of what the design declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.host.errors import HostError
from enclu.linux import delivery
from enclu.linux.delivery.usage import ARGUMENTS, FIELDS, MAX_ARGUMENTS, REGISTERS, OwnEnclu, VdsoFunction
from enclu.linux.vdso import image
from enclu.native.address_space import VDSO_BASE
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    from enclu.linux.delivery.base import Delivery

HELLO = Structure(
    "hello", 96,
    (0, "channel_size", "Q"), (8, "enclu", "Q"), (16, "enclu_end", "Q"), (24, "returned", "Q"),
    (32, "on_signal", "Q"), (40, "restorer", "Q"), (48, "way", "48s"),
)  # fmt: skip
"""struct hello of agent/agent.h."""
FIELD = Structure("field", 4, (0, "offset", "H"), (2, "size", "H"))
"""struct field: of the function's structure; zero for none."""
WAY = Structure(
    "way", 48, (0, "entry", "Q"), (8, "aep", "Q"), (16, "function", "B"), (17, "arguments", f"{MAX_ARGUMENTS}s"),
    *((24 + FIELD.size * i, name, f"{FIELD.size}s") for i, name in enumerate(FIELDS)),
)  # fmt: skip
"""struct way."""
VALUES = ("", *REGISTERS, *ARGUMENTS)
"""enum value: what an argument is."""


@dataclass(frozen=True)
class Design:
    """The agent's side of a design."""

    declared: type[Delivery]

    @property
    def resumes(self) -> bool:
        return self.declared.entry.resumes

    @property
    def registers(self) -> tuple[str, ...]:
        """That an enclave can be entered with."""
        return self.declared.entry.registers

    def way(self) -> bytes:
        """How to enter.  Raises HostError if the vDSO does not have what the design declares."""
        entry = self.declared.entry
        if isinstance(entry, OwnEnclu):
            return WAY.pack()
        vdso = image.load(self.declared.vdso)
        if entry.symbol not in vdso.symbols or not vdso.extable:
            raise HostError(
                f"{self.declared.name}: {self.declared.vdso}.S has no {entry.symbol}, or no ENCLU in an exception table"
            )
        address, aep = VDSO_BASE + vdso.symbols[entry.symbol], VDSO_BASE + vdso.extable[-1][0]
        if not isinstance(entry, VdsoFunction):
            return WAY.pack(entry=address, aep=aep)
        arguments = bytes(VALUES.index(name) for name in entry.arguments)
        fields = {meaning: _place(entry.info, name) for meaning, name in entry.fields.items()}
        return WAY.pack(entry=address, aep=aep, function=1, arguments=arguments, **fields)


def chosen(choice: str) -> Design:
    """The agent's side of a design, which may have a setting.  Raises KeyError."""
    return Design(delivery.design(choice.partition(":")[0]))


def _place(structure: Structure, name: str) -> bytes:
    return FIELD.pack(offset=structure.offset(name), size=structure.width(name))
