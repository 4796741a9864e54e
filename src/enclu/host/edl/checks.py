"""What edger8r refuses though its grammar takes it: attributes that contradict each other or the type.

The rules are those of edger8r's parser (get_param_ptr_attr, check_ptr_attr and others in sdk/edger8r/linux/Parser.mly).
"""

from __future__ import annotations

from enclu.host.edl.syntax import (
    BUILTIN_TYPES,
    Attributes,
    Composite,
    Count,
    CType,
    EdlError,
    Function,
    Kind,
    Position,
    Variable,
)

_FLAGS = {
    "in": "into", "out": "out", "user_check": "user_check", "string": "string", "wstring": "wstring",
    "isptr": "isptr", "isary": "isary", "readonly": "readonly",
}  # fmt: skip
_VALUES = ("size", "count", "sizefunc")
_CONVENTIONS = {"cdecl", "stdcall", "fastcall"}
# Names that differ only by an `int` that C lets one leave out.
_SHORTER = {
    "short int": "short", "unsigned short int": "unsigned short", "unsigned": "unsigned int", "long int": "long",
    "unsigned long int": "unsigned long",
}  # fmt: skip


def builtin(words: str) -> CType:
    """The type that these words name."""
    if words not in BUILTIN_TYPES:
        raise ValueError(f"there is no type `{words}'")
    return CType(_SHORTER.get(words, words), Kind.BUILTIN)


def attributes(pairs: list[tuple[str, Count | None]], position: Position) -> Attributes:
    """The attributes of a parameter or member."""
    found: dict[str, bool | Count] = {}
    for name, value in pairs:
        key = _FLAGS.get(name, name if name in _VALUES else None)
        if key is None:
            raise EdlError(position, f"unknown attribute `{name}'")
        if key in found:
            raise EdlError(position, f"attribute `{name}' twice")
        if (name in _VALUES) != (value is not None):
            needed = "a value" if name in _VALUES else "no value"
            raise EdlError(position, f"attribute `{name}' takes {needed}")
        if name == "sizefunc" and not isinstance(value, str):
            raise EdlError(position, f"`sizefunc' takes the name of a function, not {value}")
        found[key] = True if value is None else value
    return Attributes(**found)  # type: ignore[arg-type]


def specifiers(pairs: list[tuple[str, Count | None]], position: Position) -> tuple[str, ...]:
    """The attributes of an untrusted function: a calling convention, dllimport."""
    names = tuple(name for name, _ in pairs)
    for name, value in pairs:
        if name not in _CONVENTIONS | {"dllimport"} or value is not None:
            raise EdlError(position, f"`{name}' is not an attribute of a function")
    if len(_CONVENTIONS & set(names)) > 1 or len(set(names)) != len(names):
        raise EdlError(position, f"only one of `{', '.join(names)}' can be")
    return names


def function(declared: Function) -> None:
    """A function whose parameters can be marshalled."""
    for parameter in declared.parameters:
        problem = _problem(parameter)
        if problem:
            raise EdlError(parameter.position or declared.position or "", f"parameter `{parameter.name}': {problem}")
    names = [parameter.name for parameter in declared.parameters]
    for i, parameter in enumerate(declared.parameters):
        where = parameter.position or declared.position or ""
        if parameter.name in names[:i]:
            raise EdlError(where, f"two parameters are called `{parameter.name}'")
        for key in ("size", "count"):
            value = getattr(parameter.attributes, key)
            if isinstance(value, str) and value not in names:
                raise EdlError(where, f"`{key}={value}' names no parameter of `{declared.name}'")


def _problem(parameter: Variable) -> str | None:
    given, type = parameter.attributes, parameter.type
    if type.is_void and not parameter.dimensions:
        return "cannot be `void'"
    if not parameter.is_pointer:
        if given != Attributes():
            return f"`{type}' is passed by value and takes no attributes of pointers"
        return "`const' is for pointers" if parameter.const else None
    foreign = type.kind is Kind.FOREIGN
    if (given.isptr or given.isary) and not (foreign and not type.pointers):
        return f"`isptr' and `isary' are for types that a C header defines, not for `{type}'"
    if given.readonly and not (foreign and given.isptr):
        return "`readonly' is for `isptr'"
    return _contradiction(parameter)


def _contradiction(parameter: Variable) -> str | None:
    """Attributes of a pointer that do not go together, or not with its type."""
    given, type = parameter.attributes, parameter.type
    text = given.string or given.wstring
    if given.string and given.wstring:
        return "`string' or `wstring', not both"
    if given.isary and (given.isptr or text or given.has_size):
        return "`isary' goes with neither `isptr', strings nor sizes"
    if given.has_size and text:
        return "a string's size is its own"
    if given.user_check and given.has_direction:
        return "`user_check' excludes `in' and `out'"
    if not given.user_check and not given.has_direction:
        return "a pointer needs `in', `out' or `user_check'"
    if (given.has_size or text) and not given.has_direction:
        return "sizes and strings need `in' or `out'"
    if text and not given.into:
        return "a string needs `in'"
    if type.name == "void" and type.kind is Kind.BUILTIN and type.pointers == 1 and not parameter.dimensions:
        if not given.user_check and given.size is None and given.sizefunc is None:
            return "what a void pointer points to needs a size"
        return None
    if parameter.dimensions and (type.pointers or given.isptr):
        return "arrays of pointers cannot be"
    if parameter.dimensions and (given.has_size or given.isary):
        return "an array's size is in its brackets"
    if (parameter.const or given.readonly) and given.out:
        return "it is read only, so not `out'"
    if given.string and not (type.name in ("char", "unsigned char") and type.pointers == 1):
        return f"`string' is for `char*', not for `{type}'"
    if given.wstring and not (type.name == "wchar_t" and type.pointers == 1):
        return f"`wstring' is for `wchar_t*', not for `{type}'"
    return None


def composite(declared: Composite) -> None:
    """A structure or union whose members can be laid out."""
    names = [member.name for member in declared.members]
    for i, member in enumerate(declared.members):
        where = member.position or declared.position or ""
        given = member.attributes
        if member.name in names[:i]:
            raise EdlError(where, f"two members are called `{member.name}'")
        if member.type.is_void:
            raise EdlError(where, f"member `{member.name}' cannot be `void'")
        if given != Attributes() and declared.kind is Kind.UNION:
            raise EdlError(where, f"member `{member.name}': a union's members take no attributes")
        if given != Attributes(size=given.size, count=given.count):
            raise EdlError(where, f"member `{member.name}': a member's attributes are `size' and `count'")
        if given.has_size and not member.is_pointer:
            raise EdlError(where, f"member `{member.name}' is no pointer and takes no size")
        for value in (given.size, given.count):
            if isinstance(value, str) and value not in names:
                raise EdlError(where, f"member `{member.name}': `{value}' is no member of `{declared.name}'")
