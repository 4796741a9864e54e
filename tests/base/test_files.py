"""Files that may be anything: what is read, what is refused with which words, and that nothing waits."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from enclu.base import files
from tests.support import hostile


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    path.chmod(0o600)
    assert files.read_own(path, 7) == b"content"
    with pytest.raises(files.TooLarge, match="has more than 6 bytes"):
        files.read_own(path, 6)


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_what_is_no_file_of_ones_own_is_refused_with_a_reason(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    hostile.put(path, kind)
    with pytest.raises(files.Refused) as refused:
        files.read_own(path, 1 << 20)
    assert refused.value.filename == str(path)
    assert (refused.value.strerror or "").startswith(hostile.KINDS[kind][1])


def test_a_device_is_refused_by_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(files.Refused, match="is a device, not a regular file"):
        files.read_own(Path("/dev/zero"), 1 << 20)


def test_a_file_behind_a_link_to_its_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"content")
    (tmp_path / "real" / "file").chmod(0o600)
    (tmp_path / "linked").symlink_to("real")
    assert files.read_own(tmp_path / "linked" / "file", 7) == b"content"


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_own(tmp_path / "file", 1)


def test_a_named_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """As `--key <(command)` gives one, whose writer takes its time."""
    reader, writer = os.pipe()
    written = threading.Event()

    def write() -> None:
        os.write(writer, b"one")
        written.wait()
        os.write(writer, b"two")
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    threading.Timer(0.1, written.set).start()
    try:
        assert files.read_named(Path(f"/proc/self/fd/{reader}"), 6) == b"onetwo"
    finally:
        thread.join()
        os.close(reader)


def test_a_fifo_that_nobody_writes_to_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(files.Refused, match="is a FIFO, and nobody writes to it"):
        files.read_named(tmp_path / "fifo", 1)


def test_a_device_without_an_end_is_too_large() -> None:
    with pytest.raises(files.TooLarge, match="has more than 4096 bytes"):
        files.read_named(Path("/dev/zero"), 4096)


def test_an_empty_file_is_empty() -> None:
    assert files.read_named(Path("/dev/null"), 4096) == b""
