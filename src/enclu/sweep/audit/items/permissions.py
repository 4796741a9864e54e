"""What the image permits, whatever its code does: debuggers, code that can be written or was not measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.inspection import Inspection
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.verdict import Means

if TYPE_CHECKING:
    from enclu.sweep.audit.verdict import Finding


def _named(audit: Audit, item: Item, name: str, sound: str) -> Iterator[Finding]:
    found = [finding.text for finding in Inspection(audit.image).findings() if finding.name == name and finding.serious]
    yield item.weak("; ".join(found), Means.IMAGE) if found else item.sound(sound, Means.IMAGE)


def _debug(audit: Audit, item: Item) -> Iterator[Finding]:
    yield from _named(audit, item, "debug", "its SIGSTRUCT allows no debug enclave")


def _writable(audit: Audit, item: Item) -> Iterator[Finding]:
    yield from _named(audit, item, "writable code", "no page is both writable and executable")


def _unmeasured(audit: Audit, item: Item) -> Iterator[Finding]:
    yield from _named(audit, item, "unmeasured code", "every page that is executable is measured")


ITEMS = (
    Item("image/debug", "it cannot be run as a debug enclave", _debug),
    Item("image/writable-code", "its code cannot be written", _writable),
    Item("image/unmeasured-code", "its code is measured", _unmeasured),
)
