"""What is told of threads that are gone, and what of those that cannot be looked at."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from enclu.native import proc


@pytest.fixture
def gone() -> int:
    """The number of a process that has been waited for."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open no file."""
    proc.check()
    proc.stat(os.getpid())  # what is opened once is open
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_thread_that_is_gone_has_no_descriptors_and_no_name(gone: int) -> None:
    assert (proc.descriptors(gone), proc.comm(gone)) == ([], "")


@pytest.mark.parametrize("ask", [proc.status, proc.stat])
def test_asked_for_more_it_is_gone(ask: Callable[[int], Any], gone: int) -> None:
    with pytest.raises(proc.GONE):
        ask(gone)


@pytest.mark.parametrize("ask", [proc.status, proc.stat, proc.descriptors, proc.comm])
def test_who_cannot_be_looked_at_is_not_taken_for_gone(ask: Callable[[int], Any]) -> None:
    with no_descriptors(), pytest.raises(OSError) as caught:
        ask(os.getpid())
    assert caught.value.errno == errno.EMFILE
