"""What is released, built from the checkout and installed as users do, away from it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def build(source: Path, target: str, directory: Path, umask: int = -1, env: Mapping[str, str] | None = None) -> Path:
    """The sdist or wheel of the sources, made under this umask and in this environment, or in the tests' own."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, umask=umask, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = directory.iterdir()
    return made


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheels(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two, from the sdist alone: unpacked elsewhere, by users with other habits."""
    made = []
    for umask, environment in (
        (0o022, {"LC_ALL": "C.UTF-8", "TZ": "UTC"}),
        (0o077, {"LC_ALL": "C", "TZ": "Asia/Tokyo"}),
    ):
        scratch = tmp_path_factory.mktemp("wheel")
        temporary = scratch / "temporary"
        temporary.mkdir()
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        (source,) = scratch.glob("enclu-*")
        for file in source.rglob("*.[cS]"):
            os.utime(file)
        environment = {**os.environ, **environment, "TMPDIR": str(temporary)}
        made.append(build(source, "wheel", scratch / "dist", umask=umask, env=environment))
    return made


@pytest.fixture(scope="session")
def wheel(wheels: list[Path]) -> Path:
    return wheels[0]


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what it depends on is borrowed from the tests' own."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "-q"]
    done = subprocess.run([*pip, "--no-deps", "--no-index", wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Its .pth files, one of which leads to the checkout, are not looked at there.
    (packages,) = place.glob("lib/python3*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place
