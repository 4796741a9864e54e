"""An enclave's functions as methods: the base of generated classes, and the same at run time."""

from __future__ import annotations

import ctypes
import functools
import keyword
import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from enclu.host.convention import Convention, named
from enclu.host.edl.declarations import Declarations
from enclu.host.edl.types import Type

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.host.events import Action, EnclaveException
    from enclu.host.images import Image
    from enclu.host.process import Process

if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview | array[Any] | ctypes.Array[Any] | ctypes.Structure | ctypes.Union
else:
    Buffer = bytes | bytearray | memoryview | array | ctypes.Array | ctypes.Structure | ctypes.Union
Pointer = Buffer | int | None
"""None, an address of the process, or a buffer."""

_RESERVED = frozenset(keyword.kwlist) | {"self", "timeout"}
_OWN = frozenset({"load", "enclave", "interface", "types"})
"""What every class of calls has."""


def identifier(name: str) -> str:
    """How a parameter or constant is called in Python."""
    return f"{name}_" if name in _RESERVED else name


def method_name(name: str) -> str:
    """How a function is called as a method."""
    return f"{name}_" if name in _RESERVED | _OWN or name.startswith("_") else name


def convention(
    interface: Declarations, types: Mapping[str, Type | int], serve: str | Sequence[str]
) -> type[Convention]:
    """The SDK's convention, for enclaves with this interface."""
    return type("SdkConvention", (named("sdk"),), {"interface": interface, "types": types, "serve": serve})


class Calls:
    """An enclave's functions.  A context manager, which unloads the enclave."""

    interface: ClassVar[Declarations]
    types: ClassVar[Mapping[str, Type | int]] = {}
    """What types of C headers are, which no EDL file tells: classes of ctypes, or sizes."""

    def __init__(self, enclave: Enclave) -> None:
        self.enclave = enclave

    @classmethod
    def load(
        cls, process: Process, image: str | os.PathLike[str] | Image, ocalls: object = None, *,
        serve: str | Sequence[str] = (), debug: bool | None = None,
        on_exception: Callable[[EnclaveException], Action] | None = None,
    ) -> Self:  # fmt: skip
        """Load an enclave with this interface.

        `ocalls` is an object with a method for each OCALL, or a mapping from their names to callables; `serve` names
        libraries of OCALLs that Python is to serve.
        """
        kind = convention(cls.interface, cls.types, serve)
        given = callables(cls.interface, ocalls)
        return cls(process.load(image, convention=kind, ocalls=given, debug=debug, on_exception=on_exception))

    def _call(self, name: str, *args: Any, timeout: float | None = None) -> Any:
        return self.enclave.ecall(name, *args, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.enclave.unload()


class DynamicCalls(Calls):
    """The functions of an interface that was read at run time, found by name."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.interface.ecall_numbers:
            raise AttributeError(f"{self.interface.path}: there is no trusted function `{name}'")
        return functools.partial(self._call, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.interface.ecall_numbers]


def callables(interface: Declarations, ocalls: object) -> dict[str, Callable[..., Any]]:
    """Callables by OCALLs' names, from a mapping or from an object's methods."""
    if ocalls is None:
        return {}
    if isinstance(ocalls, Mapping):
        return dict(ocalls)
    found = {ocall.name: getattr(ocalls, method_name(ocall.name), None) for ocall in interface.ocalls}
    return {name: method for name, method in found.items() if callable(method)}
