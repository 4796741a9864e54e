"""The user's directories: which they are, and files that appear there whole or not at all."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from enclu.base import directories, files
from tests.support import hostile
from tests.support.runs import environment, without_privileges

CREATE = (
    "import pathlib, sys; from enclu.base import directories\n"
    "try: getattr(directories, sys.argv[1])(pathlib.Path(sys.argv[2]), bytes(1 << 20))\n"
    "except OSError as error: print(error.strerror)"
)


@pytest.mark.parametrize("given", ["relative/path", "", ".", "~/cache"])
@pytest.mark.parametrize(("variable", "which", "default"), [
    ("XDG_CACHE_HOME", directories.cache, ".cache/enclu"), ("XDG_STATE_HOME", directories.state, ".local/state/enclu"),
])  # fmt: skip
def test_what_is_not_absolute_is_ignored(
    variable: str, which: object, default: str, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, given)
    assert callable(which) and which() == tmp_path / default
    monkeypatch.setenv(variable, str(tmp_path / "own"))
    assert which() == tmp_path / "own" / "enclu"


@pytest.mark.parametrize("home", ["relative", "", None])
def test_a_home_that_is_not_absolute_is_ignored(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: type("Entry", (), {"pw_dir": "/of/the/database"}))
    assert directories.cache() == Path("/of/the/database/.cache/enclu")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(directories.NoHome, match="set HOME or XDG_CACHE_HOME"):
        directories.cache()


def test_directories_are_made_for_the_user_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        directories.create(tmp_path / "a" / "b" / "file", b"content")
    finally:
        os.umask(old)
    assert [oct(p.stat().st_mode & 0o777) for p in (tmp_path / "a", tmp_path / "a" / "b")] == ["0o700"] * 2
    assert files.read_own(tmp_path / "a" / "b" / "file", 7) == b"content"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", hostile.NOBODY, hostile.NOBODY)
    with pytest.raises(files.Refused, match=f"belongs to another user, {hostile.NOBODY}"):
        directories.create(tmp_path / "theirs" / "file", b"content")
    assert not list((tmp_path / "theirs").iterdir())


@pytest.mark.parametrize("kind", [kind for kind in hostile.KINDS if kind != "directory"])
def test_whatever_was_there_is_replaced(kind: str, tmp_path: Path) -> None:
    hostile.put(tmp_path / "file", kind)
    directories.replace(tmp_path / "file", b"content")
    assert files.read_own(tmp_path / "file", 7) == b"content"


def test_a_directory_is_not_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    hostile.put(tmp_path / "file", "directory")
    with pytest.raises(OSError):
        directories.replace(tmp_path / "file", b"content")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def creation(how: str, path: Path, *command: str, limit: int | None = None) -> str:
    """What a process that creates a file of 1 MiB says, without root's powers."""

    def before() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if not command:
            without_privileges()

    run = [*command, sys.executable, "-c", CREATE, how, str(path)]
    env = environment(PYTHONDONTWRITEBYTECODE="1")  # what is compiled has no room either
    done = subprocess.run(run, capture_output=True, text=True, env=env, preexec_fn=before, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("how", ["create", "replace"])
def test_a_file_for_which_there_is_no_room_does_not_appear(how: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert creation(how, path, limit=4096) == os.strerror(27)  # EFBIG
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"before")
    creation(how, path, limit=4096)
    assert path.read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("how", ["create", "replace"])
def test_a_directory_that_cannot_be_written_is_told(how: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    assert creation(how, tmp_path / "file") == os.strerror(13)  # EACCES


@pytest.mark.parametrize(
    ("options", "says"), [("size=64k", "No space left on device"), ("size=64m,ro", "Read-only file system")]
)
def test_a_full_and_a_read_only_disk_are_told(options: str, says: str, tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    command = ("unshare", "-rm", "sh", "-c", mount, str(tmp_path))
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted")
    assert creation("create", tmp_path / "file", *command) == says
