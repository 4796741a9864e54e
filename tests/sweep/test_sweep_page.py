"""The page of a sweep in a real browser: light, dark, on a phone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from enclu.sweep import page, report
from enclu.sweep.outcome import Kind, Outcome
from enclu.sweep.verdict import Verdict
from tests.explain.test_page import DESK, PHONE
from tests.support.browser import COLOURS, measured
from tests.support.runs import enclu
from tests.sweep.watched import watch_image as watch_image

MEASURE = """
addEventListener("load", () => {
  const pale = [], outside = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement, svg = element.closest("svg");
    if (!node.data.trim() || ["SCRIPT", "title"].includes(element.tagName)) continue;
    texts++;
    const style = getComputedStyle(element), paper = svg ? svg.querySelector(".function") : null;
    const colours = svg ? [style.fill, getComputedStyle(paper).fill] : [style.color, behind(element)];
    const [one, other] = colours.map(luminance).sort((x, y) => y - x);
    if ((one + 0.05) / (other + 0.05) < 4.5) pale.push(node.data.trim());
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = (element.closest(".strip, .scroll") ?? document.body).getBoundingClientRect();
    for (const r of range.getClientRects()) {
      const inside = element.closest(".strip, .scroll") ? r.top >= box.top - 1 && r.bottom <= box.bottom + 1
        : r.left >= box.left - 1 && r.right <= box.right + 1;
      if (!inside) outside.push(node.data.trim());
    }
  }
  const strips = [...document.querySelectorAll("svg")].map((svg) => {
    const shapes = [...svg.querySelectorAll(":scope > rect")];
    return { width: svg.getBoundingClientRect().width, shapes: shapes.map((r) => [
      r.getAttribute("class"), getComputedStyle(r).fill, r.getBoundingClientRect().width]) };
  });
  const swatches = Object.fromEntries([...document.querySelectorAll(".figures i")].map(
    (i) => [i.className.replace("swatch ", ""), getComputedStyle(i).backgroundColor]));
  parent.postMessage({
    viewport: innerWidth, page: document.documentElement.scrollWidth, texts, pale, outside, strips, swatches,
    paper: luminance(behind(document.body)),
  }, "*");
});
"""


@pytest.fixture(scope="module")
def swept(watch_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the command writes it: two behaviours of a small call."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    hosts = "--host", "int:write=0+0=01,resume", "--host", "ud:handle,resume"
    done = enclu("sweep", watch_image, "0(b'\\0' * 8)", *hosts, "--where", "0:120", "--html", path)
    assert done.returncode == 1, done.stderr
    return path


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kinds of outcome, long names, and a call that is not deterministic."""
    points = {n: Outcome(list(Kind)[n // 50], "what there is to say about it " * 3) for n in range(400)}
    verdict = Verdict(
        "/a/very/long/path/" + "x" * 200 + ".signed.so", "ecall_" + "y" * 120, "pf:handle,resume", True,
        [0x1000 + n // 25 for n in range(1000)], "result 0x0, 3 OCALLs", "shared memory 0+0", 1, False, "all", 500,
        points,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "all.html"
    path.write_text(page.render([verdict], lambda rip: f"function_{'z' * 60}_{rip}+0x3 (file.c:{rip})"))
    return path


def look(path: Path, scratch: Path, size: tuple[int, int], scheme: str) -> dict[str, Any]:
    return measured(path, COLOURS + MEASURE, scratch, *size, scheme=scheme)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_everything_can_be_read(every_kind: Path, tmp_path: Path, size: tuple[int, int], scheme: str) -> None:
    found = look(every_kind, tmp_path, size, scheme)
    assert found["viewport"] == found["page"] == size[0]  # nothing is wider
    assert found["texts"] > 30 and (found["pale"], found["outside"]) == ([], [])
    assert (found["paper"] > 0.5) == (scheme == "light")
    assert len(set(found["swatches"].values())) == len(Kind)


@pytest.mark.timeout(300)
def test_the_strip_is_coloured_by_outcome(swept: Path, tmp_path: Path) -> None:
    found = look(swept, tmp_path, DESK, "light")
    assert found["pale"] == found["outside"] == [] and found["page"] == DESK[0]
    assert len(found["strips"]) == 2
    crash, *rest = found["strips"][0]["shapes"]
    assert crash[0] == "crash" and crash[1] == found["swatches"]["crash"]
    assert [kind for kind, _, _ in rest] == ["same"] and crash[2] > 0.4 * found["strips"][0]["width"]


def test_functions_are_under_it(swept: Path) -> None:
    text = swept.read_text()
    assert re.search(r'<rect class="function"[^>]*><title>enclave_main: \d+-\d+</title>', text)
    assert "Host-causable" in text and "Forged" in text


def test_the_page_needs_nothing_else(swept: Path) -> None:
    assert not re.search(r"<script|<link|<img|\bsrc=|url\(|@import|https?://", swept.read_text())


def test_names_are_no_markup(tmp_path: Path) -> None:
    outcome = Outcome(Kind.DIFFERENT, "<b>")
    verdict = Verdict("<i>.so", "f('<u>')", "int:resume", True, [1], "result '<s>'", wanted=1, points={0: outcome})
    text = page.render([verdict], lambda rip: "<q>")
    assert not re.search(r"<(b|i|u|s|q)>(?!\d)", text.split("</style>")[1].replace("<b>Host", "")), text
    assert report.function_of(lambda rip: "f+0x1")(1) == "f"
