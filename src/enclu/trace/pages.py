"""How many pages each enclave has in the EPC, as far as events tell."""

from __future__ import annotations

from typing import Any

EPC_PAGES, EVICTIONS, RELOADS = "EPC pages", "evictions", "reloads"


class Pages:
    """Told of events."""

    def __init__(self) -> None:
        self._has: dict[int, int] = {}
        self._evictions: dict[int, int] = {}
        self._reloads: dict[int, int] = {}

    def event(self, name: str, values: dict[str, Any]) -> list[tuple[int, str, int]]:
        """Enclave, counter and its new value, of each that an event changes."""
        eid = values.get("eid", 0)
        if name == "enclave_initialised":
            before = self._reloads.get(eid, 0) - self._evictions.get(eid, 0)
            return [self._pages(eid, values["pages"] + before)]
        if name == "page_evicted":
            self._evictions[eid] = self._evictions.get(eid, 0) + 1
            return [(eid, EVICTIONS, self._evictions[eid]), *self._changed(eid, -1)]
        if name == "page_reloaded":
            self._reloads[eid] = self._reloads.get(eid, 0) + 1
            return [(eid, RELOADS, self._reloads[eid]), *self._changed(eid, 1)]
        if name == "fault_resolved" and values["how"] == "augmented":
            return self._changed(eid, 1)
        if name == "page_removed":
            return self._changed(eid, -1)
        if name == "enclave_removed" and eid in self._has:
            return [self._pages(eid, 0)]
        return []

    def _changed(self, eid: int, by: int) -> list[tuple[int, str, int]]:
        """Before it is initialised, nothing tells how many it has."""
        return [self._pages(eid, self._has[eid] + by)] if eid in self._has else []

    def _pages(self, eid: int, pages: int) -> tuple[int, str, int]:
        self._has[eid] = pages
        return eid, EPC_PAGES, pages
