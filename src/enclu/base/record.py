"""Classes of plain fields, declared as those of `dataclasses` are.

`dataclasses` writes the functions of each class as a text and compiles it, and loads `inspect` to do so.  That was much
of what it takes to start enclu, which every program waits for.  Here all classes have the same few functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, overload

C = TypeVar("C")
T = TypeVar("T")
_NOTHING = object()


class _Field:
    """What `field` says of one."""

    __slots__ = ("default", "init", "make")

    def __init__(self, init: bool, default: Any, make: Callable[[], Any] | None) -> None:
        self.init = init
        self.default = default
        self.make = make

    def value(self) -> Any:
        return self.default if self.make is None else self.make()


_NEEDED = _Field(True, _NOTHING, None)
"""One without a default."""


def field(*, init: bool = True, default: Any = _NOTHING, default_factory: Callable[[], Any] | None = None) -> Any:
    """A field that is not given to __init__() (`init`), or whose default is made for each object."""
    return _Field(init, default, default_factory)


@overload
def record(cls: type[C], /) -> type[C]: ...
@overload
def record(
    *, frozen: bool = ..., eq: bool = ..., kw_only: bool = ..., slots: bool = ..., weakref_slot: bool = ...
) -> Callable[[type[C]], type[C]]: ...
@dataclass_transform(field_specifiers=(field,))
def record(cls: type[C] | None = None, /, **options: bool) -> type[C] | Callable[[type[C]], type[C]]:
    """Give the class __init__(), __repr__() and, unless `eq` is false, __eq__(), by the fields that it declares.

    Objects of a `frozen` class stay as they are made, and can be keys.  With `kw_only` the fields that it adds to those
    of the class above are given by name.  With `slots` an object has these fields and no other attributes.
    __post_init__() is called last, if there is one.
    """
    return _made(cls, **options) if cls is not None else lambda cls: _made(cls, **options)


def names(of: Any) -> tuple[str, ...]:
    """The fields of a record, or of a class of records, in order."""
    return tuple(of._fields)


def replace(old: T, **changes: Any) -> T:
    """A record that differs from another by these fields."""
    given: Any = old
    return type(old)(**{**{name: getattr(old, name) for name in given._parameters}, **changes})


def _made(
    cls: Any, *, frozen: bool = False, eq: bool = True, kw_only: bool = False, slots: bool = False,
    weakref_slot: bool = False,
) -> Any:  # fmt: skip
    inherited: dict[str, _Field] = getattr(cls, "_fields", {})
    fields = inherited.copy()
    for name, kind in cls.__annotations__.items():
        if not kind.startswith("ClassVar"):
            fields[name] = _field_of(cls, name)
    if slots:
        cls = _slotted(cls, [name for name in fields if name not in inherited], weakref_slot)
    cls._fields = fields
    cls._parameters = [name for name, declared in fields.items() if declared.init]
    cls._by_position = len(getattr(cls.__base__, "_parameters", ())) if kw_only else len(cls._parameters)
    cls.__init__ = _init
    if "__repr__" not in cls.__dict__:
        cls.__repr__ = _shown
    if eq:
        cls.__eq__ = _equal
        cls.__hash__ = _hash if frozen else None
    if frozen:
        cls.__setattr__ = cls.__delattr__ = _refuse
    return cls


def _field_of(cls: Any, name: str) -> _Field:
    value = cls.__dict__.get(name, _NOTHING)
    if value is _NOTHING:
        return _NEEDED
    if not isinstance(value, _Field):
        return _Field(True, value, None)
    delattr(cls, name)
    return value


def _slotted(cls: Any, fields: list[str], weakref_slot: bool) -> Any:
    """The same class with slots, which must not have defaults in it."""
    left_out = (*fields, "__dict__", "__weakref__")
    body = {name: value for name, value in cls.__dict__.items() if name not in left_out}
    body["__slots__"] = (*fields, "__weakref__") if weakref_slot else tuple(fields)
    return type(cls)(cls.__name__, cls.__bases__, body)


def _init(self: Any, *values: Any, **named: Any) -> None:
    given = dict(zip(self._parameters, values, strict=False))
    for name, declared in self._fields.items():
        if name in given:
            continue
        if declared.init and name in named:
            given[name] = named.pop(name)
            continue
        default = declared.value()
        if default is not _NOTHING:
            given[name] = default
        elif declared.init:
            raise TypeError(f"{type(self).__name__}() needs {name}")
    if named or len(values) > self._by_position:
        what = f"no {', '.join(named)}" if named else f"{self._by_position} values by position, not {len(values)}"
        raise TypeError(f"{type(self).__name__}() takes {what}")
    for name, value in given.items():
        object.__setattr__(self, name, value)
    finish = getattr(self, "__post_init__", None)
    if finish is not None:
        finish()


def _shown(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self._fields)


def _equal(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse(self: object, name: str, *_value: object) -> None:
    raise AttributeError(f"{name} of {type(self).__name__} stays as it is")
