"""OCALLs as enclaves make them: structures in the memory of a process, marshalled and served."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import enclu
from enclu.host.conventions.libraries import Libraries
from enclu.host.edl import layout, parse
from enclu.host.edl.marshal import OcallMarshaller
from enclu.host.edl.types import Types


@pytest.fixture(scope="module")
def memory() -> Iterator[Any]:
    with enclu.Machine() as machine, machine.process() as process:
        yield process.memory


class Enclave:
    """Makes OCALLs by their declarations.  Pointers are buffers, which are copied in and come back changed."""

    def __init__(self, memory: Any, serve: str) -> None:
        self.memory, self.libraries = memory, Libraries(memory, serve)
        self.errno = 0

    def ocall(self, declared: str, *arguments: Any) -> Any:
        """What it returns; `errno` is what came with it."""
        interface = parse(f"enclave {{ untrusted {{ {declared}; }}; }};")
        (ocall,), types = interface.ocalls, Types(interface)
        function = self.libraries.function(ocall, types)
        assert function is not None, f"nobody serves {ocall}"
        marshaller = OcallMarshaller(ocall, types)
        if marshaller.structure is None:
            return function()
        ms, copied = marshaller.structure(), list[tuple[int, bytearray]]()
        for parameter, argument in zip(ocall.parameters, arguments, strict=True):
            value = argument
            if isinstance(argument, bytes | bytearray):
                value = self.memory.allocate(max(len(argument), 1))
                self.memory.write(value, argument)
                if isinstance(argument, bytearray):
                    copied.append((value, argument))
            setattr(ms, layout.member(parameter.name), value or 0)
        with self.memory.temporary(bytes(ms)) as address:
            marshaller.call(self.memory, address, function)
            ms = type(ms).from_buffer_copy(self.memory.read(address, ctypes.sizeof(ms)))
        for at, buffer in copied:
            buffer[:] = self.memory.read(at, len(buffer))
        self.errno = getattr(ms, layout.ERRNO, 0)
        return getattr(ms, layout.RETVAL, None)


@pytest.fixture
def enclave_of(memory: Any) -> Iterator[Callable[[str], Enclave]]:
    made: list[Enclave] = []

    def make(serve: str) -> Enclave:
        made.append(Enclave(memory, serve))
        return made[-1]

    yield make
    for enclave in made:
        enclave.libraries.close()
