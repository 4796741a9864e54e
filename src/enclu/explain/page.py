"""The page: one file of HTML, without scripts, that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from enclu import __version__
from enclu.explain import story, words
from enclu.explain.picture import Picture
from enclu.explain.scene import Scene
from enclu.explain.words import InShort

QUESTION = ("mm-handler", "vdso")
"""The thread's third version, and what Linux shipped."""
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Design:
    """A design on the page."""

    name: str
    short: InShort
    one: Picture
    second: Picture
    command: str

    @property
    def id(self) -> str:
        return self.name.replace(":", "-")


def environment() -> Environment:
    """Templates of this folder, in which everything that is not markup is text."""
    made = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters["breakable"] = lambda text: escape(text).replace("_", Markup("_<wbr>"))
    return made


def render(scenes: list[Scene]) -> str:
    """The page."""
    designs = [
        Design(s.design, words.in_short(s.design, s.uses), story.one_exception(s), story.second_runtime(s), s.command)
        for s in scenes
    ]
    by_name = {design.name: design for design in designs}
    asked = [by_name[name] for name in QUESTION] if by_name.keys() >= set(QUESTION) else []
    others = [design for design in designs if design not in asked]
    return environment().get_template("page.html").render(
        designs=[*asked, *others], asked=asked, others=others, version=__version__,
        css=Markup((HERE / "page.css").read_text()),
    )  # fmt: skip
