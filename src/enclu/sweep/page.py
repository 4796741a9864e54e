"""Verdicts as one page of HTML: a strip of the call's instructions, coloured by outcome, its functions under it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from enclu import __version__
from enclu.sweep import report
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.report import Where
from enclu.sweep.verdict import Verdict

HERE = Path(__file__).parent
WIDTH, COLOURED, NAMED = 1200, 28, 18
"""Of the strip: user units of SVG."""
LEAST_NAMED = 60
"""Functions that are narrower have their names as titles only."""


def render(verdicts: Sequence[Verdict], where: Where) -> str:
    """The page, of verdicts on the same call."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    parts = [(verdict, list(report.rows(verdict, where)), Markup(strip(verdict, where))) for verdict in verdicts]
    return environment.get_template("page.html").render(
        image=verdicts[0].image, call=verdicts[0].call, version=__version__, parts=parts,
        css=Markup((HERE / "page.css").read_text()), described=lambda v: Behaviour.parse(v.behaviour).described,
        partial=report.partial,
    )  # fmt: skip


def strip(verdict: Verdict, where: Where) -> str:
    """The SVG."""
    unit = WIDTH / max(1, len(verdict.rips))
    shapes = [
        f'<rect class="{r.outcome.kind.replace(" ", "-")}" x="{r.first * unit:.2f}" y="0" '
        f'width="{max(0.4, (r.last + 1 - r.first) * unit):.2f}" height="{COLOURED}">'
        f"<title>{r.first}-{r.last}: {escape(str(r.outcome))}</title></rect>"
        for r in verdict.ranges
    ]
    for start, end, name in _functions(verdict.rips, report.function_of(where)):
        x, width = start * unit, (end - start) * unit
        label = f'<text x="{x + 3:.1f}" y="{COLOURED + 18}">{escape(_fitting(name, width))}</text>'
        shapes.append(
            f'<g><rect class="function" x="{x:.2f}" y="{COLOURED + 5}" width="{width:.2f}" height="{NAMED}">'
            f"<title>{escape(name)}: {start}-{end - 1}</title></rect>{label if width >= LEAST_NAMED else ''}</g>"
        )
    height = COLOURED + NAMED + 8
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="outcomes by instruction">{"".join(shapes)}</svg>'
    )


def _fitting(name: str, width: float) -> str:
    room = int(width / 6.2) - 1
    return name if len(name) <= room else name[: max(1, room - 1)] + "…"


def _functions(rips: Sequence[int], name_of: Where) -> Iterator[tuple[int, int, str]]:
    """[start, end) of the instructions that follow each other in one function, and its name."""
    start, known = 0, {rip: name_of(rip) for rip in set(rips)}
    for at in range(1, len(rips) + 1):
        if at == len(rips) or known[rips[at]] != known[rips[start]]:
            yield start, at, known[rips[start]]
            start = at
