"""What goes wrong in the host, said so that somebody can act on it."""

from __future__ import annotations


class HostError(Exception):
    """The message names the file, the field and the value that it is about."""
