"""The page in a real browser: light, dark, on a phone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from enclu.linux import delivery
from tests.support.browser import COLOURS, measured

PHONE, DESK = (390, 844), (1440, 900)
MEASURE = """
const texts = () => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.data.trim() || element.tagName === "SCRIPT" || style.visibility === "hidden") continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const r of range.getClientRects()) found.push({ element, style, r, text: node.data.trim() });
  }
  return found;
};
addEventListener("load", () => {
  const all = texts(), overlapping = [], outside = [], pale = [];
  all.forEach((a, i) => {
    const box = (a.element.closest(".column, pre") ?? document.body).getBoundingClientRect();
    if (a.r.left < box.left - 1 || a.r.right > box.right + 1 || a.r.bottom > box.bottom + 1) outside.push(a.text);
    const [one, other] = [luminance(a.style.color), luminance(behind(a.element))].sort((x, y) => y - x);
    if ((one + 0.05) / (other + 0.05) < 4.5) pale.push(a.text);
    for (const b of all.slice(i + 1)) {
      const wide = Math.min(a.r.right, b.r.right) - Math.max(a.r.left, b.r.left);
      const high = Math.min(a.r.bottom, b.r.bottom) - Math.max(a.r.top, b.r.top);
      if (wide > 1 && high > 4) overlapping.push([a.text, b.text]);  // lines are a little higher than their letters
    }
  });
  const hidden = [...document.querySelectorAll(".step[tabindex]")].filter((step) => {
    step.focus();
    const note = document.getElementById(step.getAttribute("aria-describedby"));
    const r = note.getBoundingClientRect();
    return getComputedStyle(note).visibility !== "visible" || r.left < 0 || r.right > innerWidth;
  });
  document.activeElement.blur();
  parent.postMessage({
    viewport: innerWidth, page: document.documentElement.scrollWidth, texts: all.length, overlapping, outside, pale,
    steps: document.querySelectorAll(".step[tabindex]").length, hidden: hidden.map((e) => e.textContent),
    paper: luminance(behind(document.body)),
    stages: [...document.querySelectorAll(".columns.two .column")].map(
      (c) => [...c.querySelectorAll(".stage")].map((s) => Math.round(s.getBoundingClientRect().top))),
  }, "*");
});
"""


def look(page: Path, scratch: Path, size: tuple[int, int], scheme: str) -> dict[str, Any]:
    return measured(page, COLOURS + MEASURE, scratch, *size, scheme=scheme)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_everything_can_be_read(page: Path, tmp_path: Path, size: tuple[int, int], scheme: str) -> None:
    found = look(page, tmp_path, size, scheme)
    assert found["viewport"] == found["page"] == size[0]  # no scrollbar
    assert found["texts"] > 500 and found["steps"] >= 6 * len(delivery.names())
    assert (found["overlapping"], found["outside"], found["pale"], found["hidden"]) == ([], [], [], [])
    assert (found["paper"] > 0.5) == (scheme == "light")


@pytest.mark.timeout(300)
def test_the_same_steps_are_side_by_side(page: Path, tmp_path: Path) -> None:
    v3, shipped = look(page, tmp_path, DESK, "light")["stages"]
    assert v3 == shipped and len(v3) == 5


@pytest.mark.timeout(300)
def test_on_a_phone_designs_are_below_each_other(page: Path, tmp_path: Path) -> None:
    v3, shipped = look(page, tmp_path, PHONE, "light")["stages"]
    assert max(v3) < min(shipped)


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<script|<link|<img|\bsrc=|url\(|@import|https?://", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-describedby="([^"]+)"', text)) <= set(ids)
