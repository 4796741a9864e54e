"""fork(2) of a Python program that has processes with enclaves: they stay its own, and are not its children's."""

from __future__ import annotations

import contextlib
import os
import weakref

_generation = 0
_inherited: weakref.WeakKeyDictionary[object, tuple[int, ...]] = weakref.WeakKeyDictionary()


def generation() -> int:
    """Changes with each fork, in the child."""
    return _generation


def close_in_children(owner: object, *fds: int) -> None:
    """Descriptors that no child shall keep: as long as they are open, the owner's process lives."""
    _inherited[owner] = fds


def forget(owner: object) -> None:
    """The descriptors are closed."""
    _inherited.pop(owner, None)


def _in_child() -> None:
    global _generation
    _generation += 1
    for fds in list(_inherited.values()):
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
    _inherited.clear()


os.register_at_fork(after_in_child=_in_child)
