"""`-e`: which events a trace has.  Groups are made of the table of events; leaves have their own names."""

from __future__ import annotations

from enclu.base.events import TABLE, Event, Leaf
from enclu.sgx.structs import EncluLeaf

_LEAVES = {leaf.name.lower(): leaf.name for leaf in EncluLeaf}
_GROUPS = {
    "enclu": ("leaf", "leaves_lost", "leaf_refused", "leaf_faulted"),
    "aex": ("aex", "enclave_exception", "aep_faulted"),
    "fault": ("fault_resolved",),
    "fixup": ("fixup",),
    "signal": ("exception_signal", "signal_sent"),
    "ioctl": ("device_opened", "ioctl", "ioctl_refused", "mapping_refused"),
    "enclave": ("enclave_created", "enclave_initialised", "enclave_removed"),
    "paging": ("page_evicted", "page_reloaded", "page_removed", "page_refused", "epc_lost"),
    "process": ("process_exec", "thread_gone", "process_exit", "process_gone"),
}
"""Names for several kinds."""
assert sorted(kind.name() for kind in TABLE) == sorted(name for group in _GROUPS.values() for name in group)
WORDS = (*_GROUPS, *_LEAVES)


class Filter:
    """What is wanted."""

    def __init__(self, words: str = "") -> None:
        """`words` are names of groups, kinds and leaves, with commas between; all but some begin with "!".

        Nothing at all means everything.  Raises ValueError for a name that is none.
        """
        names = {kind.name() for kind in TABLE}
        kinds, leaves = set[str](), set[str]()
        for word in filter(None, words.removeprefix("!").split(",")):
            if word in _LEAVES:
                leaves.add(_LEAVES[word])
            elif word in _GROUPS:
                kinds.update(_GROUPS[word])
            elif word in names:
                kinds.add(word)
            else:
                raise ValueError(f"{word!r} is no event (there are: {', '.join(WORDS)}, and those of docs/events.md)")
        if words.startswith("!"):
            self._kinds, self._leaves = names - kinds, set(_LEAVES.values()) - leaves
        else:
            self._kinds = kinds.union(_GROUPS["enclu"] if leaves else ()) or names
            self._leaves = leaves if leaves and Leaf.name() not in kinds else set(_LEAVES.values())

    @property
    def kinds(self) -> list[type[Event]]:
        """To listen to."""
        return [kind for kind in TABLE if kind.name() in self._kinds]

    def wants(self, name: str, leaf: str) -> bool:
        """Whether an event of this kind is wanted, and of this leaf, if it is one's."""
        return name in self._kinds and (not leaf or self.wants_leaf(leaf))

    def wants_leaf(self, leaf: str) -> bool:
        """Whether one of this name is wanted, if leaves are; one that does not exist is with all of them."""
        return leaf in self._leaves or leaf not in _LEAVES.values()
