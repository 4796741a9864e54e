"""What the host raises."""

from __future__ import annotations


class HostError(Exception):
    """Something of the user's is wrong: a file, a key, an enclave.  The message says what, where, and the way out."""
