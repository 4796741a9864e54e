"""The pictures of the documents, `make pictures`: sequences from traces, and what the designs cost.

    python -m enclu.explain.pictures FOLDER

Sequences are the same each time, as numbers that differ from run to run are left out.  Costs are measured anew; a
figure that is still about the same stays, so that pictures change when something has changed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from enclu.compare import CompareError, experiment
from enclu.compare.cost import YARDSTICK
from enclu.explain import drawing, scene, story
from enclu.linux import delivery

TITLES = {
    "vdso": "vdso: what Linux 5.11 shipped",
    "mm-handler": "mm-handler: v3 of the thread",
}
TWO = ("mm-handler", "vdso")
"""Whose second runtime the verdict shows."""
FAULTS = "vdso"
SAME = 1.25
"""A figure that has not grown or shrunk by more is the same: machines are busy."""
Figures = dict[str, dict[str, float]]
"""By what is measured, and design."""
ENTRY, EXCEPTION, KERNEL, USER = (
    "An ECALL that does nothing, times that under signal", "An exception and its delivery, times that under signal",
    "Kernel side, lines", "User side, lines",
)  # fmt: skip
TIMES = (ENTRY, EXCEPTION)
MEASUREMENTS = 5
SUBTITLE = "Times under enclu, where an ioctl stops its thread, as enclu compare --cost measures them"
SCENARIO = "one-runtime"
"""One that every design can do: what costs are measured beside."""


def draw(folder: Path, jobs: int) -> None:
    """Write all pictures.  Raises CompareError, OSError."""
    for name, text in sequences(jobs).items():
        (folder / name).write_text(text)
    figures = folder / "costs.json"
    before: Figures = json.loads(figures.read_text()) if figures.exists() else {}
    now = settled(before, measure(jobs))
    figures.write_text(json.dumps(now, indent=1) + "\n")
    (folder / "costs.svg").write_text(costs(now))


def sequences(jobs: int) -> dict[str, str]:
    """By file name."""
    out = {}
    for run in scene.trace(delivery.names(), jobs):
        title = TITLES.get(run.design, run.design)
        out[f"{run.design}.svg"] = drawing.sequence(
            story.one_exception(run), title, "An exception's way out of an enclave"
        )
        if run.design in TWO:
            second = story.second_runtime(run)
            out[f"two-runtimes-{run.design}.svg"] = drawing.sequence(
                second, title, f"A second runtime comes into the process: {second.ends}"
            )
        if run.design == FAULTS:
            out["page-faults.svg"] = drawing.sequence(
                story.page_faults(run),
                "Two page faults",
                "One that the kernel resolves, and one that goes to the program",
            )
    return out


def measure(jobs: int) -> Figures:
    """What `enclu compare --cost` finds; of several times the best, as others use the machine, too."""
    found = [experiment.run((SCENARIO,), tuple(delivery.names()), jobs, 1, True) for _ in range(MEASUREMENTS)]
    figures: Figures = {KERNEL: {}, USER: {}}
    for design in found[0].designs:
        figures[KERNEL][design.name] = sum(design.kernel_lines.values())
        figures[USER][design.name] = sum(design.user_lines.values())
    costs = {
        name: [d.cost for results in found for d in results.designs if d.name == name and d.cost]
        for name in figures[USER]
    }
    entry = {name: min(cost.entry for cost in of) for name, of in costs.items()}
    exception = {name: min(cost.exception for cost in of) for name, of in costs.items()}
    return {ENTRY: _ratios(entry), EXCEPTION: _ratios(exception), **figures}


def _ratios(times: dict[str, float]) -> dict[str, float]:
    return {name: round(time / times[YARDSTICK], 2) for name, time in times.items()}


def settled(before: Figures, now: Figures) -> Figures:
    """What was measured now; of times that are about the same, what was measured before."""

    def settle(what: str, design: str, value: float) -> float:
        old = before.get(what, {}).get(design)
        timed = what in TIMES
        return old if timed and old and value and max(old / value, value / old) <= SAME else value

    return {what: {d: settle(what, d, value) for d, value in values.items()} for what, values in now.items()}


def costs(figures: Figures) -> str:
    """The plot."""
    groups = {what: drawing.scaled(of, "{:.2f}" if what in TIMES else "{:.0f}") for what, of in figures.items()}
    return drawing.bars("What the designs cost", SUBTITLE, groups)


def main() -> int:
    try:
        draw(Path(sys.argv[1]), os.cpu_count() or 1)
    except (CompareError, OSError) as error:
        print(f"enclu: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
