"""Named machines: a secret kept under the user's XDG state directory, from which the machine's keys derive."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

SECRET_SIZE = 32


class MachineStateError(Exception):
    """The machine's state cannot be read or made."""


def directory() -> Path:
    """$XDG_STATE_HOME/enclu/machines, by default under ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME", "")
    root = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return root / "enclu" / "machines"


def secret_of(name: str) -> bytes:
    """The secret of the machine called `name`, made when the name is first used.

    Two runs that make the same machine at once get the same secret.  Raises MachineStateError.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise MachineStateError(f"machine name {name!r}: use letters, digits, '.', '_' and '-', at most 64")
    path = directory() / name
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = path.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}")
            fresh.touch(mode=0o600)
            try:
                fresh.write_bytes(secrets.token_bytes(SECRET_SIZE))
                os.link(fresh, path)  # fails if another run was faster; never replaces
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        data = path.read_bytes()
    except OSError as error:
        raise MachineStateError(f"machine {name}: {error}") from None
    if len(data) != SECRET_SIZE:
        raise MachineStateError(f"{path}: {len(data)} bytes instead of {SECRET_SIZE}; remove it to start afresh")
    return data
