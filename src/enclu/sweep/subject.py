"""What is swept: an image, how it is loaded, and which call is made of it; so that several machines can do the same."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enclu.base import directories
from enclu.host.conventions.sdk import SdkConvention
from enclu.host.edl import Interface, load
from enclu.host.enclave import Enclave
from enclu.host.errors import HostError
from enclu.host.images import Image, open_image
from enclu.host.machine import Machine
from enclu.host.signing import sign, signing_key, unsigned
from enclu.sgx.structs import MISC_EXINFO
from enclu.sweep.call import EcallText
from enclu.sweep.room import epc_for
from enclu.sweep.session import HANG, MOST, Session
from enclu.sweep.verdict import options


def _nothing(*arguments: object) -> int:
    """An OCALL that nobody serves: a host may do nothing and say 0."""
    return 0


class _ByNumber(dict[Any, Callable[..., Any]]):
    """OCALLs of an enclave of which nobody knows the names."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key, _nothing)


@dataclass(frozen=True)
class Subject:
    """Paths are as on the machine that loads it."""

    image: str
    call: str
    """As `EcallText` has it."""
    edl: str | None = None
    sigstruct: str | None = None
    convention: str | None = None
    delivery: str = "vdso"
    debug: bool | None = None
    exinfo: bool = False
    """Sign it anew, for MISCSELECT to have EXINFO: then an enclave learns of #PF and #GP."""
    ocalls: str | None = None
    """A module, or an object in it (module:object), with functions by the names of OCALLs."""
    warm: int = 1
    """Calls that are made before, for what happens once only."""
    rsp: int | str | None = None
    """The host's RSP at the call's first EENTER, as `Session` has it."""
    hang: float = HANG
    most: int = MOST
    """Instructions that are stepped through."""

    def open_image(self) -> Image:
        """The image as it is loaded.  Raises HostError."""
        image = open_image(self.image, self.sigstruct)
        if self.exinfo:
            image.misc_select |= MISC_EXINFO
            fields = unsigned(image, debug=True, MISCSELECT=image.misc_select, MISCMASK=0xFFFF_FFFF)
            image.sigstruct = sign(fields, signing_key(directories.state() / "sweep" / "signing-key.pem"))
        return image

    def interface(self) -> Interface | None:
        """Of the EDL file, if there is one.  Raises HostError."""
        return load(Path(self.edl)) if self.edl is not None else None

    @contextlib.contextmanager
    def session(self, trace: str | None = None) -> Iterator[Session]:
        """The enclave, loaded on a machine of its own, and its call prepared.  Raises HostError.

        `trace` is a file for what happens.
        """
        call = EcallText(self.call)
        image, interface = self.open_image(), self.interface()
        convention: Any = self.convention
        if interface is not None:
            convention = interface.convention()
        with Machine(epc_for(image)) as machine, machine.process(self.delivery, trace=trace, stepping=True) as process:
            enclave = process.load(image, convention=convention, debug=self.debug)
            enclave.ocalls = self._answers(enclave, interface)
            session = Session(enclave, call.make, rsp=self.rsp, hang=self.hang)
            session.prepare(self.warm, self.most)
            yield session

    @property
    def options(self) -> str:
        """What else decides what is found, as `enclu sweep` has it."""
        return options(exinfo=self.exinfo, ocalls=self.ocalls, rsp=self.rsp, warm=self.warm, delivery=self.delivery)

    def _answers(self, enclave: Enclave, interface: Interface | None) -> dict[Any, Callable[..., Any]]:
        """What serves each OCALL."""
        given = self._ocalls()
        if not isinstance(enclave.convention, SdkConvention):
            return given
        if interface is None:
            return _ByNumber(given)
        served = enclave.convention.served
        return {name: _nothing for name in interface.ocall_numbers if name not in served} | given

    def _ocalls(self) -> dict[Any, Callable[..., Any]]:
        if self.ocalls is None:
            return {}
        module, _, name = self.ocalls.partition(":")
        if not module:
            raise HostError(f"--ocalls {self.ocalls!r} names no module")
        try:
            found: Any = importlib.import_module(module)
            found = getattr(found, name) if name else found
            return {n: getattr(found, n) for n in dir(found) if not n.startswith("_") and callable(getattr(found, n))}
        except (ImportError, AttributeError) as error:
            raise HostError(f"--ocalls {self.ocalls}: {error}") from None
        except (Exception, SystemExit) as error:  # of the user's code
            raise HostError(f"--ocalls {self.ocalls}: {type(error).__name__}: {error}") from None
