"""The spool: what becomes of a run when there is no room for it, or nobody reads."""

from __future__ import annotations

import os

import pytest

from enclu.base.events import ProcessGone
from enclu.trace.spool import Happened, Spool


def test_what_is_put_down_is_read_in_its_order() -> None:
    spool = Spool()
    for tid in range(100):
        spool.event(ProcessGone(1, tid))
    spool.end()
    assert [happened.tid for happened in spool if isinstance(happened, Happened)] == list(range(100))


def test_the_run_goes_on_where_there_is_no_room(capfd: pytest.CaptureFixture[str]) -> None:
    spool = Spool()
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, spool._fd)
    os.close(full)
    for _ in range(3):
        spool.event(ProcessGone(1, 1))
    spool.flush()
    error = capfd.readouterr().err
    assert error.count("the trace ends here") == 1 and "No space left" in error


def test_nothing_is_kept_for_who_does_not_read_any_more() -> None:
    spool = Spool()
    spool.end()
    spool.event(ProcessGone(1, 1))
    assert os.fstat(spool._fd).st_size == 0
