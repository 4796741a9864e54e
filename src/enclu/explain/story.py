"""From traces to pictures: which events are shown, between which lanes, and what is said of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

from enclu.compare import CompareError
from enclu.explain import words
from enclu.explain.picture import Picture, Step, Tone, Value
from enclu.explain.scene import Happened, Scene
from enclu.linux.uapi import ioctl_name
from enclu.sgx.exceptions import PFEC, Vector
from enclu.sgx.structs import EncluLeaf

ENCLAVE, PROCESSOR, KERNEL, CODE, HOST = range(5)
REGISTER, ENTER, EXIT, EXCEPTION, DECISION, TOLD = ONE = (
    "A runtime registers",
    "It enters its enclave",
    "The enclave faults",
    "The kernel is asked",
    "The design decides",
    "The host is told",
)
FIRST, SECOND, AGAIN, GOES, END = TWO = (
    "Runtime A comes",
    "Runtime B comes, too",
    "A's enclave faults",
    "The design decides",
    "What comes of it",
)
AFTER = ("fixup", "exception_signal")


class _Run:
    """The events of a scene, by what they are to the pictures."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.events = scene.events
        registration = scene.uses.registration
        self.registering = ioctl_name(registration.register) if registration else ""
        self.of_thread = registration is not None and registration.of_thread
        self.first = self.next(0, "an exception of an enclave", lambda e: e["event"] in AFTER)

    def next(self, at: int, what: str, wanted: Callable[[Happened], bool]) -> int:
        """Where the first such event is, from there on.  Raises CompareError."""
        return self._found(self.find(at, len(self.events), wanted), what)[0]

    def last(self, end: int, what: str, wanted: Callable[[Happened], bool]) -> Happened:
        """The last such event before `end`.  Raises CompareError."""
        return self.events[self._found(self.find(0, end, wanted), what)[-1]]

    def find(self, start: int, end: int, wanted: Callable[[Happened], bool]) -> list[int]:
        return [i for i in range(start, end) if wanted(self.events[i])]

    def _found(self, found: list[int], what: str) -> list[int]:
        if not found:
            raise CompareError(f"the trace under {self.scene.design} has not {what}; see {self.scene.command}")
        return found

    def registrations(self, start: int, end: int) -> list[Happened]:
        found = self.find(start, end, lambda e: bool(self.registering) and e.get("ioctl") == self.registering)
        return [self.events[i] for i in found]

    @property
    def second(self) -> int:
        """What became of the exception that came after the second runtime."""
        created = self.next(self.first, "a second enclave", lambda e: e["event"] == "enclave_created")
        return self.next(created, "its exception", lambda e: e["event"] in AFTER)


def one_exception(scene: Scene) -> Picture:
    """Its way, with one runtime in the process."""
    run, uses = _Run(scene), scene.uses
    at = run.first
    enter = run.last(at, "an EENTER", lambda e: e.get("leaf") == "EENTER" and e["event"] == "leaf")
    registered = run.registrations(0, at)
    who = CODE if words.fourth_lane(uses) == "runtime" else HOST
    steps = [_registering(scene, event, REGISTER, who, KERNEL) for event in registered[-1:]]
    steps += [_entering(scene, enter, ENTER), *_faulting(run, at)]
    steps.append(_deciding(scene, run.events[at], DECISION, KERNEL, CODE))
    if not scene.told:
        raise CompareError(f"under {scene.design}, no host was told of an exception: {scene.says}")
    told = scene.told[0]
    values = (
        Value("leaf", str(told.leaf), EncluLeaf(told.leaf).name),
        Value("vector", str(told.vector), _vector(told.vector)),
        Value("error code", f"{told.error_code:#x}"),
        _address("address", told.address, scene.memory.name(told.address)),
    )
    reference = f"What the host was given; docs/designs/{uses.name}.md"
    steps.append(Step(TOLD, CODE, HOST, "told", words.telling(uses), values, reference, Tone.GOOD))
    lanes = ("enclave", "processor", "kernel", words.fourth_lane(uses), words.last_lane(uses))
    return Picture(scene.design, lanes, ONE, tuple(steps), {REGISTER: words.registering(uses)})


def _entering(scene: Scene, event: Happened, stage: str) -> Step:
    values = (
        _address("RBX", event["rbx"], "the TCS"),
        _address("RCX", event["rcx"], scene.memory.name(event["rcx"])),
        _address("RDI", event["rdi"], "an argument for the enclave"),
        _address("RSP", event["rsp"], "the runtime's stack"),
        Value("RAX", str(event["rax"]), "CSSA, returned"),
    )
    reference = "SDM volume 3D, EENTER: RBX the TCS, RCX the AEP; RAX returns CSSA"
    return Step(stage, CODE, ENCLAVE, "EENTER", words.entering(scene.uses), values, reference)


