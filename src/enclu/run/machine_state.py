"""Named machines: a secret kept under the user's XDG state directory, from which the machine's keys derive."""

from __future__ import annotations

import contextlib
import os
import re

from enclu.base import directories, files

SECRET_SIZE = 32


class MachineStateError(Exception):
    """The machine's state cannot be read or made."""


def secret_of(name: str) -> bytes:
    """The secret of the machine called `name`, made when the name is first used.

    Two runs that make the same machine at once get the same secret.  Raises MachineStateError.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise MachineStateError(f"machine name {name!r}: use letters, digits, '.', '_' and '-', at most 64")
    try:
        path = directories.state() / "machines" / name
        try:
            data = files.read_own(path, SECRET_SIZE)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):  # another run was faster
                directories.create(path, os.urandom(SECRET_SIZE))
            data = files.read_own(path, SECRET_SIZE)
    except directories.NoHome as error:
        raise MachineStateError(f"machine {name}: {error.strerror}") from None
    except OSError as error:
        raise MachineStateError(
            f"machine {name}: {error.filename or path}: {error.strerror}; its secret is kept there, "
            "or under XDG_STATE_HOME if that is set"
        ) from None
    if len(data) != SECRET_SIZE:
        raise MachineStateError(f"{path}: {len(data)} bytes instead of {SECRET_SIZE}; remove it to start afresh")
    return data
