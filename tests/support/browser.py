"""A headless Chromium: what it makes of a page, and how a page looks to it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--enable-logging=stderr",
)  # fmt: skip
SCHEMES = {"dark": 0, "light": 1}
"""Of prefers-color-scheme, as Chromium's settings number them."""
# A window is never as narrow as a phone's, a frame in it is.
FRAME = """<!DOCTYPE html><script>
addEventListener("message", (m) => document.documentElement.dataset.measured = JSON.stringify(m.data));
</script><iframe src="{url}" width="{width}" height="{height}" style="border: 0"></iframe>"""
COLOURS = """
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[0-9.]+/g).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (colour !== "rgba(0, 0, 0, 0)") return colour;
  }
  return "rgb(255, 255, 255)";
};
"""
"""For scripts that judge contrast: a colour's relative luminance (WCAG 2), and the colour behind an element."""


def browse(url: str, *options: str, profile: Path) -> str:
    """What Chromium prints.  It must find nothing to complain of in the page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("chromium is missing (apt-get install chromium)", pytrace=False)
    command = [chromium, *CHROMIUM, f"--user-data-dir={profile}", *options, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def measured(
    page: Path, script: str, scratch: Path, width: int, height: int, fragment: str = "", scheme: str = "light"
) -> dict[str, Any]:
    """What `script`, which posts a message to its parent, finds out in a copy of the page in a frame of this size."""
    copy, frame = scratch / "copy.html", scratch / "frame.html"
    copy.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    frame.write_text(FRAME.format(url=copy.as_uri() + fragment, width=width, height=height))
    dom = browse(
        frame.as_uri(), "--dump-dom", "--virtual-time-budget=5000", f"--window-size={width},{height}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", profile=scratch / "profile",
    )  # fmt: skip
    found = re.search(r'data-measured="([^"]*)"', dom)
    assert found, dom[:2000]
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result
