"""The results as one page of HTML, which needs nothing else and is readable on a phone."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from enclu import __version__
from enclu.compare.results import Results
from enclu.compare.runner import Cell, Outcome

MARKS = {Outcome.WORKS: "✓", Outcome.WRONG: "≠", Outcome.REFUSED: "⊘", Outcome.KILLED: "†"}
MEANINGS = {
    Outcome.WORKS: "all that was observed is as it should be",
    Outcome.WRONG: "something is not",
    Outcome.REFUSED: "an error number said no",
    Outcome.KILLED: "a signal ended the program",
}
HERE = Path(__file__).parent


def render(results: Results) -> str:
    """The page."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(
        results=results, version=__version__, marks=MARKS, meanings=MEANINGS, anchor=anchor,
        css=Markup((HERE / "page.css").read_text()), js=Markup((HERE / "page.js").read_text()),
    )  # fmt: skip


def anchor(cell: Cell) -> str:
    """The fragment that leads to a cell; documents link to it."""
    return f"{cell.task.scenario.name}--{cell.task.design.replace(':', '-')}"
