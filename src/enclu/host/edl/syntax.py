"""What an EDL file declares, as Intel's edger8r understands the language (Intel SGX Developer Reference, "EDL").

Each declaration prints itself as EDL, so that an interface whose imports are resolved is an EDL file again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from pathlib import Path

from enclu.host.errors import HostError

BUILTIN_TYPES = frozenset(
    {
        "void", "char", "unsigned char", "short", "short int", "unsigned short", "unsigned short int", "int",
        "unsigned", "unsigned int", "long", "long int", "unsigned long", "unsigned long int", "long long",
        "unsigned long long", "float", "double", "long double", "size_t", "wchar_t", "int8_t", "int16_t", "int32_t",
        "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Position:
    """Where in which file."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class EdlError(HostError):
    """An EDL file that edger8r would not take, or that cannot be read: file, line, column, and what is wrong."""

    def __init__(self, position: Position | str | Path, message: str) -> None:
        super().__init__(f"{position}: {message}")


class Kind(enum.Enum):
    """What a type's name is the name of."""

    BUILTIN = ""
    STRUCT = "struct "
    UNION = "union "
    ENUM = "enum "
    FOREIGN = "foreign"  # a typedef in some C header


@dataclass(frozen=True)
class CType:
    """A C type: a name, and how many asterisks follow it."""

    name: str
    kind: Kind
    pointers: int = 0

    def pointed_to(self) -> CType:
        return replace(self, pointers=self.pointers - 1)

    @property
    def is_void(self) -> bool:
        return self.name == "void" and not self.pointers

    def __str__(self) -> str:
        prefix = "" if self.kind is Kind.FOREIGN else self.kind.value
        return f"{prefix}{self.name}{'*' * self.pointers}"


Count = int | str  # a number, or the name of the parameter that holds it


@dataclass(frozen=True)
class Attributes:
    """What the brackets before a parameter or member say."""

    into: bool = False  # "in"
    out: bool = False
    user_check: bool = False
    string: bool = False
    wstring: bool = False
    isptr: bool = False
    isary: bool = False
    readonly: bool = False
    size: Count | None = None
    count: Count | None = None
    sizefunc: str | None = None

    @property
    def has_direction(self) -> bool:
        return self.into or self.out

    @property
    def has_size(self) -> bool:
        return self.size is not None or self.count is not None or self.sizefunc is not None

    def __str__(self) -> str:
        flags = ("into", "out", "user_check", "string", "wstring", "isptr", "isary", "readonly")
        words = ["in" if flag == "into" else flag for flag in flags if getattr(self, flag)]
        words += [
            f"{key}={value}" for key in ("size", "count", "sizefunc") if (value := getattr(self, key)) is not None
        ]
        return f"[{', '.join(words)}] " if words else ""


@dataclass(frozen=True)
class Variable:
    """A parameter of a function, or a member of a structure."""

    name: str
    type: CType
    attributes: Attributes = Attributes()
    dimensions: tuple[int, ...] = ()
    const: bool = False
    position: Position | None = field(default=None, compare=False, repr=False)

    @property
    def is_pointer(self) -> bool:
        """Passed by address: by type, as an array, or as a typedef said to be a pointer or an array."""
        return bool(self.type.pointers or self.dimensions or self.attributes.isptr or self.attributes.isary)

    def __str__(self) -> str:
        dimensions = "".join(f"[{n}]" for n in self.dimensions)
        return f"{self.attributes}{'const ' if self.const else ''}{self.type} {self.name}{dimensions}"


@dataclass(frozen=True)
class Function:
    """What ECALLs and OCALLs have in common."""

    name: str
    returns: CType
    parameters: tuple[Variable, ...]
    switchless: bool = False
    position: Position | None = field(default=None, compare=False, repr=False)

    def _prototype(self) -> str:
        return f"{self.returns} {self.name}({', '.join(map(str, self.parameters))})"

    def _switchless(self) -> str:
        return " transition_using_threads" if self.switchless else ""


@dataclass(frozen=True)
class Ecall(Function):
    """A trusted function.  One that is not public can be called only during OCALLs that allow it."""

    public: bool = False

    def __str__(self) -> str:
        return f"{'public ' if self.public else ''}{self._prototype()}{self._switchless()}"


@dataclass(frozen=True)
class Ocall(Function):
    """An untrusted function."""

    allow: tuple[str, ...] = ()
    propagate_errno: bool = False
    specifiers: tuple[str, ...] = ()  # cdecl, stdcall, fastcall, dllimport

    def __str__(self) -> str:
        specifiers = f"[{', '.join(self.specifiers)}] " if self.specifiers else ""
        allow = f" allow({', '.join(self.allow)})" if self.allow else ""
        errno = " propagate_errno" if self.propagate_errno else ""
        return f"{specifiers}{self._prototype()}{allow}{errno}{self._switchless()}"


@dataclass(frozen=True)
class Composite:
    """A struct or union with its members."""

    name: str
    kind: Kind
    members: tuple[Variable, ...]
    position: Position | None = field(default=None, compare=False, repr=False)

    @property
    def deep_copied(self) -> bool:
        """Whether pointers of it are followed when the structure is passed."""
        return any(member.attributes.has_size for member in self.members)

    def __str__(self) -> str:
        members = "".join(f"        {member};\n" for member in self.members)
        return f"{self.kind.value}{self.name} {{\n{members}    }}"


@dataclass(frozen=True)
class Enumeration:
    """An enum; one without a name has the name ""."""

    name: str
    values: tuple[tuple[str, Count | None], ...]
    position: Position | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        values = ", ".join(name if value is None else f"{name} = {value}" for name, value in self.values)
        return f"enum {self.name + ' ' if self.name else ''}{{ {values} }}"


@dataclass(frozen=True)
class Import:
    """`from "x.edl" import a, b` or `import *`."""

    path: str
    names: tuple[str, ...]  # empty: all
    position: Position | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class EdlFile:
    """One file, as it was written; its imports not followed."""

    path: str
    includes: tuple[str, ...] = ()
    imports: tuple[Import, ...] = ()
    composites: tuple[Composite | Enumeration, ...] = ()
    ecalls: tuple[Ecall, ...] = ()
    ocalls: tuple[Ocall, ...] = ()
