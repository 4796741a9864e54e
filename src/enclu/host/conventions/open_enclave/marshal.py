"""Arguments between Python and the buffers that oeedger8r has go between enclave and host.

An input buffer is the function's structure and, after it, what its `in` pointers point to; an output buffer is the
structure again, with the result, and what its `out` pointers point to.  Each part begins on a multiple of 16.
oeedger8r: src/c_emitter.h, w_emitter.h, f_emitter.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from enclu.host.conventions.open_enclave.abi import ALIGNMENT, OeError, OeResult
from enclu.host.edl import layout
from enclu.host.edl.marshal import in_python
from enclu.host.edl.syntax import Composite, Function, Ocall, Variable
from enclu.host.edl.types import POINTER, Type, Types
from enclu.host.errors import HostError

RESULT = "oe_result"
RETVAL = "oe_retval"
ERRNO = "ocall_errno"
DEEP_COPY = [("deepcopy_out_buffer", ctypes.c_uint64), ("deepcopy_out_buffer_size", ctypes.c_uint64)]
"""In every structure since 0.14."""
PRESENT = ALIGNMENT
"""A pointer that is not NULL, whose value nobody looks at."""

Python = Callable[..., Any]


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class Marshaller:
    """How one function's arguments go.  Raises HostError for a function that needs what is not supported."""

    def __init__(self, function: Function, types: Types, deep_copy: bool) -> None:
        self.function, self.types = function, types
        for parameter in function.parameters:
            _check(function, parameter, types)
        fields: list[tuple[str, Type]] = [(RESULT, ctypes.c_uint32), *(DEEP_COPY if deep_copy else [])]
        if not function.returns.is_void:
            fields.append((RETVAL, types.of(function.returns, function.position)))
        for parameter in function.parameters:
            fields.append((_member(parameter), POINTER if parameter.is_pointer else types.of(parameter.type)))
            if parameter.attributes.string or parameter.attributes.wstring:
                fields.append((_member(parameter) + "_len", ctypes.c_uint64))
        if isinstance(function, Ocall) and function.propagate_errno:
            fields.append((ERRNO, ctypes.c_int))
        self.structure: Type = type(f"{function.name}_args_t", (ctypes.Structure,), {"_fields_": fields})
        self.size = aligned(ctypes.sizeof(self.structure))

    def _result(self, structure: Any) -> Any:
        if self.function.returns.is_void:
            return None
        return in_python(getattr(structure, RETVAL))


class EcallMarshaller(Marshaller):
    """Arguments of an ECALL, from Python to the enclave."""

    def pack(self, arguments: Sequence[Any]) -> tuple[bytes, int]:
        """The input buffer, and the size of the output buffer.  Raises TypeError, ValueError."""
        parameters = self.function.parameters
        if len(arguments) != len(parameters):
            raise TypeError(f"{self.function.name}() takes {len(parameters)} arguments, {len(arguments)} given")
        values = {parameter.name: value for parameter, value in zip(parameters, arguments, strict=True)}
        structure, parts, out_size = self.structure(), bytearray(), self.size
        for parameter in parameters:
            value, given = values[parameter.name], parameter.attributes
            if not parameter.is_pointer or given.user_check:
                setattr(structure, _member(parameter), value or 0)
                continue
            if value is None:
                continue
            content = _content(parameter, value)
            wanted = layout.length(parameter, self.types, values)
            if wanted is None:
                wanted = len(content)
                setattr(structure, _member(parameter) + "_len", wanted)
            if len(content) < wanted:
                raise ValueError(f"`{parameter.name}' needs {wanted} bytes; {len(content)} are given")
            setattr(structure, _member(parameter), PRESENT)
            if given.into:
                parts += content[:wanted].ljust(aligned(wanted), b"\0")
            if given.out:
                out_size += aligned(wanted)
        return bytes(structure).ljust(self.size, b"\0") + bytes(parts), out_size

    def unpack(self, output: bytes, arguments: Sequence[Any]) -> Any:
        """What the function returns; `out` arguments get what it has written."""
        structure = self.structure.from_buffer_copy(output)
        at = self.size
        values = {p.name: value for p, value in zip(self.function.parameters, arguments, strict=True)}
        for parameter in self.function.parameters:
            value, given = values[parameter.name], parameter.attributes
            if not (given.out and parameter.is_pointer) or value is None:
                continue
            wanted = layout.length(parameter, self.types, values)
            size = len(_content(parameter, value)) if wanted is None else wanted
            memoryview(value).cast("B")[:size] = output[at : at + size]
            at += aligned(size)
        return self._result(structure)


