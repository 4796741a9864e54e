"""A process with enclaves."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from enclu.host import images, loader
from enclu.host.convention import Convention, named
from enclu.host.enclave import Enclave, EnclaveMachine, EnclaveProcess
from enclu.host.events import Action, EnclaveException
from enclu.host.images import Image


class Process(EnclaveProcess):
    """Made by `Machine.process`.  A context manager: at its end the process ends, and its enclaves with it."""

    def __init__(self, machine: EnclaveMachine, delivery: str, options: list[str], pass_fds: tuple[int, ...]) -> None:
        self.machine = machine
        self.stepping = "--stepping" in options
        self.enclaves: list[Enclave] = []
        super().__init__(delivery, options, pass_fds)

    def close(self) -> None:
        """End the process and whatever its threads are doing.  Nothing if closed already."""
        super().close()
        self.enclaves.clear()

    def load(
        self, image: str | os.PathLike[str] | Image, *, sigstruct: str | os.PathLike[str] | None = None,
        debug: bool | None = None, convention: str | Callable[[Enclave], Convention] | None = None,
        ocalls: Mapping[Any, Callable[..., Any]] | Sequence[Callable[..., Any]] = (),
        on_exception: Callable[[EnclaveException], Action] | None = None, start_timeout: float | None = 900.0,
    ) -> Enclave:  # fmt: skip
        """Load an enclave: ECREATE, EADD and EEXTEND, EINIT, and what its convention does at the start.

        `debug` sets or clears ATTRIBUTES.DEBUG, where the SIGSTRUCT leaves that open; None takes the image's.
        `convention` is a name of `convention.NAMES`, or makes a Convention of the enclave; None chooses by the image.
        `ocalls` and `on_exception` are as `Enclave` has them.  Each call that the convention makes at the start may
        take `start_timeout` seconds.  Raises HostError, in particular what is wrong with the image or why the driver
        refuses it.
        """
        if not isinstance(image, images.Image):
            image = images.open_image(image, sigstruct)
        if isinstance(convention, str):
            convention = named(convention)
        usual = named(image.convention)
        kind = convention or usual
        # A partial of a convention's class, say, cannot be asked.
        (kind if inspect.isclass(kind) and issubclass(kind, Convention) else usual).check(image, self)
        loaded = loader.load(self, image, debug)
        enclave = Enclave(self, image, loaded, ocalls, on_exception)
        self.enclaves.append(enclave)
        try:
            enclave.convention = kind(enclave)
            enclave.convention.start(start_timeout)
        except BaseException:
            enclave.release()
            raise
        return enclave