def _faulting(run: _Run, at: int) -> list[Step]:
    memory = run.scene.memory
    aex = run.last(at, "an AEX", lambda e: e["event"] == "aex" and e["vector"] >= 0)
    exception = run.last(at, "the enclave's exception", lambda e: e["event"] == "enclave_exception")
    left = (
        Value("vector", str(aex["vector"]), _vector(aex["vector"])),
        _address("RIP", aex["rip"], memory.name(aex["rip"])),
    )
    asked = (
        Value("vector", str(exception["vector"]), _vector(exception["vector"])),
        Value("error code", f"{exception['error_code']:#x}", _error_code(exception)),
        _address("address", exception["address"], memory.name(exception["address"])),
    )
    return [
        Step(
            EXIT,
            ENCLAVE,
            PROCESSOR,
            "AEX",
            "A write faults. The processor puts the enclave's registers into the SSA; RIP is now the AEP.",
            left,
            "SDM volume 3D, chapter 37: asynchronous enclave exit, synthetic state, EXITINFO, EXINFO",
        ),
        Step(
            EXCEPTION,
            PROCESSOR,
            KERNEL,
            _short(exception),
            f"A cause that the kernel cannot remove: {exception['reason']}.",
            asked,
            "Kernel: arch/x86/mm/fault.c, X86_PF_SGX; SDM volume 3A, section 4.7: bit 15 of the error code",
        ),
    ]


def _registering(scene: Scene, event: Happened, stage: str, source: int, target: int) -> Step:
    says = words.registering(scene.uses) if stage != SECOND else words.registering_second(scene.uses)
    if event["event"] == "ioctl_refused":
        values = (Value("ioctl", event["ioctl"]), Value("errno", event["errno"], event["reason"]))
        says = f"It wants to register, too, and is refused: {event['reason']}."
        return Step(stage, source, target, event["errno"], says, values, "include/enclu_sgx.h", Tone.BAD)
    values = (Value("ioctl", event["ioctl"]), Value("returns", str(event["result"])))
    return Step(stage, source, target, "ioctl", says, values, f"include/enclu_sgx.h; docs/designs/{scene.uses.name}.md")


def _deciding(scene: Scene, event: Happened, stage: str, source: int, target: int) -> Step:
    uses = scene.uses
    if event["event"] == "exception_signal":
        name = signal.Signals(event["signo"]).name
        values = (
            Value("signal", str(event["signo"]), name),
            Value("trap number", str(event["vector"])),
            Value("error code", f"{event['error_code']:#x}"),
            _address("CR2", event["address"], scene.memory.name(event["address"])),
        )
        says = "Nobody is asked: a signal at the AEP, for whoever has the handler of the process."
        return Step(stage, source, target, name, says, values, f"Kernel: {words.KERNEL_FILES}; sigaction(2)")
    place = scene.memory.name(event["target"])
    values = (
        _address("RIP", event["target"], place),
        Value("RDI", str(event["vector"]), "vector"),
        Value("RSI", f"{event['error_code']:#x}", "error code"),
        _address("RDX", event["address"], "address"),
    )
    return Step(stage, source, target, "fixup", words.fixing_up(uses), values, words.reference(uses))


def page_faults(scene: Scene) -> Picture:
    """Two #PFs: one that the kernel resolves, and one that it cannot."""
    run, memory = _Run(scene), scene.memory
    at = run.next(0, "a fault that was resolved", lambda e: e["event"] == "fault_resolved")
    enter = run.last(at, "an EENTER", lambda e: e.get("leaf") == "EENTER")
    aex = run.last(at, "an AEX", lambda e: e["event"] == "aex")
    back = run.events[run.next(at, "an ERESUME", lambda e: e.get("leaf") == "ERESUME")]
    how = run.events[at]
    enters, shown, resumes, refused, decision = stages = (
        "EENTER",
        "A page that is not shown yet",
        "Nobody notices",
        "A page that the EPCM makes read-only",
        "The design",
    )
    steps = [
        _entering(scene, enter, enters),
        Step(
            shown,
            ENCLAVE,
            PROCESSOR,
            "AEX",
            "The first touch of a page: #PF, and so an AEX, by sgx/aex.py.",
            (_address("RIP", aex["rip"], memory.name(aex["rip"])),),
        ),
        Step(
            shown,
            PROCESSOR,
            KERNEL,
            "#PF",
            "The kernel can remove the cause: linux/fault.py:supply shows the page.",
            (_address("page", how["address"], memory.name(how["address"])), Value("how", how["how"])),
        ),
        Step(
            resumes,
            CODE,
            ENCLAVE,
            "ERESUME",
            "The thread goes on at the AEP, which is ENCLU with RAX = ERESUME.",
            (_address("RCX", back["rcx"], memory.name(back["rcx"])),),
        ),
        *(replace(step, stage=refused) for step in _faulting(run, run.first)),
        _deciding(scene, run.events[run.first], decision, KERNEL, CODE),
    ]
    lanes = ("enclave", "processor", "kernel", words.fourth_lane(scene.uses))
    return Picture(scene.design, lanes, stages, tuple(steps), {})


