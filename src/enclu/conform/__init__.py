"""`enclu conform`: claims of the SDM and of Linux as cases that hardware and the machine in software both answer."""

from __future__ import annotations


class ConformError(Exception):
    """What keeps the cases from being run or compared."""


class Interrupted(Exception):
    """Ctrl-C while cases were run."""

    def __init__(self, answered: str) -> None:
        """`answered` is the report of the cases that had been answered, empty if there was none."""
        self.answered = answered
