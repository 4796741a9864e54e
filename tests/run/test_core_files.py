"""The file of a core: whole, or not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclu.linux.coredump import Load
from enclu.run.cores import file
from enclu.run.cores.memory import Segment

_open = os.open


@pytest.fixture(params=[False, True], ids=["nameless", "named"])
def directory(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """One of a file system with files without names, and of one without."""

    def without(path: str, flags: int, *arguments: int, **more: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return _open(path, flags, *arguments, **more)

    if request.param:
        monkeypatch.setattr(os, "open", without)
    descriptor = _open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_nothing_is_left_of_a_core_that_was_not_finished(directory: int, tmp_path: Path) -> None:
    with pytest.raises(KeyError), file.NewFile(directory) as new:
        os.write(new.fd, b"part")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_it_has_its_name_when_it_is_whole(directory: int, tmp_path: Path) -> None:
    with file.NewFile(directory) as new:
        os.write(new.fd, b"whole")
        assert not (tmp_path / "core").exists()
        new.name("core")
    (path,) = tmp_path.iterdir()
    assert (path.name, path.read_bytes(), path.stat().st_mode & 0o7777) == ("core", b"whole", 0o600)


def test_what_is_there_stays_as_it_is(directory: int, tmp_path: Path) -> None:
    (tmp_path / "core").write_text("mine")
    (tmp_path / "core.2").symlink_to(tmp_path / "elsewhere")
    with file.NewFile(directory) as new:
        with pytest.raises(FileExistsError):
            new.name("core")
        assert new.name_first_free("core") == "core.3"
    assert (tmp_path / "core").read_text() == "mine" and not (tmp_path / "elsewhere").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["core", "core.2", "core.3"]


def test_zeros_are_holes_and_everything_else_is_in_its_place(tmp_path: Path) -> None:
    page = os.urandom(4096)
    content = {0x10000: page, 0x12000: bytes(4096) + page, 0x10000000: page}

    def blocks(start: int, end: int) -> Iterator[tuple[int, bytes]]:
        yield from ((at, data) for at, data in content.items() if start <= at < end)

    size = 0x10000000
    runs = [(0x10000, 0x11000), (0x12000, 0x14000), (0x10000000, 0x10001000)]
    segments = [
        Segment(Load(0x10000, size, 6, size), runs, blocks),
        Segment(Load(0x20000000, 4096, 4, 0), [], blocks),
    ]
    with (tmp_path / "core").open("w+b") as core:
        total = file.write(core.fileno(), b"", segments)
        offset = total - size
        assert os.fstat(core.fileno()).st_size == total and os.fstat(core.fileno()).st_blocks * 512 < 1 << 16
        for address, data in content.items():
            assert os.pread(core.fileno(), len(data), offset + address - 0x10000) == data
