"""`-e`: which events a trace has.  Groups are made of the table of events; leaves have their own names."""

from __future__ import annotations

from enclu.base.events import TABLE, Event, Leaf
from enclu.sgx.structs import EncluLeaf

_LEAVES = {leaf.name.lower(): leaf.name for leaf in EncluLeaf}
_GROUPS = {
    "enclu": ("leaf", "leaf_refused", "leaf_faulted"),
    "aex": ("aex", "enclave_exception"),
    "fault": ("fault_resolved",),
    "fixup": ("fixup",),
    "signal": ("exception_signal", "signal_sent"),
    "ioctl": ("device_opened", "ioctl", "ioctl_refused", "mapping_refused"),
    "enclave": ("enclave_created", "enclave_initialised", "enclave_removed"),
    "paging": ("page_evicted", "page_reloaded", "page_refused", "epc_lost"),
    "process": ("process_exec", "thread_gone", "process_exit", "process_gone"),
}
"""Names for several kinds."""
assert sorted(kind.name() for kind in TABLE) == sorted(name for group in _GROUPS.values() for name in group)
WORDS = (*_GROUPS, *_LEAVES)
_OF_LEAVES = _GROUPS["enclu"]


class Filter:
    """What is wanted."""

    def __init__(self, words: str = "") -> None:
        """`words` are names of groups, kinds and leaves, with commas between; all but some begin with "!".

        Nothing at all means everything.  Raises ValueError for a name that is none.
        """
        names = {kind.name() for kind in TABLE}
        excluded = words.startswith("!")
        chosen: set[str] = set()
        self.leaves: set[str] = set()
        """Leaves by name; none: all of them, if their kinds are wanted."""
        for word in filter(None, words.removeprefix("!").split(",")):
            if word in _LEAVES:
                self.leaves.add(_LEAVES[word])
                chosen.update(_OF_LEAVES)
            elif word in _GROUPS:
                chosen.update(_GROUPS[word])
            elif word in names:
                chosen.add(word)
            else:
                raise ValueError(f"{word!r} is no event (there are: {', '.join(WORDS)}, and those of docs/events.md)")
        if excluded and self.leaves:
            chosen.difference_update(_OF_LEAVES)
            self._not, self.leaves = self.leaves, set()
        else:
            self._not = set()
        self._kinds = names - chosen if excluded or not chosen else chosen
        if not excluded and {"enclu", "leaf"} & set(words.split(",")):
            self.leaves = set()

    @property
    def kinds(self) -> list[type[Event]]:
        """To listen to."""
        return [kind for kind in TABLE if kind.name() in self._kinds]

    def wants(self, name: str, leaf: str) -> bool:
        """Whether an event of this kind is wanted, and of this leaf, if it is one's."""
        return name in self._kinds and (not leaf or self.wants_leaf(leaf))

    def wants_leaf(self, leaf: str) -> bool:
        """Whether one of this name is wanted, if leaves are."""
        return (not self.leaves or leaf in self.leaves) and leaf not in self._not


assert Leaf.name() in _OF_LEAVES
