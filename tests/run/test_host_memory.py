"""How much memory there is for an EPC."""

from __future__ import annotations

from pathlib import Path

import pytest

from enclu.run import host_memory


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A tree of control groups: /, /outer, /outer/inner."""
    (tmp_path / "cgroup" / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "memory.max").write_text("4096\n")  # above the tree: no business of ours
    return tmp_path / "cgroup"


def own(groups: Path, text: str) -> Path:
    path = groups.parent / "own"
    path.write_text(text)
    return path


def test_the_least_limit_on_the_way_up_holds(groups: Path) -> None:
    (groups / "outer" / "memory.max").write_text("1073741824\n")
    (groups / "outer" / "inner" / "memory.max").write_text("2147483648\n")
    assert host_memory.group_limit(groups, own(groups, "0::/outer/inner\n")) == 1 << 30


def test_max_is_no_limit(groups: Path) -> None:
    (groups / "outer" / "memory.max").write_text("max\n")
    assert host_memory.group_limit(groups, own(groups, "0::/outer\n")) is None


def test_in_a_namespace_of_its_own_the_group_is_the_root(groups: Path) -> None:
    (groups / "memory.max").write_text("536870912\n")
    assert host_memory.group_limit(groups, own(groups, "12:cpu:/x\n0::/\n")) == 512 << 20


def test_without_proc_the_root_of_the_tree_is_asked(groups: Path) -> None:
    (groups / "memory.max").write_text("536870912\n")
    assert host_memory.group_limit(groups, groups / "missing") == 512 << 20


def test_a_group_that_is_not_shown_sets_no_limit(groups: Path) -> None:
    assert host_memory.group_limit(groups, own(groups, "0::/../../elsewhere\n")) is None


@pytest.mark.parametrize(
    ("memory", "epc"), [(64 << 30, 2 << 30), (4 << 30, 2 << 30), (3 << 30, 1536 << 20), (1 << 20, 1 << 20)]
)
def test_the_default_takes_no_more_than_half(memory: int, epc: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "total", lambda: memory)
    assert host_memory.default_epc() == epc


def test_an_epc_as_large_as_memory_can_be_had_and_no_larger() -> None:
    host_memory.check_epc(host_memory.total())
    with pytest.raises(ValueError, match="too large: its pages are in memory"):
        host_memory.check_epc(host_memory.total() + 1)
