"""What somebody may have put where a file of enclu's is expected."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

NOBODY = 65534


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link(path: Path) -> None:
    target = path.with_name(f"{path.name}.target")
    target.write_bytes(bytes(32))
    path.symlink_to(target)


def _socket(path: Path) -> None:
    """Bound by a short name: addresses of sockets are short."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _others(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    path.write_bytes(bytes(32))
    os.chown(path, NOBODY, NOBODY)


def _writable(path: Path) -> None:
    path.write_bytes(bytes(32))
    path.chmod(0o666)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "FIFO": (os.mkfifo, "is a FIFO, not a regular file"),
    "device": (_device, "is a symbolic link, not a regular file"),
    "link": (_link, "is a symbolic link, not a regular file"),
    "link to nothing": (lambda path: path.symlink_to("nothing"), "is a symbolic link, not a regular file"),
    "directory": (lambda path: (path / "within").mkdir(parents=True), "is a directory, not a regular file"),
    "socket": (_socket, "is a socket, not a regular file"),
    "huge": (_huge, "has more than"),
    "another user's": (_others, f"belongs to another user, {NOBODY}"),
    "writable by others": (_writable, "others may write to it; chmod go-w"),
}
"""How each is made, and what is said of it."""
CONTENTS = {
    "empty": b"", "cut short": b'{"cpuid": [1', "nested": b"[" * 200_000, "nested objects": b'{"cpuid":' * 200_000,
    "of another type": b'{"cpuid": {"1": 2}, "path_calls": null}', "infinite": b'{"cpuid": [1e999], "path_calls": []}',
    "beyond": b'{"cpuid": [%d, -1], "path_calls": [[64, %d]]}' % (1 << 80, 1 << 50),
    "wrong places": b'{"cpuid": [64], "path_calls": [[64, 16]]}', "not text": bytes(range(256)),
    "digits": b'{"cpuid": [' + b"9" * 10_000 + b'], "path_calls": []}',
}  # fmt: skip


def put(path: Path, kind: str) -> None:
    """Replace the file by one of either table."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind in CONTENTS:
        path.write_bytes(CONTENTS[kind])
        path.chmod(0o600)
    else:
        KINDS[kind][0](path)
