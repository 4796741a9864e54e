"""A call as people write it for `enclu sweep`: which ECALL, and with what.

sum([1, 2, 3], 3)            an ECALL by its name in the EDL file, with the arguments that it has there
0(b"\\0" * 64)               an ECALL by its number, with the bytes of its structure
poll(memory(b"\\0" * 8))     the address of untrusted memory that has these bytes
"""

from __future__ import annotations

import ast
import ctypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enclu.host.errors import HostError

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave


class CallError(HostError):
    """It is no call."""


class EcallText:
    """Raises CallError for text that is none."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        try:
            node = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError) as error:
            raise CallError(f"{text!r} is no call: {error.args[0]}") from None
        self._arguments: list[ast.expr] = []
        if isinstance(node, ast.Call):
            if node.keywords:
                raise CallError(f"{text!r}: arguments have no names")
            self._arguments, node = node.args, node.func
        if isinstance(node, ast.Name):
            self.function: int | str = node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            self.function = node.value
        else:
            raise CallError(f"{text!r}: an ECALL has a name or a number")
        for argument in self._arguments:
            _argument(argument, None)  # mistakes are told before anything is loaded

    def make(self, enclave: Enclave) -> object:
        """Make it.  Raises what `Enclave.ecall` does."""
        memory: list[int] = []
        try:
            return enclave.ecall(self.function, *(_argument(a, (enclave, memory)) for a in self._arguments))
        except (TypeError, ValueError) as error:
            raise CallError(f"{self.text}: {error}") from error
        finally:
            for address in memory:
                enclave.process.memory.free(address)


def _argument(node: ast.expr, where: tuple[Enclave, list[int]] | None) -> Any:
    """The value of one.  Raises CallError, also for what Python has no value of."""
    try:
        return _value(node, where)
    except (TypeError, ValueError, OverflowError) as error:
        raise CallError(f"{ast.unparse(node)}: {error}") from None
    except (MemoryError, RecursionError):
        raise CallError("an argument is too large") from None


def _value(node: ast.expr, where: tuple[Enclave, list[int]] | None) -> Any:
    """What an argument is: a literal, sums and products of literals, memory.  Raises CallError."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=elements):
            return [_value(element, where) for element in elements]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(_value(operand, where))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _value(left, where) * _number(_value(right, where))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, where) + _value(right, where)
        case ast.Call(func=ast.Name(id="memory"), args=[content]):
            data = _value(content, where)
            if not isinstance(data, bytes | int) or (isinstance(data, int) and data < 0):
                raise CallError("memory() has bytes, or how many zeros")
            if where is None:
                return 0
            enclave, taken = where
            taken.append(enclave.process.memory.allocate(data if isinstance(data, int) else len(data)))
            if isinstance(data, bytes):
                enclave.process.memory.write(taken[-1], data)
            return taken[-1]
        case ast.Call(func=ast.Name(id="bytearray"), args=[content]):
            return bytearray(_value(content, where))
    raise CallError(f"{ast.unparse(node)} is no argument: write numbers, bytes, lists, memory(b'...')")


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise CallError(f"{value!r} is no number")
    return value


# Of one that Python makes.


def fresh(value: Any) -> Any:
    """A copy of what an ECALL may change."""
    if isinstance(value, tuple) and hasattr(value, "_make"):  # a named one
        return value._make(map(fresh, value))
    if isinstance(value, list | tuple):
        return type(value)(map(fresh, value))
    if isinstance(value, dict):
        return {name: fresh(one) for name, one in value.items()}
    if isinstance(value, bytearray):
        return bytearray(value)
    if isinstance(value, ctypes.Structure | ctypes.Union | ctypes.Array):
        return type(value).from_buffer_copy(value)
    return value


def written(function: Any, args: Sequence[Any], named: Mapping[str, Any]) -> str:
    """The arguments of `Enclave.ecall`, and of `Enclave.sweep`."""
    return ", ".join([*map(repr, (function, *args)), *(f"{name}={value!r}" for name, value in named.items())])
