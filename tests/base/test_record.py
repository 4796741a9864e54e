"""Records are what `dataclasses` would make of the same declarations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from enclu.base import record as records

Maker = Callable[..., Any]


def plain(decorate: Maker, field: Maker) -> Any:
    @decorate
    class Plain:
        number: int
        text: str = "none"
        items: list[int] = field(default_factory=list)
        SHARED: ClassVar[int] = 5

        def __post_init__(self) -> None:
            self.items.append(self.number)

    return Plain


def frozen(decorate: Maker, field: Maker) -> Any:
    @decorate(frozen=True)
    class Frozen:
        number: int
        text: str = "none"

    return Frozen


def derived(decorate: Maker, field: Maker) -> Any:
    @decorate(eq=False)
    class Base:
        number: int
        text: str = "none"

    @decorate(eq=False, kw_only=True)
    class Derived(Base):
        needed: int
        more: list[int] = field(default_factory=list)

    return Derived


def slotted(decorate: Maker, field: Maker) -> Any:
    @decorate(eq=False, slots=True, weakref_slot=True)
    class Slotted:
        number: int
        doubled: int = field(init=False)
        seen: bool = field(init=False, default=False)

        def __post_init__(self) -> None:
            self.doubled = self.number * 2

    @decorate(eq=False, slots=True)
    class More(Slotted):
        text: str = "none"

    return More


CALLS: dict[Maker, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    plain: [((1,), {}), ((1, "a"), {}), ((), {"text": "b", "number": 2}), ((1, "a", [7]), {})],
    frozen: [((1,), {}), ((1,), {"text": "c"})],
    derived: [((1,), {"needed": 2}), ((1, "a"), {"needed": 2, "more": [3]})],
    slotted: [((1,), {}), ((1, "a"), {}), ((), {"number": 4})],
}
WRONG: dict[Maker, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    plain: [((), {}), ((1, "a", [], 4), {}), ((1,), {"number": 1}), ((1,), {"other": 1})],
    frozen: [((), {"text": "a"})],
    derived: [((1,), {}), ((1, "a", 2), {}), ((1, "a"), {"needed": 2, "others": 3})],
    slotted: [((), {}), ((1,), {"seen": True}), ((1,), {"doubled": 3})],
}


def both(declare: Maker) -> tuple[Any, Any]:
    return declare(records.record, records.field), declare(dataclasses.dataclass, dataclasses.field)


@pytest.mark.parametrize("declare", CALLS)
def test_they_are_made_of_the_same_arguments(declare: Maker) -> None:
    ours, theirs = both(declare)
    for values, named in CALLS[declare]:
        one, other = ours(*values, **named), theirs(*values, **named)
        fields = [field.name for field in dataclasses.fields(other)]
        assert list(records.names(one)) == list(records.names(ours)) == fields
        assert [getattr(one, name) for name in fields] == [getattr(other, name) for name in fields]
        assert repr(one) == repr(other).rpartition("<locals>.")[2]


@pytest.mark.parametrize("declare", WRONG)
def test_they_refuse_the_same_arguments(declare: Maker) -> None:
    for values, named in WRONG[declare]:
        for cls in both(declare):
            with pytest.raises(TypeError):
                cls(*values, **named)


def test_a_default_is_made_for_each() -> None:
    cls, _ = both(plain)
    assert cls(1).items is not cls(1).items


def test_equality_is_of_values_unless_it_is_not_wanted() -> None:
    cls, _ = both(plain)
    assert cls(1) == cls(1) and cls(1) != cls(2) and cls(1) != (1, "none", [1])
    cls, _ = both(derived)
    assert cls(1, needed=2) != cls(1, needed=2)


def test_a_frozen_one_can_be_a_key_and_stays_as_it_is() -> None:
    cls, _ = both(frozen)
    one = cls(1)
    assert {one: "found"}[cls(1)] == "found"
    with pytest.raises(AttributeError, match="number"):
        one.number = 2
    with pytest.raises(AttributeError, match="number"):
        del one.number
    with pytest.raises(TypeError):
        hash(both(plain)[0](1))


def test_another_differs_by_what_is_replaced() -> None:
    cls, _ = both(frozen)
    one = cls(1, "a")
    assert records.replace(one, number=2) == cls(2, "a") and one == cls(1, "a")


def test_slots_leave_no_room_for_more() -> None:
    cls, _ = both(slotted)
    with pytest.raises(AttributeError):
        cls(1).other = 2
