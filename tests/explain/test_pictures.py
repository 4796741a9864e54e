"""The pictures of the documents are those that are drawn today, and can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from enclu.explain import pictures
from enclu.explain.pictures import Figures
from enclu.linux import delivery
from tests.compare.conftest import ROOT
from tests.support.browser import measured

DOCS = ROOT / "docs"
FOLDER = DOCS / "pictures"
MEASURE = """
addEventListener("load", () => {
  const problems = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const svg = frame.contentDocument.querySelector("svg"), all = [...svg.querySelectorAll("text")];
    const whole = svg.getBoundingClientRect(), boxes = all.map((t) => t.getBoundingClientRect());
    boxes.forEach((a, i) => {
      const fits = a.left >= whole.left + 8 && a.right <= whole.right - 8 && a.bottom <= whole.bottom;
      if (!fits) problems.push(all[i].textContent);
      boxes.slice(i + 1).forEach((b, j) => {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 0 && high > 3) problems.push([all[i].textContent, all[i + 1 + j].textContent]);
      });
    });
  }
  parent.postMessage({ problems, frames: document.querySelectorAll("iframe").length }, "*");
});
"""


def shape(svg: str) -> str:
    """Without what another compiler makes another: offsets in code, and lines of sources."""
    return re.sub(r"\+0x[0-9a-f]+|(?<=:)\d+(?=\))", "", svg)


@pytest.fixture(scope="module")
def drawn(cache: Path) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        return pictures.sequences(2)


def test_sequences_are_those_of_today(drawn: dict[str, str]) -> None:
    for name, text in drawn.items():
        assert shape((FOLDER / name).read_text()) == shape(text), f"{name} is not up to date: make pictures"


def test_numbers_of_one_run_are_not_in_them(drawn: dict[str, str]) -> None:
    assert not [text for text in drawn.values() if re.search(r"0x[0-9a-f]{6,}", text)]


def test_the_plot_is_that_of_the_figures() -> None:
    figures = json.loads((FOLDER / "costs.json").read_text())
    assert (FOLDER / "costs.svg").read_text() == pictures.costs(figures), "make pictures"
    assert [list(of) for of in figures.values()] == [delivery.names()] * 4


def test_a_figure_changes_only_when_it_is_another() -> None:
    before: Figures = {pictures.ENTRY: {"vdso": 1.0, "signal": 1.0}, pictures.KERNEL: {"vdso": 100}}
    now: Figures = {pictures.ENTRY: {"vdso": 1.2, "signal": 3.0, "new": 2.0}, pictures.KERNEL: {"vdso": 101}}
    assert pictures.settled(before, now) == {
        pictures.ENTRY: {"vdso": 1.0, "signal": 3.0, "new": 2.0}, pictures.KERNEL: {"vdso": 101},
    }  # fmt: skip


def test_every_picture_is_in_a_document() -> None:
    image = r"!\[[^\]]+\]\((?:\.\./)?pictures/([\w-]+\.svg)\)"
    linked = {name for page in DOCS.rglob("*.md") for name in re.findall(image, page.read_text())}
    assert linked == {path.name for path in FOLDER.glob("*.svg")}
    assert all(f"pictures/{name}.svg" in (DOCS / "designs" / f"{name}.md").read_text() for name in delivery.names())


@pytest.mark.timeout(300)
def test_their_text_has_room(tmp_path: Path) -> None:
    page, names = tmp_path / "page.html", sorted(FOLDER.glob("*.svg"))
    frames = (f"<iframe width='1000' height='900' srcdoc=\"{_quoted(name.read_text())}\"></iframe>" for name in names)
    page.write_text(f"<!DOCTYPE html><body>{''.join(frames)}</body>")
    assert measured(page, MEASURE, tmp_path, 1100, 900) == {"problems": [], "frames": len(names)}


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;")
