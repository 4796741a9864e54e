"""The structures `ms_FUNCTION_t` in which edger8r has arguments go between enclave and host."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from enclu.host.edl.syntax import Count, Ecall, EdlError, Function, Kind, Ocall, Variable
from enclu.host.edl.types import POINTER, Type, Types

RETVAL = "ms_retval"
ERRNO = "ocall_errno"


def member(name: str) -> str:
    return f"ms_{name}"


def length_member(name: str) -> str:
    return f"ms_{name}_len"


def marshalling_structure(function: Function, types: Types, *, string_lengths: bool = True) -> Type | None:
    """The structure of a function's arguments and result; None where there are none, and the pointer to it is NULL.

    The SDK has the lengths of ECALLs' strings in it since release 2.1.2; for enclaves older than that,
    `string_lengths` is to be False.
    """
    fields: list[tuple[str, Type]] = []
    if not function.returns.is_void:
        fields.append((RETVAL, types.of(function.returns, function.position)))
    if isinstance(function, Ocall) and function.propagate_errno:
        fields.append((ERRNO, ctypes.c_int))
    for parameter in function.parameters:
        fields.append((member(parameter.name), POINTER if parameter.is_pointer else _by_value(parameter, types)))
        text = parameter.attributes.string or parameter.attributes.wstring
        if text and isinstance(function, Ecall) and string_lengths:
            fields.append((length_member(parameter.name), ctypes.c_size_t))
    if not fields:
        return None
    return type(f"ms_{function.name}_t", (ctypes.Structure,), {"_fields_": fields})


def _by_value(parameter: Variable, types: Types) -> Type:
    return types.of(parameter.type, parameter.position)


def element(parameter: Variable, types: Types) -> Type | None:
    """What a pointer points to, one of them; None if that is not known (a void pointer, a pointer by typedef)."""
    target = parameter.type
    if not parameter.dimensions and not parameter.attributes.isary:
        if not target.pointers:
            return None
        target = target.pointed_to()
    if target.is_void:
        return None
    if target.kind is Kind.FOREIGN and (parameter.attributes.user_check or parameter.attributes.size is not None):
        try:  # its size decides nothing here
            return types.of(target)
        except EdlError:
            return None
    return types.of(target, parameter.position)


def length(parameter: Variable, types: Types, values: Mapping[str, Any]) -> int | None:
    """How many bytes go with a pointer, given the other arguments; None if its function says, or the string itself."""
    given = parameter.attributes
    if given.string or given.wstring or given.sizefunc is not None or given.user_check:
        return None
    if parameter.dimensions:
        size, count = ctypes.sizeof(types.array(parameter)), 1
    else:
        if given.size is not None:
            size = _value(given.size, parameter, values)
        else:
            one = element(parameter, types)
            if one is None:
                raise EdlError(
                    parameter.position or "", f"what `{parameter.type} {parameter.name}' points to has no known size"
                )
            size = ctypes.sizeof(one)
        count = 1 if given.count is None else _value(given.count, parameter, values)
    if size < 0 or count < 0:
        raise ValueError(f"`{parameter.name}' would have {count} times {size} bytes")
    return size * count


def _value(count: Count, parameter: Variable, values: Mapping[str, Any]) -> int:
    if isinstance(count, int):
        return count
    value = values[count]
    if not isinstance(value, int):
        raise TypeError(f"`{count}', of which `{parameter.name}' takes its size, is {value!r} and not an int")
    return value
