"""Arguments between Python and the structures that edger8r defines, in the untrusted memory of a process.

Pointers in Python: None is NULL; an int is an address of the process, taken as it is; anything else is a buffer, which
is copied into untrusted memory for the call, and back after it if the enclave may have written to it.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from enclu.host.edl import layout
from enclu.host.edl.sdk_status import SgxStatus
from enclu.host.edl.syntax import Ecall, Function, Ocall, Variable
from enclu.host.edl.types import Int128, Type, Types

MAX_STRING = 1 << 26
_CHUNK = 4096
_BYTE_LIKE = (ctypes.c_byte, ctypes.c_ubyte, ctypes.c_char)


class Memory(Protocol):
    """Untrusted memory of the process that the enclave is in."""

    def allocate(self, size: int, align: int = 16) -> int: ...
    def read(self, address: int, length: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...


class Marshaller:
    """How one function's arguments go."""

    def __init__(self, function: Function, types: Types, *, string_lengths: bool = True) -> None:
        self.function = function
        self.types = types
        self.structure: Type | None = layout.marshalling_structure(function, types, string_lengths=string_lengths)
        self.string_lengths = string_lengths
        self.elements = {
            parameter.name: layout.element(parameter, types)
            for parameter in function.parameters
            if parameter.is_pointer
        }

    def _result(self, structure: Any) -> Any:
        if self.function.returns.is_void:
            return None
        value = getattr(structure, layout.RETVAL)
        return SgxStatus(value) if str(self.function.returns) == "sgx_status_t" else in_python(value)


class EcallMarshaller(Marshaller):
    """Arguments of an ECALL, from Python to the enclave."""

    def call(self, memory: Memory, arguments: Sequence[Any], enter: Callable[[int], bool]) -> Any:
        """Have `enter` make the ECALL with the address of the structure; what the function returns.

        `memory` is lent for the call.  `enter` says whether the function has come to its end; otherwise the result is
        None.  Raises TypeError and ValueError for arguments that the function cannot be given.
        """
        parameters = self.function.parameters
        if len(arguments) != len(parameters):
            given = f"{len(arguments)} given"
            raise TypeError(f"{self.function.name}() takes {len(parameters)} arguments, {given}")
        if self.structure is None:
            enter(0)
            return None
        values = {parameter.name: value for parameter, value in zip(parameters, arguments, strict=True)}
        structure = self.structure()
        copied: list[tuple[int, int, Any, bool]] = []
        for parameter in parameters:
            self._put(structure, parameter, values, memory, copied)
        size = ctypes.sizeof(structure)
        address = memory.allocate(size)
        memory.write(address, bytes(structure))
        if not enter(address):
            return None
        structure = self.structure.from_buffer_copy(memory.read(address, size))
        for buffer, length, target, out in copied:
            if out:
                _store(target, memory.read(buffer, length))
        return self._result(structure)

    def _put(
        self, structure: Any, parameter: Variable, values: dict[str, Any], memory: Memory,
        copied: list[tuple[int, int, Any, bool]],
    ) -> None:  # fmt: skip
        value = values[parameter.name]
        name = layout.member(parameter.name)
        if not parameter.is_pointer:
            setattr(structure, name, _by_value(parameter, value, type(structure), name))
            return
        if value is None or isinstance(value, int):
            setattr(structure, name, value or 0)
            length = layout.length(parameter, self.types, values) or 0
            self._string_length(structure, parameter, memory, value or 0)
            if length < 0:
                raise ValueError(f"`{parameter.name}' cannot have {length} bytes")
            return
        given = parameter.attributes
        content = _content(parameter, value, self.elements[parameter.name])
        wanted = layout.length(parameter, self.types, values)
        if wanted is not None and len(content) < wanted:
            raise ValueError(f"`{parameter.name}' needs {wanted} bytes; {len(content)} are given")
        out = given.out or (given.user_check and _writable(value))
        if out and not _writable(value):
            raise TypeError(
                f"`{parameter.name}' is for the enclave to write to: {type(value).__name__} cannot be written"
            )
        address = memory.allocate(max(len(content), 1))
        copied.append((address, len(content), value, out))
        memory.write(address, content)
        setattr(structure, name, address)
        if (given.string or given.wstring) and self.string_lengths:
            setattr(structure, layout.length_member(parameter.name), len(content))

    def _string_length(self, structure: Any, parameter: Variable, memory: Memory, address: int) -> None:
        given = parameter.attributes
        if not (given.string or given.wstring) or not self.string_lengths:
            return
        unit = 4 if given.wstring else 1
        length = len(read_string(memory, address, unit)) + unit if address else 0
        setattr(structure, layout.length_member(parameter.name), length)


