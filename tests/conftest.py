"""For every test: signals as a program at a terminal finds them, however the tests themselves were started; and
assertions that say what differs, in what tests share, too."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.support")

# A shell's background job ignores these, nohup(1) the last one; programs inherit that.
for signo in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(signo) is signal.SIG_IGN:
        signal.signal(signo, signal.default_int_handler if signo == signal.SIGINT else signal.SIG_DFL)

# How long an example takes is no property of what is tested, and a busy machine takes its time.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
