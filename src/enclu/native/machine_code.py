"""Instructions that Python has no word for, executed in this process."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any


def function(code: bytes, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A C function made of machine code, with ctypes's names for its types; its memory is kept for good."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    held = ctypes.c_char.from_buffer(page)
    called: Any = ctypes.CFUNCTYPE(result, *arguments)(ctypes.addressof(held))
    called.memory = held
    return called  # type: ignore[no-any-return]
