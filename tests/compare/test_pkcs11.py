"""The PKCS#11 modules of the scenarios, as the standard has them, beyond what the scenarios need."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.compare import catalog
from enclu.compare.build import Builder, default_directory
from tests.compare.conftest import ROOT
from tests.run.conftest import compile_c, run_enclu

Uses = Callable[..., None]


@pytest.fixture(scope="module")
def modules(cache: Path) -> Path:
    """Where red.so and blue.so are."""
    known = catalog.read(catalog.find_root())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        builder = Builder(known, default_directory(known.root))
        builder.build([known.scenarios["pkcs11-two-modules"]], os.cpu_count() or 1)
    return builder.directory / "pkcs11-two-modules"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pkcs11") / "pkcs11_api"
    source = ROOT / "tests" / "compare" / "pkcs11_api.c"
    compile_c("-g", "-O1", "-Wall", "-Wextra", "-Werror", "-I/usr/include/p11-kit-1", source, "-o", path)
    return path


@pytest.fixture
def uses(modules: Path, program: Path) -> Uses:
    """uses(case, ..., **environment): the program uses red; all that it observes must be ok."""

    def run(*case: str, **environment: str) -> None:
        done = run_enclu(program, modules / "red.so", *case, options=("--delivery", "vdso"), env=environment)
        observed = done.stdout.splitlines()
        assert done.returncode == 0 and observed, done.stdout + done.stderr
        assert [line for line in observed if not line.startswith("ok ")] == [], done.stdout + done.stderr

    return run


@pytest.mark.timeout(300)
def test_the_entry_table_is_complete(uses: Uses) -> None:
    uses("table")


@pytest.mark.timeout(300)
def test_nothing_works_before_initialize_and_after_finalize(uses: Uses) -> None:
    uses("life")


@pytest.mark.timeout(300)
def test_asking_for_room_does_not_end_an_operation(uses: Uses) -> None:
    uses("room")


@pytest.mark.timeout(300)
def test_parts_are_digested_like_the_whole(uses: Uses) -> None:
    uses("parts")


@pytest.mark.timeout(300)
def test_a_private_key_has_no_value_for_anybody(uses: Uses) -> None:
    uses("secret")


@pytest.mark.timeout(300)
def test_session_objects_go_with_their_session(uses: Uses) -> None:
    uses("session-objects")


@pytest.mark.timeout(300)
def test_a_token_without_a_store_is_write_protected(uses: Uses) -> None:
    uses("no-store")


@pytest.mark.timeout(300)
def test_a_read_only_session_puts_nothing_on_the_token(uses: Uses, tmp_path: Path) -> None:
    uses("read-only", TOKEN_STORE_red=str(tmp_path / "store"))


@pytest.mark.timeout(300)
def test_a_token_has_room_for_sixteen_keys(uses: Uses) -> None:
    uses("full")


@pytest.mark.timeout(300)
def test_keys_on_the_token_outlive_the_module(uses: Uses, tmp_path: Path) -> None:
    uses("stored", TOKEN_STORE_red=str(tmp_path / "store"))


@pytest.mark.timeout(300)
def test_a_changed_key_is_none(uses: Uses, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.touch()
    uses("changed", TOKEN_STORE_red=str(store))


@pytest.mark.timeout(300)
def test_one_enclave_cannot_use_what_another_has_sealed(uses: Uses, modules: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    uses("stranger", str(modules / "blue.so"), TOKEN_STORE_red=store, TOKEN_STORE_blue=store)
