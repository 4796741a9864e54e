"""OCALLs of EDL files, the program's and Open Enclave's own: OE_OCALL_CALL_HOST_FUNCTION.

Open Enclave: host/sgx/calls.c, oe_call_host_function and what is around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enclu.host.conventions.libraries import Libraries
from enclu.host.conventions.open_enclave import abi
from enclu.host.conventions.open_enclave.abi import OeError, OeResult
from enclu.host.conventions.open_enclave.attestation import FORMAT_IDS, AttestationOcalls
from enclu.host.conventions.open_enclave.marshal import OcallMarshaller
from enclu.host.conventions.open_enclave.system import LOGGER, SystemOcalls, foreign
from enclu.host.conventions.open_enclave.system import interface as system_interface
from enclu.host.edl.types import Types

if TYPE_CHECKING:
    from enclu.host.conventions.open_enclave.releases import Release
    from enclu.host.conventions.open_enclave.runtime import Runtime
    from enclu.host.edl.interface import Interface

LARGEST_BUFFER = 1 << 28
"""Bytes of one OCALL's buffer; an enclave that has more to say says something wrong."""
CPUID_TABLE = "oe_sgx_get_cpuid_table_ocall"
"""The first that every enclave asks for."""
SHORT_STRUCTURE, LONG_STRUCTURE = 32, 48
"""Bytes of the CPUID OCALL's structure, without and with what deep copies need (0.14 and later)."""
SYSTEM_PREFIX = "oe_"
"""Of names of Open Enclave's own functions."""

Server = Callable[[bytes, int], bytes]
"""What serves an OCALL, given its input buffer and the size of the output buffer."""


class Unserved(Exception):
    """An OCALL of Open Enclave's own that is not served: enclaves know what to do without."""


