"""Functions have the numbers that edger8r gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from enclu.host.edl import EdlError, load
from enclu.host.edl.layout import marshalling_structure
from enclu.host.edl.types import Types


def write(directory: Path, **files: str) -> Path:
    for name, content in files.items():
        (directory / f"{name}.edl").write_text(f"enclave {{ {content} }};")
    return directory / "main.edl"


def ecalls(path: Path) -> list[str]:
    return [ecall.name for ecall in load(path).ecalls]


def ocalls(path: Path) -> list[str]:
    return [ocall.name for ocall in load(path).ocalls]


def test_own_functions_come_before_imported_ones(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main='from "b.edl" import *; from "a.edl" import *; trusted { public void m1(); public void m2(); };',
        a="trusted { public void a(); };",
        b="trusted { public void b(); };",
    )
    assert ecalls(path) == ["m1", "m2", "b", "a"]


def test_what_imports_import_comes_after_them(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main='from "a.edl" import *; from "c.edl" import *; trusted { public void m(); };',
        a='from "b.edl" import *; trusted { public void a(); };',
        b="trusted { public void b(); };",
        c="trusted { public void c(); };",
    )
    assert ecalls(path) == ["m", "a", "b", "c"]


def test_a_file_imported_twice_counts_where_it_came_first(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main='from "a.edl" import *; from "common.edl" import *;',
        a='from "common.edl" import *; untrusted { void a(); };',
        common="untrusted { void x(); void y(); };",
    )
    assert ocalls(path) == ["a", "x", "y"]


def test_functions_of_a_file_can_be_imported_one_by_one(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main='from "a.edl" import z, x;',
        a="trusted { public void x(); public void y(); public void z(); }; untrusted { void u(); };",
    )
    assert (ecalls(path), ocalls(path)) == (["x", "z"], [])


def test_the_rest_of_a_file_follows_when_it_is_imported_again(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main='from "a.edl" import y; from "b.edl" import *; from "a.edl" import *;',
        a="trusted { public void x(); public void y(); };",
        b="trusted { public void b(); };",
    )
    assert ecalls(path) == ["y", "b", "x"]


def test_a_function_that_is_not_there_cannot_be_imported(tmp_path: Path) -> None:
    path = write(tmp_path, main='from "a.edl" import nothing;', a="trusted { public void x(); };")
    with pytest.raises(EdlError, match=r"main\.edl:1:11: .*a\.edl' has no function `nothing'"):
        load(path)


def test_imports_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, main='from "a.edl" import *;', a='from "main.edl" import *;')
    with pytest.raises(EdlError, match="imported in a circle"):
        load(path)


def test_the_search_path_is_looked_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere", a="trusted { public void a(); };")
    path = write(tmp_path, main='from "a.edl" import *;')
    assert load(path, [tmp_path / "elsewhere"]).ecall_numbers == {"a": 0}


SDK_OCALLS = [
    "sgx_oc_cpuidex", "sgx_thread_wait_untrusted_event_ocall", "sgx_thread_set_untrusted_event_ocall",
    "sgx_thread_setwait_untrusted_events_ocall", "sgx_thread_set_multiple_untrusted_events_ocall",
]  # fmt: skip


def test_the_sdks_own_files_need_not_be_there(tmp_path: Path) -> None:
    path = write(tmp_path, main='from "sgx_tstdc.edl" import *; untrusted { void print(); };')
    assert ocalls(path) == ["print", *SDK_OCALLS]


def test_a_file_of_the_users_goes_before_the_sdks(tmp_path: Path) -> None:
    path = write(tmp_path, main='from "sgx_tstdc.edl" import *;', sgx_tstdc="untrusted { void mine(); };")
    assert ocalls(path) == ["mine"]


def test_the_sdks_files_are_those_of_its_release(tmp_path: Path) -> None:
    path = write(tmp_path, main='from "sgx_tprotected_fs.edl" import *;')
    old = [ocall.name for ocall in load(path, sdk=(2, 13)).ocalls]
    new = [ocall.name for ocall in load(path).ocalls]
    assert old[0] == "u_sgxprotectedfs_exclusive_file_open" and old[-5:] == SDK_OCALLS
    assert "u_sgxprotectedfs_exclusive_file_map" in new and "pthread_create_ocall" in new


def test_dcaps_file_has_a_second_function_since_2_25(tmp_path: Path) -> None:
    path = write(tmp_path, main='from "sgx_dcap_tvl.edl" import *; trusted { public void mine(); };')
    old = [ecall.name for ecall in load(path, sdk=(2, 24)).ecalls]
    assert old == ["mine", "sgx_tvl_verify_qve_report_and_identity"]
    assert ecalls(path) == [*old, "tee_verify_qae_report_and_identity"]
    interface = load(path)
    structure = marshalling_structure(interface.ecalls[2], Types(interface))
    assert structure is not None and structure.ms_qae_isvsvn_threshold.offset == 16 + 960


def test_sgxssls_file_brings_what_it_imports(tmp_path: Path) -> None:
    path = write(tmp_path, main='from "sgx_tsgxssl.edl" import *; from "sgx_tstdc.edl" import *;')
    assert ocalls(path) == ["u_sgxssl_ftime", *SDK_OCALLS]


def test_sgxssls_functions_for_files_are_the_users(tmp_path: Path) -> None:
    path = write(
        tmp_path, main='from "sgx_tsgxssl.edl" import *;', sgxssl_file="untrusted { int u_sgxssl_getpid(void); };"
    )
    assert ocalls(path) == ["u_sgxssl_ftime", *SDK_OCALLS, "u_sgxssl_getpid"]


def test_imports_may_be_missing_where_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "own.edl"
    file.write_text('enclave { from "openenclave/edl/syscall.edl" import *; trusted { public void f(); }; };')
    with pytest.raises(EdlError, match=r"no file `openenclave/edl/syscall\.edl'"):
        load(file)
    assert load(file, missing_ok=True).ecall_numbers == {"f": 0}
