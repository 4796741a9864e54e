"""Is an EDL file of this enclave?  By the tables of functions that edger8r generates into enclaves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from enclu.host.edl.interface import Interface
from enclu.host.errors import HostError
from enclu.host.images import sdk_tables
from enclu.host.images.sdk_tables import Tables

MOST_SHOWN = 8
"""Names in a message."""


def check(path: Path, interface: Interface) -> None:
    """Raise HostError if the enclave's functions are others than the interface's."""
    tables = sdk_tables.read(path)
    if tables is None:
        return
    problem = _ecall_problem(interface, tables) or _ocall_problem(interface, tables)
    if problem:
        built = sdk_tables.release(path)
        hint = f"; it is of SDK {built[0]}.{built[1]}, whose files are taken with sdk={built[:2]}" if built else ""
        raise HostError(f"{interface.path} is not of {path}: {problem}{hint}")


def _ecall_problem(interface: Interface, tables: Tables) -> str | None:
    has, declares = tables.ecalls, [ecall.name for ecall in interface.ecalls]
    for number, (declared, name) in enumerate(zip(declares, has, strict=False)):
        if name is not None and name != declared:
            return f"ECALL {number} is `{declared}' in the one and `{name}' in the other"
    if len(has) == len(declares):
        return None
    return f"{len(declares)} ECALLs in the one and {len(has)} in the other" + _differing(declares, filter(None, has))


def _ocall_problem(interface: Interface, tables: Tables) -> str | None:
    names, declares = tables.ocall_names, [ocall.name for ocall in interface.ocalls]
    for number, name in sorted(names.items()):
        # A name that is not declared proves nothing: compilers put small functions into others.
        if interface.ocall_numbers.get(name, number) != number:
            declared = f"is `{declares[number]}'" if number < len(declares) else "is none"
            return f"OCALL {number} {declared} in the one and `{name}' in the other"
    if tables.ocalls is None or tables.ocalls == len(declares):
        return None
    more = _differing(declares, names.values())
    return f"{len(declares)} OCALLs in the one and {tables.ocalls} in the other" + more


def _differing(declared: Iterable[str], names: Iterable[str]) -> str:
    """Functions of one of them, in words."""
    declared, names = list(declared), list(names)
    alone = [name for name in names if name not in declared]
    missing = [name for name in declared if name not in names]
    words = f"; the enclave alone has {_listed(alone)}" if alone else ""
    return words + (f"; it has no {_listed(missing)}" if missing else "")


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}'" for name in names[:MOST_SHOWN])
    return shown + (f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else "")
