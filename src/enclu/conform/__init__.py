"""`enclu conform`: claims of the SDM and of Linux as cases that hardware and the machine in software both answer."""

from __future__ import annotations


class ConformError(Exception):
    """What keeps the cases from being run or compared."""
