"""An audit: the checklist, item by item, each from the same state of the enclave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from enclu.host.convention import Convention, named
from enclu.host.conventions.enclu import EncluConvention
from enclu.host.conventions.registers import RegistersConvention
from enclu.host.errors import HostError, ProcessDied
from enclu.host.images import Image, open_image
from enclu.host.machine import Machine
from enclu.sweep.audit import items as _items  # noqa: F401 - the package
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.items import (
    cssa,
    dynamic_pages,
    entering,
    exceptions,
    fetches,
    leaving,
    ocalls,
    permissions,
    pointers,
    start,
    window,
)
from enclu.sweep.audit.target import SETTLE, Target
from enclu.sweep.audit.verdict import Finding, Report, Verdict
from enclu.sweep.room import epc_for

if TYPE_CHECKING:
    from enclu.host.conventions.sdk.abi import EmmModify
    from enclu.host.edl.interface import Interface
    from enclu.host.enclave import Enclave
    from enclu.host.process import Process
    from enclu.sweep.audit.ways.way import Way

ITEMS: tuple[Item, ...] = (
    *entering.ITEMS, *leaving.ITEMS, *window.ITEMS, *exceptions.ITEMS, *cssa.ITEMS, *pointers.ITEMS, *ocalls.ITEMS,
    *fetches.ITEMS, *dynamic_pages.ITEMS, *start.ITEMS, *permissions.ITEMS,
)  # fmt: skip
"""In the order of the report."""


def chosen(only: Iterable[str]) -> tuple[Item, ...]:
    """Items by name, or by group; all if none is named.  Raises HostError for a name that is none."""
    names = tuple(only)
    for name in names:
        if not any(item.name == name or item.name.startswith(f"{name}/") for item in ITEMS):
            raise HostError(f"there is no item {name!r} in the checklist: enclu audit --list has them")
    return tuple(
        item for item in ITEMS if not names or any(item.name == n or item.name.startswith(f"{n}/") for n in names)
    )


def audit(
    image: str | os.PathLike[str] | Image, *, interface: Interface | None = None,
    sigstruct: str | os.PathLike[str] | None = None, convention: str | None = None, only: Iterable[str] = (),
    machine: Machine | None = None, told: Callable[[Finding], object] | None = None,
) -> Report:  # fmt: skip
    """Audit an enclave: what a hostile host would try, item by item.

    `interface` is of its EDL file, `convention` one of `convention.NAMES` where the image does not say it, `only` names
    items or groups of them; `told` hears of each finding at once.  Raises HostError where the enclave cannot be loaded.
    """
    if not isinstance(image, Image):
        image = open_image(image, sigstruct)
    items = chosen(only)
    if machine is None:
        with Machine(epc_for(image)) as own:
            return _audit(own, image, interface, convention, items, told)
    return _audit(machine, image, interface, convention, items, told)


def _audit(
    machine: Machine, image: Image, interface: Interface | None, convention: str | None, items: tuple[Item, ...],
    told: Callable[[Finding], object] | None,
) -> Report:  # fmt: skip
    kind = _kind(image, interface, convention)

    def target(
        change: Callable[[Convention], object] = lambda made: None, *, debug: bool | None = None, warm: bool = True
    ) -> Target:
        """`change` is made to the convention before it says anything to the enclave."""

        def changed(enclave: Enclave) -> Convention:
            made = kind(enclave)
            change(made)
            return made

        def load(process: Process) -> Enclave:
            return process.load(image, convention=changed, debug=debug, start_timeout=SETTLE)

        return Target(machine, load, way, warm=warm)

    def as_debug() -> Target | None:
        try:
            return target(debug=True)
        except HostError:
            return None

    def uninitialized() -> Target:
        return target(_unstarted, warm=False)

    def answering(modify: Callable[[Enclave, EmmModify], int], *, warm: bool) -> Target:
        return target(lambda made: setattr(made, "modify", modify), warm=warm)

    context = Audit(image, target, as_debug, uninitialized, answering)
    findings: list[Finding] = []
    try:
        name = context.target.way.name
        for item in items:
            for finding in _run(context, item):
                findings.append(finding)
                if told is not None:
                    told(finding)
    finally:
        context.close()
    return Report(str(image.path), name, tuple(findings))


def _run(context: Audit, item: Item) -> Iterator[Finding]:
    try:
        yield from item.run(context, item)
    except ProcessDied as died:
        yield Finding(item.name, "", Verdict.UNDECIDED, f"the host's process came to its end meanwhile: {died}")
    except HostError as error:
        yield Finding(item.name, "", Verdict.UNDECIDED, f"it could not be tried to its end: {error}")


def _kind(image: Image, interface: Interface | None, convention: str | None) -> Callable[[Enclave], Convention]:
    if interface is not None and (convention or image.convention) != "open-enclave":
        return interface.convention()
    return named(convention or image.convention)


def _unstarted(made: Convention) -> None:
    """It is without what it says to the enclave first."""
    made.start = lambda timeout: None  # type: ignore[method-assign]


def way(target: Target) -> Way:
    """The one for a target's convention.  Raises HostError."""
    from enclu.host.conventions.edp.convention import EdpConvention
    from enclu.host.conventions.open_enclave.convention import OpenEnclaveConvention
    from enclu.host.conventions.sdk.convention import SdkConvention

    convention = target.enclave.convention
    if isinstance(convention, SdkConvention):
        from enclu.sweep.audit.ways.sdk import SdkWay

        return SdkWay(target)
    if isinstance(convention, OpenEnclaveConvention):
        from enclu.sweep.audit.ways.open_enclave import OpenEnclaveWay

        return OpenEnclaveWay(target)
    if isinstance(convention, EdpConvention):
        from enclu.sweep.audit.ways.edp import EdpWay

        return EdpWay(target)
    if isinstance(convention, EncluConvention):
        from enclu.sweep.audit.ways.enclu import EncluWay

        return EncluWay(target)
    if isinstance(convention, RegistersConvention):
        from enclu.sweep.audit.ways.registers import RegistersWay

        return RegistersWay(target)
    raise HostError(f"{target.enclave.image.path}: no audit knows how to speak as {type(convention).__name__}")
