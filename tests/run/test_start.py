"""What a start loads: every program waits for it, so what only some need comes when they need it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.runs import HANGS, environment

NOT_LOADED = {
    "click": "a command without options",
    "rich": "tables of `enclu compare`",
    "jinja2": "pages of `enclu compare`",
    "lark": "EDL files",
    "elftools": "other ELF files than the vDSO images",
    "capstone": "text that is seen for the first time",
    "numpy": "enclaves of many pages",
    "cryptography": "keys, reports and evictions",
    "hashlib": "measurements",
    "concurrent": "work beside the supervisor's",
    "logging": "what `concurrent` loads",
    "dataclasses": "classes of which methods are compiled",
    "pathlib": "files that a start need not touch",
    "json": "`--stats=json`",
    "traceback": "errors of enclu",
    "enclu.compare": "another command",
    "enclu.explain": "another command",
    "enclu.host": "Python hosts",
    "enclu.cli.commands": "other commands",
    "enclu.linux.ioctl": "the device",
    "enclu.linux.trap": "exceptions that may be SGX's",
    "enclu.linux.procfs": "who looks into /proc/cpuinfo or auxv",
    "enclu.linux.intel_cpu": "`--cpu intel`",
    "enclu.native.lookup": "paths of the device",
    "enclu.sgx.measurement": "enclaves",
    "enclu.sgx.encls.create": "enclaves",
    "enclu.sgx.enclu.leaves": "ENCLU",
    "enclu.native.narrowed": "enclaves with less XFRM",
    "enclu.native.enclave_memory": "enclaves",
    "enclu.native.syscall_task": "enclaves",
    "enclu.native.abort_page": "who touches pages of enclaves from outside",
}
"""Modules, and what they are for."""


def loaded(*arguments: str) -> set[str]:
    """The modules that `enclu run` with these arguments loads, in the supervisor, too."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "enclu.cli.main", "run", *arguments],
        capture_output=True, text=True, timeout=HANGS, check=True, env=environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))


@pytest.fixture(scope="module")
def of_true() -> set[str]:
    loaded("/bin/true")  # what is found in its text is remembered from now on
    return loaded("/bin/true")


@pytest.mark.parametrize("module", NOT_LOADED)
def test_a_program_that_opens_no_device_does_not_wait_for(module: str, of_true: set[str]) -> None:
    assert "enclu.run.supervisor" in of_true
    assert not {name for name in of_true if name == module or name.startswith(f"{module}.")}


def test_options_are_parsed_where_there_are_any() -> None:
    assert {"click", "enclu.cli.commands", "enclu.run.supervisor"} <= loaded("--quiet", "/bin/true")
