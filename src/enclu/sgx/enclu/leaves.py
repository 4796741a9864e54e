"""Which leaf ENCLU executes.  SDM 3D section 38.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx.enclu.accept import eaccept, eacceptcopy, emodpe
from enclu.sgx.enclu.edeccssa import edeccssa
from enclu.sgx.enclu.egetkey import egetkey
from enclu.sgx.enclu.enter import eenter, eresume
from enclu.sgx.enclu.ereport import ereport
from enclu.sgx.enclu.exit import eexit
from enclu.sgx.exceptions import Fault, GeneralProtection
from enclu.sgx.structs import EncluLeaf

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.sgx.processor import Processor

_OUTSIDE: dict[int, Callable[[Processor], bool | None]] = {EncluLeaf.EENTER: eenter, EncluLeaf.ERESUME: eresume}
_INSIDE: dict[int, Callable[[Processor], bool | None]] = {
    EncluLeaf.EEXIT: eexit, EncluLeaf.EREPORT: ereport, EncluLeaf.EGETKEY: egetkey, EncluLeaf.EACCEPT: eaccept,
    EncluLeaf.EMODPE: emodpe, EncluLeaf.EACCEPTCOPY: eacceptcopy, EncluLeaf.EDECCSSA: edeccssa,
}  # fmt: skip


def execute(cpu: Processor) -> bool:
    """Execute the ENCLU at RIP; whether it was an ERESUME that has entered anew (AEX-Notify).

    Raises Fault, with the registers untouched; else RIP is where the processor goes on.
    """
    mode = cpu.mode
    number = cpu.regs.rax & 0xFFFF_FFFF
    leaf = (_INSIDE if mode.enclave else _OUTSIDE).get(number)
    try:
        if leaf is None:
            raise GeneralProtection(_why_not(number, in_enclave=mode.enclave))
        return bool(leaf(cpu))
    except Fault as fault:
        fault.leaf = number
        raise


def _why_not(number: int, *, in_enclave: bool) -> str:
    if number in _INSIDE or number in _OUTSIDE:
        return f"{EncluLeaf(number).name} is for code {'outside enclaves' if in_enclave else 'in enclaves'}"
    return f"ENCLU has no leaf {number:#x}"
