"""What the filters stop for: where nobody traces, a call that would stop is ENOSYS to who makes it."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from enclu.base.abi import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE
from tests.support.runs import environment

MMAP = """
import ctypes, os, signal, sys
from enclu.native import seccomp
prot, flags, of_file = map(int, sys.argv[1:])
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype, libc.mmap.argtypes = ctypes.c_long, [ctypes.c_long] * 6
file = os.open("/bin/true", os.O_RDONLY)
somewhere = libc.mmap(0, 4096, 1, 0x22, -1, 0)
seccomp.install(seccomp.every_program((0, 0)))
mapped = libc.mmap(somewhere, 4096, prot, flags, file if of_file else -1, 0)
os.write(1, b"%d" % (ctypes.get_errno() if mapped == -1 else 0))
os.kill(os.getpid(), signal.SIGKILL)
"""
CODE = PROT_READ | PROT_EXEC


@pytest.mark.parametrize(
    ("prot", "flags", "of_file", "stops"),
    [
        (CODE, MAP_PRIVATE, True, True),
        (CODE, MAP_PRIVATE | MAP_FIXED, True, True),
        (CODE, MAP_SHARED, True, True),
        (PROT_READ, MAP_SHARED, True, True),
        (PROT_READ, MAP_PRIVATE, True, False),
        (CODE, MAP_PRIVATE | MAP_ANONYMOUS, False, False),
        (CODE | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, False, False),
        (CODE, MAP_SHARED | MAP_ANONYMOUS, False, False),
    ],
)
def test_a_program_without_sgx_stops_for_mappings_of_files_with_code_or_shared(
    prot: int, flags: int, of_file: bool, stops: bool
) -> None:
    words = [str(int(word)) for word in (prot, flags, of_file)]
    done = subprocess.run([sys.executable, "-c", MMAP, *words], capture_output=True, text=True, env=environment())
    assert (done.stdout, done.stderr) == (str(errno.ENOSYS) if stops else "0", "")