class HostFunctions:
    """Which callable serves which OCALL; looked for when the enclave first makes it.

    The user's go first, then those of libraries, then Open Enclave's own.
    """

    def __init__(
        self, convention: Runtime, release: Release, system: SystemOcalls, interface: Interface | None,
        types: Types | None, serve: str | Sequence[str],
    ) -> None:  # fmt: skip
        self._convention, self._release, self._system = convention, release, system
        self._enclave, self._names = convention.enclave, convention.names
        self._interface, self._types = interface, types
        self._libraries = Libraries(self._enclave.process.memory, serve)
        self._servers: dict[tuple[int, int], Server] = {}
        """By table and number."""
        self.deep_copy: bool | None = None
        """Structures have fields for deep copies.  None until the first OCALL tells."""

    def close(self) -> None:
        """What libraries hold goes back."""
        self._libraries.close()

    def say_what_is_missing(self) -> None:
        """Releases before 0.9 are provided for in part."""
        if not self._release.missing:
            return
        own = sorted(name for name in self._names.ocalls.values() if name.startswith(SYSTEM_PREFIX))
        unserved = [name for name in own if self._own(name) is None and name not in self._enclave.ocalls]
        LOGGER.warning(
            "%s: built with Open Enclave %s; missing will be %s%s", self._enclave.image.path, self._release.name,
            self._release.missing, f"; of its own OCALLs: {', '.join(unserved)}" if unserved else "",
        )  # fmt: skip

    def call(self, address: int, *, initializing: bool) -> int:
        """Make the OCALL of which these are the arguments; its result.  `initializing` is the enclave at its start.

        Raises OeError, Unserved, whatever the callable raises.
        """
        memory, args = self._enclave.process.memory, self._names.call_args
        given = args.unpack(memory.read(address, args.size))
        for name in ("input_buffer_size", "output_buffer_size"):
            if given[name] > LARGEST_BUFFER:
                raise OeError(f"{self._described(given)}: {name} {given[name]:#x}", OeResult.OE_INVALID_PARAMETER)
        data = memory.read(given["input_buffer"], given["input_buffer_size"])
        output = self._server(given, initializing)(data, given["output_buffer_size"])
        memory.write(given["output_buffer"], output)
        done = {"output_bytes_written": given["output_buffer_size"], "result": OeResult.OE_OK}
        memory.write(address, args.pack(**given | done))
        return OeResult.OE_OK

    def _described(self, given: Mapping[str, int]) -> str:
        name = self._names.ocall(*_key(given))
        return f"{self._enclave.image.path}: the enclave's OCALL {name or given['function_id']}"

    def _server(self, given: Mapping[str, int], initializing: bool) -> Server:
        key = _key(given)
        if key not in self._servers:
            name = self._name(*key)
            first = initializing and self.deep_copy is None
            if name is None and first and _may_be_cpuid(given):
                name = CPUID_TABLE
            if name == CPUID_TABLE and self.deep_copy is None:
                self.deep_copy = given["input_buffer_size"] != SHORT_STRUCTURE
            self._servers[key] = self._look_for(name, key, self._described(given))
        return self._servers[key]

    def _name(self, table: int, number: int) -> str | None:
        """By the image's symbols, or else by the interface."""
        name = self._names.ocall(table, number)
        interface = self._interface
        if name is None and table == abi.DEFAULT_TABLE and interface is not None and number < len(interface.ocalls):
            return interface.ocalls[number].name
        return name

    def _look_for(self, name: str | None, key: tuple[int, int], described: str) -> Server:
        interface, types = self._interface, self._types
        declared = interface is not None and name in interface.ocall_numbers
        function = self._of_the_user(name, key)
        if interface is not None and types is not None and name is not None and declared:
            function = function or self._libraries.function(interface.ocalls[interface.ocall_numbers[name]], types)
            if function is not None:
                return self._typed(interface, types, name, function)
        if function is not None:
            return _untyped(function)
        if name == FORMAT_IDS:
            return AttestationOcalls(self._convention).format_ids
        own = self._own(name) if name is not None else None
        if name is not None and own is not None:
            return self._typed(system_interface(), Types(system_interface(), foreign(None)), name, own)
        if key[0] != abi.DEFAULT_TABLE or (name is not None and name.startswith(SYSTEM_PREFIX)):
            raise Unserved(f"{described} is not supported")
        raise OeError(f"{described}: there is no function for it", OeResult.OE_NOT_FOUND)

    def _of_the_user(self, name: str | None, key: tuple[int, int]) -> Callable[..., Any] | None:
        """By name; or by number, where that is the program's."""
        given, (table, number) = self._enclave.ocalls, key
        function = given.get(name) if name is not None else None
        return given.get(number) if function is None and table == abi.DEFAULT_TABLE else function

    def _own(self, name: str) -> Callable[..., Any] | None:
        """What serves an OCALL of Open Enclave's own."""
        return None if name in self._release.other else self._system.table.get(name)

    def _typed(self, interface: Interface, types: Types, name: str, python: Callable[..., Any]) -> Server:
        """A function that takes and returns what the EDL file declares."""
        ocall = interface.ocalls[interface.ocall_numbers[name]]
        marshaller = OcallMarshaller(ocall, types, self.deep_copy is not False)
        return lambda data, size: marshaller.serve(python, data, size)


def _untyped(python: Callable[..., Any]) -> Server:
    """A function that takes the input buffer, and returns the output buffer or as much of it as is not zero."""

    def serve(data: bytes, size: int) -> bytes:
        output = python(data, size)
        filled = b"" if output is None else bytes(output)
        if len(filled) > size:
            raise ValueError(f"the OCALL's output buffer has {size} bytes, not {len(filled)}")
        return filled.ljust(size, b"\0")

    return serve


def _key(given: Mapping[str, int]) -> tuple[int, int]:
    """Table and number of the function."""
    return given.get("table_id", abi.DEFAULT_TABLE), given["function_id"]


def _may_be_cpuid(given: Mapping[str, int]) -> bool:
    """By the sizes of the CPUID OCALL's buffers."""
    table = given["output_buffer_size"] - given["input_buffer_size"]
    return given["input_buffer_size"] in (SHORT_STRUCTURE, LONG_STRUCTURE) and table in (96, 128)
