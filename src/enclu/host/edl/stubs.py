"""A Python module for an interface: a class with a method for each ECALL, and a Protocol of the OCALLs."""

from __future__ import annotations

from collections.abc import Iterable

from enclu.host.edl.declarations import Declarations
from enclu.host.edl.methods import identifier, method_name
from enclu.host.edl.sdk_files import SERVED
from enclu.host.edl.syntax import CType, Ecall, Enumeration, Kind, Ocall, Variable

_FLOATS = ("float", "double", "long double")


def module(interface: Declarations) -> str:
    """The text of the module.  It needs nothing but enclu: the interface is in it."""
    name = "".join(part.capitalize() for part in interface.name.replace("-", "_").split("_")) or "Enclave"
    calls = name if name.isidentifier() else f"Enclave{name}"
    lines = [
        f'"""ECALLs and OCALLs of {interface.name}.edl, by which `enclu edl` wrote this."""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Sequence",
        "from typing import Any, Protocol",
        "",
        "from enclu.host.edl.calls import Calls, Pointer, parsed",
        "",
        "INTERFACE = parsed(",
        '    r"""',
        *str(interface).rstrip().splitlines(),
        '""",',
        f"    {interface.path!r},",
        ")",
        *_enumerations(interface),
        "",
        "",
        f"class {calls}Ocalls(Protocol):",
        '    """What the enclave calls: `load` takes an object with these methods."""',
        *_methods(_ocall(ocall) for ocall in interface.ocalls if ocall.name not in SERVED),
        "",
        "",
        f"class {calls}(Calls):",
        '    """The enclave\'s functions.  All raise SdkError for a status other than SGX_SUCCESS."""',
        "",
        "    interface = INTERFACE",
        *_methods(_ecall(ecall) for ecall in interface.ecalls),
        "",
    ]
    return "\n".join(lines)


def _methods(methods: Iterable[list[str]]) -> list[str]:
    lines: list[str] = []
    for method in methods:
        lines += ["", *method]
    return lines


def _enumerations(interface: Declarations) -> list[str]:
    """Constants of the enumerations, where their values are numbers."""
    lines: list[str] = []
    for composite in interface.composites:
        if not isinstance(composite, Enumeration):
            continue
        following: int | None = 0
        for name, value in composite.values:
            following = value if isinstance(value, int) else following if value is None else None
            if following is None:
                break
            lines.append(f"{identifier(name)} = {following}")
            following += 1
    return ["", *lines] if lines else []


def _ecall(ecall: Ecall) -> list[str]:
    parameters = ["self", *(f"{identifier(p.name)}: {_into(p)}" for p in ecall.parameters)]
    names = "".join(f", {identifier(parameter.name)}" for parameter in ecall.parameters)
    result = _value(ecall.returns)
    call = f"self._call({ecall.name!r}{names}, timeout=timeout)"
    private = "" if ecall.public else "  Only during OCALLs that allow it."
    declared = ", ".join([*parameters, "*", "timeout: float | None = None"])
    return [
        f"    def {method_name(ecall.name)}({declared}) -> {result}:",
        f'        """`{_prototype(ecall)}`{private}"""',
        f"        {call}" if result == "None" else f"        result: {result} = {call}",
        *([] if result == "None" else ["        return result"]),
    ]


def _ocall(ocall: Ocall) -> list[str]:
    parameters = ["self", *(f"{identifier(p.name)}: {_out_of(p)}" for p in ocall.parameters)]
    allow = f"  May call {', '.join(ocall.allow)}." if ocall.allow else ""
    return [
        f"    def {method_name(ocall.name)}({', '.join(parameters)}) -> {_value(ocall.returns)}:",
        f'        """`{_prototype(ocall)}`{allow}"""',
        "        ...",
    ]


def _prototype(function: Ecall | Ocall) -> str:
    return f"{function.returns} {function.name}({', '.join(map(str, function.parameters))})"


def _value(type: CType) -> str:
    """What a value is in Python."""
    if type.is_void:
        return "None"
    if type.pointers:
        return "int"
    if type.kind is Kind.BUILTIN:
        return "float" if type.name in _FLOATS else "int"
    if type.kind is Kind.ENUM:
        return "int"
    return "Any" if type.kind is Kind.FOREIGN else "bytes"


def _into(parameter: Variable) -> str:
    """What an ECALL's parameter takes."""
    given = parameter.attributes
    if not parameter.is_pointer:
        return _value(parameter.type)
    if (given.string or given.wstring) and not given.out:
        return "str | Pointer"
    if given.into and not given.out:
        return "Pointer | Sequence[int] | Sequence[float]"
    return "Pointer"


def _out_of(parameter: Variable) -> str:
    """What an OCALL's parameter is given."""
    given = parameter.attributes
    if not parameter.is_pointer:
        return _value(parameter.type)
    if given.user_check or given.sizefunc is not None:
        return "int"
    if given.string or given.wstring:
        return "bytearray | None" if given.out else "str | None" if given.wstring else "bytes | None"
    return "Any"
