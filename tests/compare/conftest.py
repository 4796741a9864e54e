"""`enclu compare` as its users run it; what it builds is kept between sessions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Compare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """XDG_CACHE_HOME."""
    kept = getattr(request.config, "cache", None)
    return Path(kept.mkdir("compare")) if kept is not None else tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="session")
def compare(cache: Path) -> Compare:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "XDG_CACHE_HOME": str(cache), **environment}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "enclu.cli.main", "compare", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)

    return run
