"""The page, in a real browser of a phone's width."""

from __future__ import annotations

import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from enclu.compare import page as pages
from enclu.compare.catalog import Scenario
from enclu.compare.results import Design, Results
from enclu.compare.runner import Cell, Ended, Outcome, Task
from enclu.linux import delivery
from tests.compare.conftest import Compare
from tests.support.browser import browse, measured

WIDTH, HEIGHT = 360, 800
MEASURE = """
addEventListener("load", () => {
  const cells = [...document.querySelectorAll(".matrix td a")].map((a) => a.getBoundingClientRect());
  parent.postMessage({
    viewport: innerWidth,
    page: document.documentElement.scrollWidth,
    scrolled: [...document.querySelectorAll(".scroll")].map((e) => e.scrollWidth - e.clientWidth),
    text: parseFloat(getComputedStyle(document.body).fontSize),
    cells: cells.length,
    smallest: Math.min(...cells.map((c) => Math.min(c.width, c.height))),
    right: Math.max(...cells.map((c) => c.right)),
    open: [...document.querySelectorAll("details[open]")].map((d) => d.id),
    mark: getComputedStyle(document.querySelector(".mark")).display,
  }, "*");
});
"""


@pytest.fixture(scope="module")
def page(compare: Compare, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenarios under every design."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    done = compare("--scenario", "two-runtimes", "--scenario", "registers", "--html", str(path))
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.timeout(300)
def test_the_page_fits_a_phone(page: Path, tmp_path: Path) -> None:
    layout = measured(page, MEASURE, tmp_path, WIDTH, HEIGHT)
    assert layout["viewport"] == layout["page"] == WIDTH
    assert layout["right"] <= WIDTH and not any(layout["scrolled"])  # nothing is cut off or must be scrolled to
    assert layout["text"] >= 16 and layout["smallest"] >= 28
    assert layout["cells"] == 2 * len(delivery.names()) and layout["mark"] != "none"
    assert layout["open"] == []


@pytest.mark.timeout(300)
def test_a_cell_leads_to_what_was_observed(page: Path, tmp_path: Path) -> None:
    links = re.findall(r'<td><a class="killed" href="(#[^"]+)"', page.read_text())
    assert links == ["#two-runtimes--mm-handler"]
    assert measured(page, MEASURE, tmp_path, WIDTH, HEIGHT, links[0])["open"] == ["two-runtimes--mm-handler"]


@pytest.mark.timeout(300)
def test_the_page_can_be_photographed(page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    browse(page.as_uri(), f"--screenshot={picture}", f"--window-size={WIDTH},{HEIGHT}", profile=tmp_path / "profile")
    data = picture.read_bytes()
    assert struct.unpack(">II", data[16:24]) == (WIDTH, HEIGHT)
    assert len(set(pixels(data))) > 32  # not one colour


def pixels(png: bytes) -> bytes:
    """The filtered image data."""
    at, parts = 8, []
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        if png[at + 4 : at + 8] == b"IDAT":
            parts.append(png[at + 8 : at + 8 + length])
        at += length + 12
    return zlib.decompress(b"".join(parts))


class Elements(HTMLParser):
    """Identifiers, links and anything that a browser would fetch; and whether elements nest."""

    VOID = ("meta", "link", "img", "br", "input")

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in ("src", "href", "srcset", "data", "poster", "action"):
                self.fetched.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    elements = Elements()
    elements.feed(text)
    assert elements.open == [] and elements.fetched == []
    assert not re.search(r"url\(|@import|https?://", text)
    assert len(elements.ids) == len(set(elements.ids))
    assert {link.removeprefix("#") for link in elements.links} <= set(elements.ids)


def test_what_programs_print_cannot_become_markup(page: Path) -> None:
    text = page.read_text()
    assert "a C caller&#39;s general registers" in text and "a C caller's general registers" not in text


def test_cells_with_settings_are_in_their_scenario(page: Path) -> None:
    assert 'id="two-runtimes--mm-handler-write-once"' in page.read_text()


class Tags(HTMLParser):
    """Every tag that is opened, with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_what_a_program_prints_is_text() -> None:
    """Whatever it is, and wherever it stands in the page."""
    hostile = """<b id='x' title="y">&amp;</b>"""
    scenario = Scenario(hostile, Path(hostile), hostile, hostile, (), ())
    cell = Cell(Task(scenario, hostile, Path(hostile)), (Ended(Outcome.WRONG, hostile, hostile),))
    page = pages.render(Results([scenario], [Design(hostile, (hostile,), {}, {}, None)], [cell], 1))
    tags = Tags()
    tags.feed(page)
    assert ("b", {"id": "x", "title": "y"}) not in tags.seen
    assert [attributes["title"] for tag, attributes in tags.seen if tag == "a" and "title" in attributes] == [hostile]
    assert hostile not in page
