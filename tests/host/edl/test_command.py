"""`enclu edl`: the module that it writes, and its errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EDL = """
enclave {
    from "sgx_tstdc.edl" import *;
    enum colour { RED, GREEN = 4, BLUE };
    trusted {
        public int add(int a, int b);
        public void load([in, string] const char* class, [out, size=n] void* buf, size_t n);
    };
    untrusted { void print([in, string] const char* str) allow(add); };
};
"""


def enclu_edl(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "enclu.cli.main", "edl", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def edl(tmp_path: Path) -> Path:
    path = tmp_path / "calculator.edl"
    path.write_text(EDL)
    return path


def test_the_module_has_what_the_interface_has(edl: Path, tmp_path: Path) -> None:
    assert enclu_edl(edl, "-o", tmp_path / "calls.py").returncode == 0
    script = (
        "import calls, inspect\n"
        "assert list(inspect.signature(calls.Calculator.add).parameters) == ['self', 'a', 'b', 'timeout']\n"
        "assert list(inspect.signature(calls.Calculator.load_).parameters)[:3] == ['self', 'class_', 'buf']\n"
        "assert hasattr(calls.CalculatorOcalls, 'print')\n"
        "assert not hasattr(calls.CalculatorOcalls, 'sgx_oc_cpuidex')\n"
        "assert (calls.RED, calls.GREEN, calls.BLUE) == (0, 4, 5)\n"
        "assert [e.name for e in calls.INTERFACE.ecalls] == ['add', 'load']\n"
        "assert len(calls.INTERFACE.ocalls) == 6\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


def test_the_module_is_typed(edl: Path, tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(enclu_edl(edl).stdout)
    (tmp_path / "use.py").write_text(
        "from calls import Calculator, CalculatorOcalls\n"
        "class Mine:\n    def print(self, str: bytes | None) -> None: ...\n"
        "ocalls: CalculatorOcalls = Mine()\n"
        "def use(c: Calculator) -> int:\n"
        "    c.load_('name', bytearray(8), 8)\n"
        "    c.add('one', 2)\n"
        "    return c.add(1, 2)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "use.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if "error" in line]
    assert len(errors) == 2, done.stdout
    assert errors[0].startswith("use.py:7: error") and "Found 1 error" in errors[1]


def test_flat_prints_one_file_without_imports(edl: Path) -> None:
    text = enclu_edl(edl, "--flat").stdout
    assert "import" not in text and "sgx_oc_cpuidex" in text


def test_an_error_names_file_line_and_column(edl: Path) -> None:
    edl.write_text("enclave {\n    trusted { public int add(int); };\n};")
    done = enclu_edl(edl)
    assert done.returncode == 1
    assert f"{edl}:2:33: unexpected `)'" in done.stderr


def test_a_release_that_is_none_is_refused(edl: Path) -> None:
    done = enclu_edl(edl, "--sdk", "new")
    assert done.returncode == 2
    assert "no release such as 2.13" in done.stderr