class OcallMarshaller(Marshaller):
    """Arguments of an OCALL, from the enclave to Python.

    The Python function gets strings as bytes without the zero at their end (wide strings as str), other buffers as
    arrays of ctypes or, of bytes and of unknown type, as bytes; buffers that it may write are bytearrays or arrays.
    """

    def call(self, memory: Memory, address: int, python: Callable[..., Any]) -> None:
        """Serve the OCALL with a Python function.

        With `propagate_errno`, an OSError of the function's sets errno for the enclave, and -1 is returned.
        """
        if self.structure is None:
            python()
            return
        size = ctypes.sizeof(self.structure)
        structure = self.structure.from_buffer_copy(memory.read(address, size))
        parameters = self.function.parameters
        values = {parameter.name: getattr(structure, layout.member(parameter.name)) for parameter in parameters}
        arguments = [self._argument(memory, parameter, values) for parameter in parameters]
        errno = 0
        assert isinstance(self.function, Ocall)
        try:
            result = python(*arguments)
        except OSError as error:
            if not self.function.propagate_errno:
                raise
            errno, result = error.errno or 0, -1
        for parameter, argument in zip(parameters, arguments, strict=True):
            if parameter.attributes.out and argument is not None and not isinstance(argument, int):
                memory.write(values[parameter.name], bytes(argument))
        self._answer(memory, address, structure, result, errno)

    def _answer(self, memory: Memory, address: int, structure: Any, result: Any, errno: int) -> None:
        assert self.structure is not None and isinstance(self.function, Ocall)
        changed = []
        if not self.function.returns.is_void:
            value = 0 if result is None else result
            field = dict(self.structure._fields_)[layout.RETVAL]
            if errno and issubclass(field, ctypes._SimpleCData):
                value = field(value).value  # -1 is the largest number, where the result has no sign
            try:
                setattr(structure, layout.RETVAL, _value_of(value, field))
            except TypeError:
                raise TypeError(
                    f"{self.function.name}() is to return {self.function.returns}, not {type(result).__name__}"
                ) from None
            changed.append(layout.RETVAL)
        if self.function.propagate_errno:
            setattr(structure, layout.ERRNO, errno)
            changed.append(layout.ERRNO)
        data = bytes(structure)
        for name in changed:
            member = getattr(self.structure, name)
            memory.write(address + member.offset, data[member.offset : member.offset + member.size])

    def _argument(self, memory: Memory, parameter: Variable, values: dict[str, Any]) -> Any:
        value = values[parameter.name]
        if not parameter.is_pointer:
            return in_python(value)
        given = parameter.attributes
        if given.user_check or given.sizefunc is not None:
            return value
        if not value:
            return None
        if given.string or given.wstring:
            text = read_string(memory, value, 4 if given.wstring else 1)
            if given.out:
                return bytearray(text + bytes(4 if given.wstring else 1))
            return text.decode("utf-32-le", "replace") if given.wstring else text
        length = layout.length(parameter, self.types, values) or 0
        return _buffer(memory.read(value, length), self.elements[parameter.name], writable=given.out)


def in_python(value: Any) -> Any:
    """What Python gets of a value: a structure's bytes, a number."""
    if isinstance(value, Int128):
        return int(value)
    return bytes(value) if isinstance(value, ctypes.Structure | ctypes.Union | ctypes.Array) else value


