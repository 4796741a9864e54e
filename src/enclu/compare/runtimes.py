"""How programs use one design: a runtime of its own in scenarios/runtimes, or one made of what the design declares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enclu.linux import delivery
from enclu.linux.delivery.usage import Entry, OwnEnclu, Registration, VdsoFunction
from enclu.sgx.layout import Structure

VALUES = {
    "rdi": "RDI", "tcs": "TCS", "leaf": "LEAF", "info": "INFO",
    "handler": "HANDLER", "target": "TARGET", "start": "START", "length": "LENGTH",
}  # fmt: skip
"""enum value of runtimes/common/declared.c; what is not there is NOTHING."""
COMMON = ("call.S", "declared.c", "enter.S", "jump.S", "trampoline.c", "vdso.c")
BY_SIGNALS = "signal"
"""The design whose runtime serves all that register nothing for an ENCLU of the program's own."""


@dataclass(frozen=True)
class Runtime:
    """How programs use one design."""

    design: str
    folder: Path
    sources: tuple[Path, ...]
    common: tuple[str, ...]
    """Of the files in runtimes/common, those that only some designs need."""
    needs: tuple[str, ...]
    """What user space must provide."""
    flags: tuple[str, ...] = ()
    """For the compiler."""


def declared(runtimes: Path, design: str) -> Runtime:
    """For a design that has no folder in `runtimes`."""
    chosen = delivery.design(design)
    entry, registration = chosen.entry, chosen.registration
    folder = runtimes / "common"
    needs = tuple(_needs(entry, registration))
    if isinstance(entry, OwnEnclu) and registration is None:
        return Runtime(design, folder, (runtimes / BY_SIGNALS / "runtime.c",), ("enter.S",), needs)
    return Runtime(design, folder, (), COMMON, needs, (f"-DDECLARED={_initializer(entry, registration)}",))


def _initializer(entry: Entry, registration: Registration | None) -> str:
    """Of struct declared."""
    members = []
    if not isinstance(entry, OwnEnclu):
        members.append(f'.symbol = "{entry.symbol}"')
    if isinstance(entry, VdsoFunction):
        arguments = ", ".join(VALUES.get(name, "NOTHING") for name in entry.arguments)
        members += [".function = true", f".resumes = {str(entry.resumes).lower()}", f".arguments = {{ {arguments} }}"]
        members += [
            f".{meaning} = {_field(entry.info, name, 'NOTHING')}"
            for meaning, name in entry.fields.items()
            if meaning != "handler"  # without one, the function returns
        ]
    if registration is not None:
        members.append(f".registration = {_call(registration.register, registration.structure)}")
        members.append(f".removal = {_call(registration.unregister, registration.named)}")
        members.append(f".of_thread = {str(registration.of_thread).lower()}")
    return f"{{ {', '.join(members)} }}"


def _call(command: int, structure: Structure) -> str:
    fields = [_field(structure, name, VALUES[name]) for _, name, _ in structure.fields if name in VALUES]
    return f"{{ {command:#x}, {{ {', '.join(fields) or '{ 0, 0, NOTHING }'} }} }}"


def _field(structure: Structure, name: str, value: str) -> str:
    return f"{{ {structure.offset(name)}, {structure.width(name)}, {value} }}"


def _needs(entry: Entry, registration: Registration | None) -> list[str]:
    """What user space must provide, as far as the declaration tells."""
    if isinstance(entry, OwnEnclu):
        needs = ["an ENCLU of its own, which is the AEP"]
        needs.append("handlers for signals" if registration is None else "assembly where exceptions arrive")
    elif isinstance(entry, VdsoFunction):
        needs = ["a lookup of the vDSO's function"]
    else:
        needs = ["a lookup of the vDSO's function", "assembly around the entry, where exits and exceptions arrive"]
        needs.append("a page within 2 GiB of the vDSO, with an indirect jump")
    if registration is not None:
        needs.append(f"an ioctl {'before and after every entry' if registration.of_thread else 'when it starts'}")
    return needs
