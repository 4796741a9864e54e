"""What the host raises.  Messages are one line for people: what is wrong, where, and the value."""

from __future__ import annotations


class HostError(Exception):
    """Base of all errors that the host raises on purpose."""


class ProcessDied(HostError):
    """The process with the enclaves has ended while something was asked of it."""


class EnclaveTimeout(HostError):
    """An enclave did not come back in time.  It was stopped by an AEX, and what it was doing is abandoned."""