class OcallMarshaller(Marshaller):
    """Arguments of an OCALL, from the enclave to Python.

    The Python function gets strings as bytes without the zero at their end, other buffers as bytes, and those that it
    may write as bytearrays.
    """

    def serve(self, python: Python, data: bytes, output_size: int) -> bytes:
        """The output buffer.  An OSError sets errno, where the function has one.  Raises OeError for bad arguments."""
        if len(data) < ctypes.sizeof(self.structure):
            raise self._bad(f"the input buffer has {len(data)} bytes")
        structure = self.structure.from_buffer_copy(data)
        parameters = self.function.parameters
        values = {p.name: getattr(structure, _member(p)) for p in parameters}
        arguments, at, room = [], self.size, output_size - self.size
        for parameter in parameters:
            value, given = values[parameter.name], parameter.attributes
            if not parameter.is_pointer or given.user_check:
                arguments.append(in_python(value))
                continue
            if not value:
                arguments.append(None)
                continue
            size = layout.length(parameter, self.types, values)
            if size is None:
                size = getattr(structure, _member(parameter) + "_len")
            content: bytes | bytearray | None = None
            if given.into:
                content, at = data[at : at + size], at + aligned(size)
                if len(content) < size:
                    raise self._bad(f"`{parameter.name}' has {size} bytes, and the input buffer ends before them")
                if given.string:
                    content = content.partition(b"\0")[0]
            if given.out:
                room -= aligned(size)
                if room < 0:
                    raise self._bad(f"`{parameter.name}' has {size} bytes, and the output buffer ends before them")
                content = bytearray(content) if content is not None else bytearray(size)
            arguments.append(content)
        if at != len(data):
            raise self._bad(f"the input buffer has {len(data)} bytes, and by the EDL file {at}")
        return self._answer(python, arguments, output_size)

    def _answer(self, python: Python, arguments: list[Any], output_size: int) -> bytes:
        errno = 0
        has_errno = isinstance(self.function, Ocall) and self.function.propagate_errno
        try:
            result = python(*arguments)
        except OSError as error:
            if not has_errno:
                raise
            errno, result = error.errno or 0, -1
        structure = self.structure()
        if not self.function.returns.is_void:
            setattr(structure, RETVAL, 0 if result is None else result)
        if has_errno:
            setattr(structure, ERRNO, errno)
        output = bytearray(bytes(structure).ljust(self.size, b"\0"))
        for parameter, argument in zip(self.function.parameters, arguments, strict=True):
            if parameter.attributes.out and isinstance(argument, bytearray):
                output += argument.ljust(aligned(len(argument)), b"\0")
        if len(output) > output_size:
            raise self._bad(f"the output buffer has {output_size} bytes and would need {len(output)}")
        return bytes(output.ljust(output_size, b"\0"))

    def _bad(self, what: str) -> OeError:
        return OeError(f"{self.function.name}(): {what}", OeResult.OE_INVALID_PARAMETER)


def _member(parameter: Variable) -> str:
    return f"p_{parameter.name}"


def _check(function: Function, parameter: Variable, types: Types) -> None:
    given = parameter.attributes
    composites = {c.name: c for c in types.interface.composites if isinstance(c, Composite)}
    composite = composites.get(parameter.type.name)
    if given.wstring or given.sizefunc is not None or (composite is not None and composite.deep_copied):
        raise HostError(
            f"{function.name}(): `{parameter}' is not supported between Python and Open Enclave's enclaves; "
            "pass the function's buffers as bytes"
        )


def _content(parameter: Variable, value: Any) -> bytes:
    """The bytes of a buffer; of a string, with the zero at its end."""
    if isinstance(value, int):
        raise TypeError(f"`{parameter.name}' is copied: pass the bytes themselves, not an address")
    data = value.encode() if isinstance(value, str) else bytes(value)
    if parameter.attributes.string and not parameter.attributes.out:
        return data.partition(b"\0")[0] + b"\0"
    return data
