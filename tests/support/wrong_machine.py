"""`enclu` with a mistake made on purpose in the machine, for tests of what finds mistakes.

python -m tests.support.wrong_machine NAME run PROGRAM...
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from enclu.linux import ioctl_sgx2, mm
from enclu.linux.syscalls import memory
from enclu.sgx import access, inside
from enclu.sgx import aex as aex_module
from enclu.sgx.enclu import accept, egetkey, enter, ereport, leaves
from enclu.sgx.epc import PageType
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.processor import Access
from enclu.sgx.structs import TARGETINFO, EncluLeaf
from enclu.sgx.xsave import XsaveLayout
from tests.support import wrong_driver

MISTAKES: dict[str, Callable[[], None]] = {}
"""Name -> what makes it."""


def mistake(make: Callable[[], None]) -> Callable[[], None]:
    MISTAKES[make.__name__] = make
    return make


def replace(name: str, by: Callable[[Any], Any], *modules: Any) -> None:
    """Put what `by` makes of a function in its place, wherever it has been imported to."""
    wrong = by(getattr(modules[0], name))
    for module in modules:
        setattr(module, name, wrong)


def leaf(number: EncluLeaf, by: Callable[[Any], Any]) -> None:
    table = leaves._INSIDE if number in leaves._INSIDE else leaves._OUTSIDE
    table[number] = by(table[number])


def after(change: Callable[[Any], None]) -> Callable[[Any], Any]:
    """The leaf, and then a change of the processor."""

    def by(right: Any) -> Any:
        def wrong(cpu: Any) -> None:
            right(cpu)
            change(cpu)

        return wrong

    return by


@mistake
def eenter_forgets_the_return_address() -> None:
    leaf(EncluLeaf.EENTER, after(lambda cpu: setattr(cpu.regs, "rcx", cpu.regs.rcx - 3)))


@mistake
def eenter_takes_any_alignment() -> None:
    def by(right: Any) -> Any:
        def wrong(cpu: Any) -> None:
            cpu.regs.rbx &= ~0xFFF
            right(cpu)

        return wrong

    leaf(EncluLeaf.EENTER, by)


@mistake
def eexit_clears_rdx() -> None:
    leaf(EncluLeaf.EEXIT, after(lambda cpu: setattr(cpu.regs, "rdx", 0)))


@mistake
def aex_reports_gp_without_exinfo() -> None:
    aex_module.REPORTED = aex_module.REPORTED | {Vector.GP}


@mistake
def aex_saves_no_rf() -> None:
    aex_module.RFLAGS_RF = 0  # type: ignore[attr-defined]


@mistake
def aex_leaves_avx() -> None:
    replace(
        "synthesise", lambda right: lambda layout, image, xfrm, vector: right(layout, image, 3, vector), XsaveLayout
    )


@mistake
def aex_leaves_rdi() -> None:
    from enclu.linux import trap  # not before others have put their constants into what it imports

    def by(right: Any) -> Any:
        def wrong(cpu: Any, fault: Any) -> None:
            rdi = cpu.regs.rdi
            right(cpu, fault)
            cpu.regs.rdi = rdi

        return wrong

    replace("aex", by, aex_module, trap)


@mistake
def int1_is_a_trap() -> None:
    replace(
        "exception",
        lambda right: lambda cpu, fault, *, stepped, int1: right(cpu, fault, stepped=stepped, int1=False),
        inside,
    )


@mistake
def eresume_restores_no_carry() -> None:
    enter.RFLAGS_RESTORED &= ~1


@mistake
def frames_are_asked_no_epcm() -> None:
    replace("_ssa_page", lambda right: lambda cpu, secs, address: cpu.translate(address, Access.WRITE), enter)


@mistake
def edeccssa_does_nothing() -> None:
    leaf(EncluLeaf.EDECCSSA, lambda right: lambda cpu: setattr(cpu.regs, "rip", cpu.regs.rip + 3))


@mistake
def egetkey_knows_a_sixth_key() -> None:
    def by(right: Any) -> Any:
        return lambda secs, request, cpusvn: 0 if request[0] == 5 else right(secs, request, cpusvn)

    replace("_refusal", by, egetkey)


@mistake
def ereport_takes_reserved_bytes() -> None:
    class Lenient:
        def __getattr__(self, name: str) -> Any:
            return (lambda image: True) if name == "reserved_ok" else getattr(TARGETINFO, name)

    vars(ereport)["TARGETINFO"] = Lenient()


@mistake
def eaccept_keeps_zf() -> None:
    leaf(EncluLeaf.EACCEPT, after(lambda cpu: setattr(cpu.regs, "rflags", cpu.regs.rflags & ~0x40)))


@mistake
def eacceptcopy_ignores_permissions() -> None:
    def by(right: Any) -> Any:
        def wrong(cpu: Any) -> None:
            right(cpu)
            page = cpu.translate(cpu.regs.rcx, 0)
            if cpu.regs.rax == 0:
                page.rwx = 3

        return wrong

    leaf(EncluLeaf.EACCEPTCOPY, by)


@mistake
def eacceptcopy_only_reads() -> None:
    replace("target_page", lambda right: lambda cpu, address, access=None: right(cpu, address), accept)


@mistake
def operands_are_asked_no_epcm() -> None:
    replace("epcm_allows", lambda right: lambda page, address, eid, access: True, access)


@mistake
def emodpe_extends_a_tcs() -> None:
    def by(right: Any) -> Any:
        def wrong(cpu: Any) -> None:
            try:
                right(cpu)
            except Fault as fault:
                page = cpu.translate(cpu.regs.rcx, 0) if fault.vector == Vector.PF else None
                if page is None or page.pt != PageType.TCS:
                    raise
                cpu.regs.rip += 3

        return wrong

    leaf(EncluLeaf.EMODPE, by)


@mistake
def the_kernel_maps_more_than_was_added() -> None:
    replace("may_map", lambda right: lambda encl, start, end, prot: None, mm, memory)


@mistake
def remove_pages_needs_no_eaccept() -> None:
    replace("_accepted", lambda right: lambda page: True, ioctl_sgx2)


MISTAKES.update({name: each.make for name, each in wrong_driver.MISTAKES.items()})


def main() -> None:
    MISTAKES[sys.argv.pop(1)]()
    from enclu.cli.main import main as enclu

    enclu()


if __name__ == "__main__":
    main()
