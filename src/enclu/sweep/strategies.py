"""Hypothesis's strategies for behaviours of hosts.  Needs Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from enclu.sweep.behaviour import INTERRUPT, PAGE_FAULT, Action, Behaviour, Move

_RESUME = Action(Move.RESUME)


def behaviours(
    events: st.SearchStrategy[str] | None = None, *, blocks: int = 0, size: int = 8
) -> st.SearchStrategy[Behaviour]:  # fmt: skip
    """What a host may do at one instruction, and then resume.

    Events are those that a host can bring about, unless given.  With `blocks`, it may change the first `size` bytes of
    so many blocks of the memory that it shares with the enclave.
    """
    moves = [st.just(Action(Move.HANDLE)), st.just(Action(Move.AGAIN)), st.just(Action(Move.OTHER))]
    if blocks:
        moves.insert(0, _writes(blocks, size))
    return st.builds(
        lambda event, actions: Behaviour(event, (*actions, _RESUME)),
        events if events is not None else st.sampled_from((INTERRUPT, PAGE_FAULT)),
        st.lists(st.one_of(moves), max_size=3).map(tuple),
    )  # fmt: skip


def simpler(behaviour: Behaviour) -> st.SearchStrategy[Behaviour]:
    """Those with some of its actions, and with fewer of its bytes changed; an interrupt where that will do."""
    events = [INTERRUPT, behaviour.event] if behaviour.event != INTERRUPT else [INTERRUPT]
    actions = [action for action in behaviour.actions if action.move is not Move.RESUME]

    def made(event: str, kept: list[bool], lengths: list[int]) -> Behaviour:
        chosen = []
        for action, keep, length in zip(actions, kept, lengths, strict=True):
            if keep:
                chosen.append(_shorter(action, length))
        return Behaviour(event, (*chosen, _RESUME))

    count = len(actions)
    most = [max(1, len(action.data)) for action in actions]
    return st.builds(
        made, st.sampled_from(events), st.lists(st.booleans(), min_size=count, max_size=count),
        st.tuples(*(st.integers(1, n) for n in most)).map(list),
    )  # fmt: skip


def _shorter(action: Action, length: int) -> Action:
    if action.move is not Move.WRITE:
        return action
    return Action(Move.WRITE, action.block, action.offset, action.data[:length])


def _writes(blocks: int, size: int) -> st.SearchStrategy[Action]:
    return st.builds(
        lambda block, offset, data: Action(Move.WRITE, block, offset, data[: size - offset]),
        st.integers(0, blocks - 1), st.integers(0, size - 1), st.binary(min_size=1, max_size=8),
    )  # fmt: skip
