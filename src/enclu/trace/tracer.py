"""One run's trace: who listens, and who writes what was heard, while the run goes on and after it."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass, field
from typing import TextIO

from enclu.base import console
from enclu.base.events import Event, Leaf
from enclu.base.listeners import Events
from enclu.trace.filters import Filter
from enclu.trace.json_lines import JsonLines
from enclu.trace.spool import Leaves, Spool
from enclu.trace.text import Text, Times

FORMATS = ("text", "json")
_LINES = 1000
"""Written at once, unless there are no more."""


@dataclass(frozen=True)
class Wanted:
    """What the user has asked for."""

    output: str | None = None
    """A file; None for standard error."""
    form: str = "text"
    filter: Filter = field(default_factory=Filter)
    times: Times = Times.NONE
    lossy: bool = False
    """No leaf is to stop its thread for the trace: those for which there is no room are counted."""


class Tracer:
    """Listens to the events of a run from its beginning."""

    def __init__(self, wanted: Wanted, command: list[str], design: str) -> None:
        """Raises OSError where the file cannot be made."""
        self._filter, self._lossy = wanted.filter, wanted.lossy
        self._form = Text(wanted.times) if wanted.form == "text" else JsonLines(command, design)
        self._file = _create(wanted.output)
        self._spool: Spool | None = None
        self._writer: threading.Thread | None = None

    @property
    def keep(self) -> tuple[int, ...]:
        """The descriptors that it writes to."""
        return (self._file.fileno(),)

    def listen(self, events: Events) -> None:
        """In the supervisor's process."""
        spool = self._spool = Spool()
        wanted = self._filter

        def heard(event: Event) -> None:
            if wanted.wants(type(event).name(), getattr(event, "leaf", "")):
                spool.event(event)

        events.leaves.lossy = self._lossy
        events.listen(heard, *wanted.kinds)
        if Leaf in wanted.kinds:
            events.leaves.raw = spool.leaves
        self._writer = threading.Thread(target=self._write, args=(spool,), name="trace", daemon=True)
        self._writer.start()

    def _write(self, spool: Spool) -> None:
        try:
            self._file.write(self._form.head)
            lines: list[str] = []
            for happened in spool:
                if isinstance(happened, Leaves):
                    lines += self._form.leaves(happened, self._filter.wants_leaf)
                else:
                    lines.append(self._form.line(happened))
                if len(lines) >= _LINES or not spool.more:
                    self._put(lines)
                    if not spool.more:
                        spool.written()
            self._put(lines)
        except OSError as error:  # a full disk, a reader that has gone: the program goes on
            console.say(f"the trace ends here: {error.strerror}")
        finally:
            spool.end()  # nobody is to wait for who does not read

    def _put(self, lines: list[str]) -> None:
        self._file.write("".join(lines))
        self._file.flush()
        lines.clear()

    def flush(self) -> None:
        """All that has happened so far is written when this returns."""
        if self._spool is not None:
            self._spool.flush()

    def end(self) -> None:
        """All that has happened is written when this returns."""
        if self._spool is not None and self._writer is not None:
            self._spool.end()
            self._writer.join()


def _create(path: str | None) -> TextIO:
    """A file of the user's alone; what it had is gone."""
    if path is None:
        return os.fdopen(os.dup(console.STDERR), "w", encoding="utf-8")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        os.fchmod(fd, 0o600)  # one that was there
    return open(fd, "w", encoding="utf-8")
