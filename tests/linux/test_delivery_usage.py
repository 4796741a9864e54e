"""Declarations of how programs use a design: those that nobody could follow are refused."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from enclu.linux.delivery.base import Delivery
from enclu.linux.delivery.usage import Entry, OwnEnclu, Registration, VdsoEnclu, VdsoFunction
from enclu.sgx.layout import Structure

INFO = Structure("info", 24, (0, "leaf", "I"), (4, "trap", "I"), (8, "code", "Q"), (16, "address", "Q"))
TOLD = {"leaf": "leaf", "vector": "trap", "error_code": "code", "address": "address"}
HANDLER = Registration(1, Structure("h", 8, (0, "handler", "Q")), 2)
TARGET = Registration(1, Structure("t", 8, (0, "target", "Q")), 2)
FLAGS = Registration(1, Structure("f", 8, (0, "flags", "Q")), 2)


def test_what_a_function_can_do_follows_from_its_arguments() -> None:
    function = VdsoFunction(("tcs", "rsi", "rdi", "info"), INFO, TOLD, kept=("r10",))
    assert function.registers == ("rdi", "rsi", "r10") and not function.resumes
    assert VdsoFunction(("leaf", "tcs", "info"), INFO, TOLD).resumes


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"arguments": ("tcs", "rbx", "info")}, "no argument is called 'rbx'"),
        ({"arguments": ("tcs", *["rdi"] * 7)}, "more than 7 arguments"),
        ({"arguments": ("rdi", "info")}, "nothing tells it the TCS"),
        ({"info": Structure("info", 264, *INFO.fields)}, "info is larger than 256 bytes"),
        ({"fields": {**TOLD, "colour": "leaf"}}, "'colour'"),
        ({"fields": {**TOLD, "tcs": "nonsense"}}, "'nonsense'"),
        ({"fields": {"leaf": "leaf"}}, "does not tell leaf, vector, error_code and address"),
    ],
)
def test_a_function_that_nobody_can_call_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VdsoFunction(**{"arguments": ("tcs", "rdi", "info"), "info": INFO, "fields": TOLD, **changed})


def test_a_registration_that_nobody_can_fill_is_refused() -> None:
    with pytest.raises(ValueError, match=r"h\.colour: nobody can fill it"):
        Registration(1, Structure("h", 8, (0, "colour", "Q")), 2)
    with pytest.raises(ValueError, match="larger than 256 bytes"):
        Registration(1, Structure("h", 512, (0, "handler", "Q")), 2)


@pytest.mark.parametrize(
    ("entered", "registered"),
    [
        (OwnEnclu(), TARGET),
        (OwnEnclu(), FLAGS),
        (VdsoEnclu(), None),
        (VdsoEnclu(), HANDLER),
        (VdsoFunction(("tcs", "info"), INFO, TOLD), HANDLER),
    ],
)
def test_an_entry_and_a_registration_that_do_not_go_together_are_refused(
    entered: Entry, registered: Registration | None
) -> None:
    with pytest.raises(ValueError, match="registered"):

        class Odd(Delivery):
            name: ClassVar[str] = "odd"
            entry: ClassVar[Entry] = entered
            registration: ClassVar[Registration | None] = registered


def test_a_function_may_have_something_registered_that_is_no_address() -> None:
    class Plain(Delivery):
        name: ClassVar[str] = "plain"
        entry: ClassVar[Entry] = VdsoFunction(("tcs", "info"), INFO, TOLD)
        registration: ClassVar[Registration | None] = FLAGS
