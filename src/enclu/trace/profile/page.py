"""A profile as one page of HTML, which needs nothing else and is readable on a phone."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from enclu import __version__
from enclu.base import console
from enclu.trace.profile import report
from enclu.trace.profile.advice import advise
from enclu.trace.profile.measure import Profile

HERE = Path(__file__).parent


def render(profile: Profile) -> str:
    """The page."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    calls = report.by_transitions(profile)
    most = max((stats.transitions for _, stats in calls), default=0)
    return environment.get_template("page.html").render(
        profile=profile, version=__version__, css=Markup((HERE / "page.css").read_text()), report=report,
        command=console.printable(" ".join(profile.command)), advice=advise(profile),
        calls=[(report.row(profile, key, stats), stats.transitions / most if most else 0) for key, stats in calls],
        edges=report.edges(profile), aexs=report.aexs(profile), printable=console.printable,
    )  # fmt: skip
