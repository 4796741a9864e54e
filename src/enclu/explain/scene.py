"""Traces of the program that the pictures show: scenarios/explain, under the designs that are asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enclu.base import directories
from enclu.compare import CompareError, catalog
from enclu.compare.build import Builder
from enclu.compare.catalog import Enclave, Scenario
from enclu.compare.runner import enclu
from enclu.explain.places import Memory
from enclu.linux import delivery
from enclu.linux.delivery.base import Delivery
from enclu.linux.vdso import image

NAME = "explain"
TIMEOUT = 120
"""Seconds."""
Happened = dict[str, Any]
"""An event of the trace: docs/trace.md."""


@dataclass(frozen=True)
class Told:
    """What a host was told of an exception."""

    host: str
    leaf: int
    vector: int
    error_code: int
    address: int


@dataclass(frozen=True)
class Scene:
    """One run."""

    design: str
    """With or without a setting."""
    command: str
    events: list[Happened]
    told: list[Told]
    memory: Memory
    says: str
    """The program's last words."""

    @property
    def uses(self) -> type[Delivery]:
        """How programs use the design."""
        return delivery.design(self.design.partition(":")[0])


def trace(designs: list[str], jobs: int) -> list[Scene]:
    """Build the program, and run it under these designs.  Raises CompareError."""
    root = catalog.find_root()
    enclave = Enclave("protected", (root / "enclaves" / "basic.c",), heap_pages=1)
    program = Scenario(NAME, root / NAME, NAME, NAME, (), (root / NAME / "main.c",), enclaves=(enclave,))
    known = catalog.read(root)
    needed = {design.partition(":")[0] for design in designs}
    builder = Builder(replace(known, runtimes={d: r for d, r in known.runtimes.items() if d in needed}))
    builder.build([program], jobs)
    return [_run(builder.program(program), design) for design in designs]


def _run(program: Path, design: str) -> Scene:
    try:
        scratch = directories.temporary("enclu-explain-")
    except directories.NoTemporary as error:
        raise CompareError(str(error.strerror)) from None
    with scratch as directory:
        log = Path(directory, "trace")
        words = ("trace", "--quiet", "--delivery", design, "--format", "json")
        _, stdout, stderr = enclu((*words, "-o", str(log), str(program)), TIMEOUT)
        lines = log.read_text().splitlines()
    events = [json.loads(line) for line in lines[1:]]
    if not any(event["event"] == "process_exit" for event in events):
        raise CompareError(f"{program} did not come to an end under {design}: {stderr.strip() or stdout.strip()}")
    said = [line.split(" ", 1) for line in stdout.splitlines()]
    by_word: dict[str, list[str]] = {}
    for word, *rest in said:
        by_word.setdefault(word, []).extend(rest)
    memory = _memory(by_word, design, program)
    for event in events:
        if event["event"] == "enclave_created":
            memory.add_enclave(event["base"], event["size"])
    words_of_program = [*by_word.get("outcome:", ()), *stderr.splitlines()]
    told = [_told(line) for line in by_word.get("told", ())]
    command = f"enclu trace --delivery {design} {program}".replace(f"{Path.home()}/", "~/")
    return Scene(design, command, events, told, memory, words_of_program[-1] if words_of_program else "")


def _memory(said: dict[str, list[str]], design: str, program: Path) -> Memory:
    try:
        base = int(said["vdso"][0], 16)
    except (KeyError, ValueError):
        raise CompareError(f"{program} has not told of its memory under {design}") from None
    vdso = image.load(delivery.design(design.partition(":")[0]).vdso)
    return Memory(said.get("map", []), vdso, base, program.with_name("protected.elf"))


def _told(line: str) -> Told:
    host, *numbers = line.split()
    return Told(host, *(int(number, 0) for number in numbers))
