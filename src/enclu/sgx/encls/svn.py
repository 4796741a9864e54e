"""EUPDATESVN: what newer microcode brings, without a reboot.  SDM 3D EUPDATESVN."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from enclu.sgx.structs import ErrorCode

if TYPE_CHECKING:
    from enclu.sgx.machine import Machine


class SvnUpdate(enum.Enum):
    """What EUPDATESVN finds: chosen for the machine, which has no microcode."""

    NONE = "none"
    """No newer microcode has been loaded."""
    NEWER = "newer"
    """Newer microcode has."""
    NO_ENTROPY = "no-entropy"
    """The random number generator has too little for new keys, now and always."""
    FAILS = "fails"
    """It fails, for none of the reasons that are known."""


def eupdatesvn(machine: Machine) -> ErrorCode:
    """CPUSVN := that of the microcode, with fresh keys for evicted pages and reports; the EPC must be empty."""
    if machine.epc.used:
        return ErrorCode.SGX_EPC_NOT_READY
    match machine.svn_update:
        case SvnUpdate.NO_ENTROPY:
            return ErrorCode.SGX_INSUFFICIENT_ENTROPY
        case SvnUpdate.FAILS:
            return ErrorCode.SGX_UNMASKED_EVENT
        case SvnUpdate.NONE:
            return ErrorCode.SGX_NO_UPDATE
    machine.svn_update = SvnUpdate.NONE
    machine.cpusvn = bytes(svn + 1 for svn in machine.cpusvn)
    machine.lose_power(())  # no page is in use: what a reset makes anew is new
    return ErrorCode.SUCCESS