def _buffer(data: bytes, element: Type | None, *, writable: bool) -> Any:
    """Bytes as an array of elements, if they are more than bytes."""
    if element is None or issubclass(element, _BYTE_LIKE) or len(data) % ctypes.sizeof(element):
        return bytearray(data) if writable else data
    count = len(data) // ctypes.sizeof(element)
    if count == 1 and issubclass(element, ctypes.Structure | ctypes.Union):
        return element.from_buffer_copy(data)
    return (element * count).from_buffer_copy(data)


def read_string(memory: Memory, address: int, unit: int = 1) -> bytes:
    """A string up to the zero, of characters of `unit` bytes.  Raises ValueError if it does not end."""
    found = bytearray()
    start = address
    while len(found) < MAX_STRING:
        length = _CHUNK - address % _CHUNK
        found += memory.read(address, length)
        for at in range(max(0, len(found) - length) // unit * unit, len(found) - unit + 1, unit):
            if not any(found[at : at + unit]):
                return bytes(found[:at])
        address += length
    raise ValueError(f"the string at {start:#x} has no end within {MAX_STRING} bytes")


def _content(parameter: Variable, value: Any, element: Type | None) -> bytes:
    """The bytes of a buffer."""
    given = parameter.attributes
    if given.string or given.wstring:
        return _string(parameter, value)
    if isinstance(value, str):
        value = value.encode()
    with contextlib.suppress(TypeError):
        return memoryview(value).tobytes()
    if element is not None and isinstance(value, Sequence):
        with contextlib.suppress(TypeError):
            return bytes((element * len(value))(*value))
    raise TypeError(f"`{parameter.name}' is a pointer: {type(value).__name__} is no buffer, address or None")


def _string(parameter: Variable, value: Any) -> bytes:
    """The bytes of a string with the zero at its end, which may be left out where the enclave does not write."""
    wide = parameter.attributes.wstring
    unit = 4 if wide else 1
    data = value.encode("utf-32-le" if wide else "utf-8") if isinstance(value, str) else bytes(value)
    for at in range(0, len(data) - unit + 1, unit):
        if not any(data[at : at + unit]):
            return data[: at + unit]
    if parameter.attributes.out:
        raise ValueError(f"`{parameter.name}' has no zero at its end")
    return data + bytes(unit)


def _writable(value: Any) -> bool:
    try:
        return not memoryview(value).readonly
    except TypeError:
        return False


def _store(target: Any, data: bytes) -> None:
    ctypes.memmove((ctypes.c_char * len(data)).from_buffer(target), data, len(data))


def _by_value(parameter: Variable, value: Any, structure: Any, name: str) -> Any:
    field = dict(structure._fields_)[name]
    try:
        converted = _value_of(value, field)
        setattr(structure(), name, converted)
    except TypeError:
        raise TypeError(f"`{parameter.name}' is {parameter.type}: {type(value).__name__} is not") from None
    return converted


def _value_of(value: Any, field: Type) -> Any:
    """A value as a member of a structure takes it."""
    if issubclass(field, Int128) and isinstance(value, int):
        return field.of(value)
    if issubclass(field, ctypes.Structure | ctypes.Union | ctypes.Array) and not isinstance(value, field):
        if isinstance(value, int):
            raise TypeError
        data = bytes(value)
        if len(data) != ctypes.sizeof(field):
            raise TypeError
        return field.from_buffer_copy(data)
    if isinstance(value, bytes) and len(value) == 1 and issubclass(field, _BYTE_LIKE):
        value = value[0]
    if isinstance(value, int) and issubclass(field, ctypes._SimpleCData) and field(value).value != value:
        raise ValueError(f"{value} does not fit into {ctypes.sizeof(field)} bytes")
    return value


def marshaller(function: Function, types: Types, *, string_lengths: bool = True) -> EcallMarshaller | OcallMarshaller:
    """The one for this function."""
    kind = EcallMarshaller if isinstance(function, Ecall) else OcallMarshaller
    return kind(function, types, string_lengths=string_lengths)
