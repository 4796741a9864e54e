"""The experiment: the thread's arguments as programs, run under every design, and what came of it."""

from __future__ import annotations


class CompareError(Exception):
    """The experiment cannot be made, or says nothing; the message tells the user what to do."""
