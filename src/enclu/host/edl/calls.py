"""What modules that `enclu edl` has written import."""

from enclu.host.edl.interface import Interface, parse
from enclu.host.edl.methods import Calls, DynamicCalls, Pointer

__all__ = ["Calls", "DynamicCalls", "Pointer", "parsed"]


def parsed(text: str, path: str) -> Interface:
    """The interface in a generated module."""
    return parse(text, path)
