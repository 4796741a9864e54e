"""Large enclaves that take long to load are told of."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from enclu.base.console import Piecemeal
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    from weakref import WeakKeyDictionary

    from enclu.linux.encl import Encl

LARGE = 4096
"""Pages.  With fewer it is not the loading that takes long, but the program, or others, between two ioctls."""


class Loading:
    """To be called when an enclave is created and whenever pages have been added."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    @functools.cached_property
    def _loads(self) -> WeakKeyDictionary[Encl, Piecemeal]:
        from weakref import WeakKeyDictionary  # for enclaves alone

        return WeakKeyDictionary()

    def __call__(self, encl: Encl) -> None:
        load = self._loads.get(encl)
        if load is None:
            self._loads[encl] = Piecemeal(self._clock)
        elif len(encl.pages) >= LARGE:
            load.done(lambda seconds: _how_far(encl, seconds))


def _how_far(encl: Encl, seconds: float) -> str:
    """Not of how much: ELRANGE may be sparse."""
    evicted = sum(page.epc is None for page in encl.pages.single())
    why = f", {evicted * PAGE_SIZE >> 20:,} MiB of it evicted: a larger --epc is faster" if evicted else ""
    return f"loading an enclave: {len(encl.pages) * PAGE_SIZE >> 20:,} MiB added in {seconds:.0f} s{why}"
