"""How events are made."""

from __future__ import annotations

from typing import Any

import pytest

from enclu.base.events import Aex, PageEvicted


def test_fields_are_given_in_order_or_by_name() -> None:
    assert Aex(1, 2, 3, 4, 5, rip=6).values() == {"pid": 1, "tid": 2, "eid": 3, "tcs": 4, "vector": 5, "rip": 6}


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        ((1, 2, 3), {}, "missing 1 required positional argument: 'address'"),
        ((1, 2, 3, 4, 5), {}, "takes 5 positional arguments but 6 were given"),
        ((1, 2, 3), {"page": 4}, "unexpected keyword argument 'page'"),
        ((1, 2, 3, 4), {"address": 5}, "multiple values for argument 'address'"),
    ],
)
def test_fields_that_are_missing_too_many_or_unknown_are_refused(values: Any, named: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        PageEvicted(*values, **named)
