"""enclu: an Intel SGX machine in software."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"


def include_dir() -> Path:
    """Where enclu_sgx.h is: a directory for the C compiler's -I, for programs that use enclu's own ioctls."""
    return Path(__file__).resolve().parent / "include"


def enclave_dir() -> Path:
    """Where the C files are that enclaves are made of; `enclu build` compiles them with a user's own."""
    return Path(__file__).resolve().parent / "enclave"
