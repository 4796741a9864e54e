"""What the pictures say of designs, in words: most of it follows from what a design declares (`linux/delivery`)."""

from __future__ import annotations

from dataclasses import dataclass

from enclu.linux.delivery import base, usage
from enclu.linux.delivery.usage import OwnEnclu, VdsoFunction

KERNEL_FILES = "arch/x86/mm/fault.c and arch/x86/kernel/traps.c"
RFC = f"RFC v3, patches 2 and 3 of 4: before {KERNEL_FILES} send a signal"


@dataclass(frozen=True)
class InShort:
    """Three answers, a line each."""

    asked: str
    """By the kernel, when an exception would become a signal."""
    registered: str
    collides: str
    """When a second runtime comes into the process."""


IN_SHORT = {
    "signal": InShort(
        "The process: who has its signal handler?",
        "A handler for SIGSEGV and others, by sigaction(2), for the whole process.",
        "Handlers must pass on what is not theirs; one that does not takes all.",
    ),
    "vdso-2018": InShort(
        "The code: is RIP an ENCLU in the vDSO's exception table?",
        "Nothing. The runtime calls a function of the vDSO.",
        "Nothing: the exception returns to whoever called. But nobody can resume.",
    ),
    "vdso-jmp": InShort(
        "The code: is RIP the one ENCLU of the vDSO?",
        "One target for the process: the UD2 behind that ENCLU becomes a jump to it.",
        "The second runtime is refused: the jump is the first one's.",
    ),
    "mm-handler": InShort(
        "The memory map: has the process a handler, and is RIP at any ENCLU?",
        "One handler for the process, by an ioctl.",
        "The second runtime's handler replaces the first, and gets its exceptions.",
    ),
    "mm-handler:write-once": InShort(
        "The memory map: has the process a handler, and is RIP at any ENCLU?",
        "One handler for the process, by an ioctl, once and for all.",
        "The second runtime is refused, for good.",
    ),
    "mm-handler:unregister-first": InShort(
        "The memory map: has the process a handler, and is RIP at any ENCLU?",
        "One handler for the process, by an ioctl, while there is no other.",
        "The second runtime is refused until the first has unregistered.",
    ),
    "thread-handler": InShort(
        "The thread: which handler has it registered last?",
        "A handler for the thread, before each entry; removed after it.",
        "Nothing, as long as every entry is left the way it was made.",
    ),
    "range-handler": InShort(
        "The code: in whose registered range is RIP?",
        "A handler for the range of the runtime's own code.",
        "Nothing: ranges of two runtimes do not overlap.",
    ),
    "vdso": InShort(
        "The code: is RIP the ENCLU in the vDSO's exception table?",
        "Nothing. The runtime calls a function of the vDSO.",
        "Nothing: the exception returns to whoever called.",
    ),
}


def in_short(choice: str, design: type[base.Delivery]) -> InShort:
    """The answers of docs/designs; of a design that is new, what it declares."""
    known = IN_SHORT.get(choice) or IN_SHORT.get(design.name)
    return known or InShort(f"{design.name} decides.", registering(design), "What the picture below shows.")


def fourth_lane(design: type[base.Delivery]) -> str:
    """Whose code executes ENCLU."""
    return "runtime" if isinstance(design.entry, OwnEnclu) else "vDSO"


def last_lane(design: type[base.Delivery]) -> str:
    """Who is told in the end."""
    return "host" if isinstance(design.entry, OwnEnclu) else "runtime, host"


def registering(design: type[base.Delivery]) -> str:
    """What the runtime registers with the kernel."""
    registration = design.registration
    if registration is None:
        if isinstance(design.entry, OwnEnclu):
            return "No ioctl: the runtime has a signal handler, by sigaction(2)."
        return "Nothing is registered: the kernel knows its own vDSO."
    if registration.of_thread:
        return "The runtime registers its handler for this thread, before each entry."
    fields = {name for _, name, _ in registration.structure.fields}
    if "start" in fields:
        return "The runtime registers a handler for the range of its own code."
    if "target" in fields:
        return "The runtime gives a target: the UD2 behind the vDSO's ENCLU becomes a jump to it."
    return "The runtime registers one handler, for the whole memory map."


def registering_second(design: type[base.Delivery]) -> str:
    """What a second runtime does to the first, if it is not refused."""
    registration = design.registration
    if registration is not None and "start" in {name for _, name, _ in registration.structure.fields}:
        return "Runtime B registers a handler for its own code. That of A stays."
    return "Runtime B registers its own handler. It replaces that of A, and nobody is told."


def entering(design: type[base.Delivery]) -> str:
    if isinstance(design.entry, OwnEnclu):
        return "The runtime executes ENCLU in its own code. That place is the AEP, too."
    if isinstance(design.entry, VdsoFunction):
        return "The runtime calls the vDSO's function, which executes ENCLU. The AEP is in the vDSO, too."
    return "The runtime jumps to the bare ENCLU of the vDSO, which is the AEP, too."


def fixing_up(design: type[base.Delivery]) -> str:
    """Why the thread goes on where it does."""
    if isinstance(design.entry, VdsoFunction):
        return "RIP, the AEP, has an entry in the vDSO's exception table. The thread goes on at its fixup."
    if isinstance(design.entry, usage.VdsoEnclu):
        return "RIP, the AEP, is the vDSO's ENCLU. The thread goes on behind it, at the patched jump."
    registration = design.registration
    if registration is not None and registration.of_thread:
        return "RIP is at an ENCLU. The thread goes on at the handler that it registered last."
    if registration is not None and "start" in {name for _, name, _ in registration.structure.fields}:
        return "RIP is in a registered range. The thread goes on at the handler of that range."
    return "RIP is at an ENCLU, no matter whose. The thread goes on at the one handler of the memory map."


def telling(design: type[base.Delivery]) -> str:
    """How the host comes to know."""
    if isinstance(design.entry, VdsoFunction):
        return f"The function has it in struct {design.entry.info.name}, and the runtime tells the host."
    if design.registration is None:
        return "The signal handler finds its own AEP in RIP, and the runtime tells the host."
    return "The handler has it in its registers, and the runtime tells the host."


def reference(design: type[base.Delivery]) -> str:
    """Where the decision is written down."""
    if design.name == "vdso":
        return "Kernel: arch/x86/entry/vdso/extable.c, fixup_vdso_exception(); vsgx.S"
    if design.name == "mm-handler":
        return f"{RFC}; docs/designs/mm-handler.md"
    return f"docs/designs/{design.name}.md; asked before {KERNEL_FILES} of the kernel would send a signal"
