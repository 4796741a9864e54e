"""docs/adding-a-design.md, followed to the letter in a copy of the package: the design works wherever designs do."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.run.conftest import ROOT
from tests.support.runs import HANGS

PAGE = ROOT / "docs" / "adding-a-design.md"
REGISTRY = "src/enclu/linux/delivery/__init__.py"
HOST = """
import sys
from pathlib import Path
import enclu
from enclu.host.trial_images import TrialImages
from enclu.linux import delivery

image = TrialImages(Path(sys.argv[2])).open([Path(sys.argv[1])])
with enclu.Machine() as machine:
    process = machine.process("my-design")
    enclave = process.load(image)
    print(enclave.ecall(0, 41))
    try:
        enclave.ecall(2, 0x10000)
    except enclu.EnclaveException as exception:
        print(exception)
    print(enclave.ecall(4))                     # #UD, which the enclave's own handler repairs
    with process.thread().enter(enclave.base + enclave.size - 4096) as entry:
        print(entry.event)
"""
TEST = """
import pytest

@pytest.mark.sgx(delivery="all")
def test_it(enclave):
    assert enclave("enclave.c").ecall(0, 41) == 42
"""


def blocks() -> list[tuple[str, str]]:
    """Each block of code of the page and the file that is named last before it."""
    found, place = [], 0
    text = PAGE.read_text()
    for block in re.finditer(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        names = re.findall(r"`(src/enclu/[\w./]+)`", text[place : block.start()])
        found.append((names[-1], block[1]))
        place = block.end()
    return found


@dataclass(frozen=True)
class Tree:
    """A copy of the package with one more design."""

    root: Path

    def run(self, *command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(self.root / "src"), "XDG_CACHE_HOME": str(self.root / "cache")}
        return subprocess.run(
            [sys.executable, *map(str, command)], capture_output=True, text=True, env=env, cwd=cwd, timeout=HANGS
        )

    def enclu(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "enclu.cli.main", *arguments)


@pytest.fixture(scope="module", params=["without a vDSO source", "with a vDSO source"])
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The page is followed without its chapter on the vDSO, and then with it."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "src" / "enclu", root / "src" / "enclu", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("scenarios", "enclaves"):
        (root / name).symlink_to(ROOT / name)
    (file, line, source, other_file) = blocks()
    assert line[0] == REGISTRY and file[0] == other_file[0] and len(line[1].splitlines()) == 1
    steps = [file] if request.param.startswith("without") else [source, other_file]
    for name, text in steps:
        assert not (root / name).exists()
        (root / name).write_text(text)
    registry = root / REGISTRY
    registry.write_text(registry.read_text().replace("DESIGNS = {\n", f"DESIGNS = {{\n{line[1]}"))
    shutil.copy(ROOT / "hatch_build.py", root)
    built = subprocess.run([sys.executable, root / "hatch_build.py"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return Tree(root)


def test_the_first_words_count_the_steps() -> None:
    assert "An eighth design is one file, one line, and a vDSO source if" in PAGE.read_text().split("##")[0]
    suffixes = [Path(name).suffix for name, _ in blocks()]
    assert suffixes == [".py", ".py", ".S", ".py"]  # the last is the first, of another design


def test_it_runs_a_scenario_that_enclu_compare_builds(tree: Tree) -> None:
    done = tree.enclu("compare", "--scenario", "one-runtime", "--design", "my-design", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (cell,), (design,) = found["cells"], found["designs"]
    assert (cell["design"], cell["outcome"]) == ("my-design", "works"), cell["output"]
    assert design["needs"] and design["kernel_lines"] and design["user_lines"]
    # And by hand: the command that is printed.
    ran = tree.enclu(*map(os.path.expanduser, shlex.split(cell["command"])[1:]))
    assert ran.returncode == 0 and "outcome: works" in ran.stdout, ran.stdout + ran.stderr


def test_python_hosts_enclaves_under_it(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(HOST)
    done = tree.run(tmp_path / "host.py", ROOT / "tests" / "host" / "enclave.c", tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, event = done.stdout.splitlines()
    assert lines == ["42", "#PF of the enclave at 0x10000, error code 0x4", "4"]
    assert event.startswith("#PF of ENCLU[EENTER] itself at ")


def test_a_test_under_all_designs_runs_under_it(tree: Tree, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "host" / "enclave.c", tmp_path)
    (tmp_path / "test_it.py").write_text(TEST)
    done = tree.run("-m", "pytest", "-v", "-p", "no:xdist", "-k", "my-design", "test_it.py", cwd=tmp_path)
    assert re.search(r"test_it\[my-design\] PASSED(.*\n)+.* 1 passed, 7 deselected", done.stdout), done.stdout


def test_what_all_designs_have_in_common_holds(tree: Tree) -> None:
    path = f"pythonpath={tree.root / 'src'} {ROOT}"
    chosen = ("-k", "my-design", "tests/linux/test_delivery.py")
    done = tree.run("-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", path, *chosen, cwd=ROOT)
    assert re.search(r"^[5-9] passed|^\d\d passed", done.stdout, re.MULTILINE), done.stdout
