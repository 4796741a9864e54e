"""What EEXIT and AEX have in common: the TCS becomes free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx.structs import TCS

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor
    from enclu.sgx.secs import Secs

_FREE = bytes(8)


def active_secs(cpu: Processor) -> Secs:
    """CR_ACTIVE_SECS."""
    return cpu.machine.enclaves[cpu.mode.eid]


def free_tcs(cpu: Processor) -> None:
    """Mark the TCS in use as available: from now on other processors may change it."""
    active_secs(cpu).used(cpu.mode.tcs_la).data[0:8] = _FREE


def shut_down(cpu: Processor) -> None:
    """The processor is gone, with the state that an AEX would have saved: only its TCS is given back.

    It may have been about to enter, and the TCS another's.
    """
    secs = cpu.machine.enclaves.get(cpu.mode.eid)
    page = None if secs is None else secs.page_at(cpu.mode.tcs_la)
    if page is not None and TCS.get(page.data, "STATE") == cpu.mode.owner:
        free_tcs(cpu)
    cpu.aside = None
    cpu.mode.leave()
