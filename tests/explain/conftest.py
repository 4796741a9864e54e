"""`enclu explain` as its users run it, with what `enclu compare` builds for its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compare.conftest import ROOT
from tests.compare.conftest import cache as cache

Explain = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def explain(cache: Path) -> Explain:
    def run(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "enclu.cli.main", "explain", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=600)

    return run


@pytest.fixture(scope="session")
def page(explain: Explain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all designs."""
    path = tmp_path_factory.mktemp("explain") / "page.html"
    done = explain("-o", path)
    assert done.returncode == 0, done.stderr
    return path
