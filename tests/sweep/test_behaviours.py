"""What a host does at an instruction, as text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclu.sweep.behaviour import Action, Behaviour, BehaviourError, Move
from enclu.sweep.strategies import behaviours, simpler


def test_an_event_and_what_the_host_does_then() -> None:
    behaviour = Behaviour.parse("pf:handle,write=2+8=00ff,other,resume")
    assert behaviour == Behaviour(
        "pf", (Action(Move.HANDLE), Action(Move.WRITE, 2, 8, b"\0\xff"), Action(Move.OTHER), Action(Move.RESUME))
    )  # fmt: skip


def test_a_host_that_is_told_nothing_else_resumes() -> None:
    assert str(Behaviour.parse("int")) == "int:resume"


@given(behaviours(blocks=3))
def test_texts_are_what_they_were_made_of(behaviour: Behaviour) -> None:
    assert Behaviour.parse(str(behaviour)) == behaviour


@pytest.mark.parametrize(
    ("text", "causable"), [("int", True), ("pf", True), ("ud", False), ("gp", False), ("de", False)]
)
def test_what_a_host_can_bring_about_and_what_is_forged(text: str, causable: bool) -> None:
    assert Behaviour.parse(text).causable == causable


@pytest.mark.parametrize("event", ["int", "pf", "ud"])
def test_people_are_told_what_it_is(event: str) -> None:
    assert Behaviour.parse(event).described in (
        "an interrupt", "#PF, by withdrawing the page of the next instruction", "#UD, invalid opcode"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no event is called ''"),
        ("interrupt", "no event is called 'interrupt': int, pf, de, "),
        ("INT", "no event is called 'INT'"),
        ("mc", "no event is called 'mc'"),
        ("int:sleep", "'sleep' is nothing that a host does: resume, handle, again, other, write=BLOCK\\+OFFSET=HEX"),
        ("int:resume,", "'' is nothing that a host does"),
        ("int:write", "'write' is nothing that a host does"),
        ("int:write=0+0=f", "'write=0\\+0=f' is nothing that a host does"),
        ("int:write=0+0=", "nothing that a host does"),
        ("int:write=-1+0=ff", "nothing that a host does"),
    ],
)
def test_nonsense_is_refused(text: str, message: str) -> None:
    with pytest.raises(BehaviourError, match=message):
        Behaviour.parse(text)


@given(st.data(), behaviours(blocks=2))
def test_what_is_simpler_does_no_more(data: st.DataObject, behaviour: Behaviour) -> None:
    other = data.draw(simpler(behaviour))
    assert other.event in ("int", behaviour.event)
    assert len(other.actions) <= len(behaviour.actions) and other.actions[-1].move is Move.RESUME
    assert sum(len(action.data) for action in other.writes) <= sum(len(action.data) for action in behaviour.writes)


@given(behaviours(blocks=2, size=4))
def test_nothing_behind_the_given_size_is_changed(behaviour: Behaviour) -> None:
    assert all(action.offset + len(action.data) <= 4 and action.data for action in behaviour.writes)
