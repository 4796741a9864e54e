"""What is a machine's own: the secret that its processors' keys are of, and the name under which it is kept."""

from __future__ import annotations

import secrets

from enclu.host.errors import HostError
from enclu.run.machine_state import SECRET_SIZE, MachineStateError, secret_of


class MachineKeys:
    """Of a machine with a `name`, those of earlier runs; others get new ones.  Raises HostError."""

    def __init__(self, name: str | None = None) -> None:
        try:
            self.secret = secrets.token_bytes(SECRET_SIZE) if name is None else secret_of(name)
        except MachineStateError as error:
            raise HostError(str(error)) from None
        self.name = name