def second_runtime(scene: Scene) -> Picture:
    """What becomes of the same exception when another runtime is there, too."""
    run, uses = _Run(scene), scene.uses
    vdso = ("vDSO",) if words.fourth_lane(uses) == "vDSO" else ()
    lanes = ("enclave of A", "kernel", *vdso, "runtime A", "runtime B")
    a, b = len(lanes) - 2, len(lanes) - 1
    first = run.registrations(0, run.first)
    later = [] if run.of_thread else run.registrations(run.first, len(run.events))[:1]
    steps = [_registering(scene, event, FIRST, a, _KERNEL) for event in first[-1:]]
    steps += [_registering(scene, event, SECOND, b, _KERNEL) for event in later]
    absent = {FIRST: words.registering(uses), SECOND: "Nothing, again."}
    if run.of_thread:
        absent[SECOND] = "Nothing, until it enters an enclave of its own."
    if later and later[0]["event"] == "ioctl_refused":
        absent[AGAIN] = absent[GOES] = "It does not come to that."
        steps.append(Step(END, b, b, "refused", f"Runtime B cannot serve its host: {scene.says}.", tone=Tone.BAD))
        return Picture(scene.design, lanes, TWO, tuple(steps), absent, False, f"refused: {later[0]['errno']}")
    more, ends = _again(run, lanes, a, b)
    return Picture(scene.design, lanes, TWO, (*steps, *more), absent, more[-1].tone is Tone.GOOD, ends)


_KERNEL = 1
"""The lane in pictures of two runtimes, after the enclave."""


def _again(run: _Run, lanes: tuple[str, ...], a: int, b: int) -> tuple[list[Step], str]:
    """The second exception, and in a few words what came of it."""
    scene, at = run.scene, run.second
    exception = run.last(len(run.events), "the enclave's exception", lambda e: e["event"] == "enclave_exception")
    values = (
        Value("error code", f"{exception['error_code']:#x}"),
        _address("RIP", exception["rip"], scene.memory.name(exception["rip"])),
    )
    again = Step(AGAIN, 0, _KERNEL, _short(exception), "The same exception once more.", values)
    event = run.events[at]
    # Of signals, the trace does not tell whose the handler is: that of B, which called sigaction(2) last.
    owner = scene.memory.runtime(event["target"]) if event["event"] == "fixup" else "b"
    goes_to = {"a": a, "b": b}.get(owner, lanes.index("vDSO") if "vDSO" in lanes else b)
    decided = _deciding(scene, event, GOES, _KERNEL, goes_to)
    if any(told.host == "a" for told in scene.told[1:]):
        says = "The host of A is told, as before."
        if goes_to == b:
            says = "The handler of B passes on what is not its own, and the host of A is told."
        return [again, decided, Step(END, goes_to, a, "told", says, tone=Tone.GOOD)], "works: host A is told"
    exit = run.last(len(run.events), "an end", lambda e: e["event"] == "process_exit")
    name = signal.Signals(exit["signo"]).name if exit["signo"] else f"status {exit['status']}"
    says = f"It says: “{scene.says.partition(': ')[2] or scene.says}”. Host A is not told, and both runtimes are gone."
    end = Step(END, goes_to, goes_to, name, says, tone=Tone.BAD)
    return [again, replace(decided, tone=Tone.BAD), end], f"killed: {name}"


def _address(name: str, address: int, meaning: str) -> Value:
    return Value(name, f"{address:#x}", meaning, varies=True)


def _short(event: Happened) -> str:
    name = _vector(event["vector"])
    return f"{name} {event['error_code']:#x}" if event["vector"] == Vector.PF else name


def _vector(number: int) -> str:
    return f"#{Vector(number).name}"


def _error_code(event: Happened) -> str:
    if event["vector"] != Vector.PF:
        return ""
    return " | ".join(bit.name for bit in PFEC if bit & event["error_code"])
