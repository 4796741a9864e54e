"""Pictures as SVG, for documents: a sequence as people know it, and bars.

Text is broken into lines by what it may take in any font: an image has no other way.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from enclu.explain.picture import Picture, Step

HERE = Path(__file__).parent
LEFT, GAP, TEXT, WIDTH = 64, 96, 0.6, 960
"""The first lane; from lane to lane; of a character, by the size of the font, at most; all."""
SIZE, LINE = 13, 18
TOP, BOTTOM, BEFORE, AFTER = 78, 16, 10, 16


@dataclass(frozen=True)
class Line:
    """Of text."""

    y: int
    kind: str
    """Class in the style sheet."""
    text: str


@dataclass(frozen=True)
class Row:
    """A step, or a stage that has none."""

    y: int
    """Of the arrow."""
    top: int
    lines: list[Line]
    step: Step | None


def sequence(picture: Picture, title: str, subtitle: str) -> str:
    """One design's picture.  Numbers that differ from run to run are left out."""
    text_left = LEFT + GAP * (len(picture.lanes) - 1) + 64
    rows, y = [], TOP + 12
    for stage in picture.stages:
        steps: list[Step | None] = [*picture.at(stage)]
        for step in steps or [None]:
            lines = _lines(step, picture.absent.get(stage, ""), stage, y + BEFORE, WIDTH - text_left - 16)
            rows.append(Row(y + BEFORE + 20, y, lines, step))
            y = max(lines[-1].y, y + BEFORE + 20) + AFTER
    return _environment().get_template("sequence.svg").render(
        picture=picture, title=title, subtitle=subtitle, rows=rows, height=y + BOTTOM, bottom=y, width=WIDTH, top=TOP,
        lanes=[(LEFT + GAP * i, name) for i, name in enumerate(picture.lanes)], text_left=text_left,
    )  # fmt: skip


def _lines(step: Step | None, absent: str, stage: str, y: int, width: int) -> list[Line]:
    y += SIZE
    lines = [Line(y, "stage", stage)]
    for text in _wrapped(step.says if step else absent, width):
        y += LINE
        lines.append(Line(y, "says" if step else "absent", text))
    for text in _packed([str(value) for value in step.values] if step else [], width):
        y += LINE
        lines.append(Line(y, "values", text))
    return lines


def _packed(items: list[str], width: int) -> list[str]:
    """Lines of whole items, as many as fit."""
    lines: list[str] = []
    for item in items:
        together = f"{lines[-1]} · {item}" if lines else item
        if lines and len(together) <= _columns(width):
            lines[-1] = together
        else:
            lines.append(item)
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, _columns(width), break_long_words=False, break_on_hyphens=False)


def _columns(width: int) -> int:
    return int(width / (SIZE * TEXT))


@dataclass(frozen=True)
class Bar:
    """A number of a design's."""

    label: str
    number: str
    length: float
    """Of what there is room for."""
    broken: bool = False
    """Too long to be shown as it is."""


FAR = 5
"""Times the next one: a bar that is longer is broken."""


def scaled(numbers: dict[str, float], form: str) -> list[Bar]:
    """Bars for numbers, with one scale."""
    first, second = sorted((*numbers.values(), 0.0), reverse=True)[:2]
    most = second * 1.5 if 0 < second < first / FAR else first
    return [Bar(name, form.format(n), min(n / most, 1.0), n > most) for name, n in numbers.items()]


def bars(title: str, subtitle: str, groups: dict[str, list[Bar]]) -> str:
    """Groups of horizontal bars, by their headings; each group has its own scale."""
    return _environment().get_template("bars.svg").render(title=title, subtitle=subtitle, groups=groups)


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals["colours"] = (HERE / "svg.css").read_text()
    return made
