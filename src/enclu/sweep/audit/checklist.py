"""Items, and what they get to work with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from enclu.sweep.audit.verdict import Finding, Means, Verdict

if TYPE_CHECKING:
    from enclu.host.conventions.sdk.abi import EmmModify
    from enclu.host.enclave import Enclave
    from enclu.host.images import Image
    from enclu.sweep.audit.path import Path
    from enclu.sweep.audit.target import Target


class Answering(Protocol):
    """Loads an SDK's enclave anew, for the caller to close.  Raises HostError."""

    def __call__(self, modify: Callable[[Enclave, EmmModify], int], *, warm: bool) -> Target:
        """`modify` is how the host answers requests to change pages (`SdkConvention.modify`)."""


class Audit:
    """Of one image.  Made by `run.audit`."""

    def __init__(
        self, image: Image, target: Callable[[], Target], debug: Callable[[], Target | None],
        uninitialized: Callable[[], Target], answering: Answering,
    ) -> None:  # fmt: skip
        self.image = image
        self._make, self._make_debug, self.uninitialized, self.answering = target, debug, uninitialized, answering
        self._target: Target | None = None
        self._debug: list[Target | None] = []
        self._paths: dict[tuple[int, int], Path] = {}

    @property
    def target(self) -> Target:
        """The enclave, fresh."""
        if self._target is None:
            self._target = self._make()
        self._target.fresh()
        return self._target

    @property
    def debug(self) -> Target | None:
        """The same as a debug enclave, fresh; None if its SIGSTRUCT forbids that."""
        if not self._debug:
            self._debug.append(self._make_debug())
        if self._debug[0] is not None:
            self._debug[0].fresh()
        return self._debug[0]

    def path(self, target: Target) -> Path:
        """Of the target's sample."""
        from enclu.sweep.audit.path import path

        key = id(target), target.generation
        if key not in self._paths:
            self._paths[key] = path(target)
            target.fresh()
        return self._paths[key]

    def close(self) -> None:
        """End the processes."""
        for target in (self._target, *self._debug):
            if target is not None:
                target.close()


@dataclass(frozen=True)
class Item:
    """A line of the checklist."""

    name: str
    title: str
    run: Callable[[Audit, Item], Iterator[Finding]]

    def sound(self, evidence: str, means: Means = Means.HOST, subject: str = "") -> Finding:
        return Finding(self.name, subject, Verdict.SOUND, evidence, means)

    def weak(self, evidence: str, means: Means = Means.HOST, subject: str = "") -> Finding:
        return Finding(self.name, subject, Verdict.WEAK, evidence, means)

    def undecided(self, why: str, subject: str = "") -> Finding:
        return Finding(self.name, subject, Verdict.UNDECIDED, why)

    def not_applicable(self, why: str, subject: str = "") -> Finding:
        return Finding(self.name, subject, Verdict.NOT_APPLICABLE, why)
