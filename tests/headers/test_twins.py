"""What C and Python both declare is the same, in every header; and what is not would be found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.sgx.structs import SECINFO
from tests.headers import twins
from tests.support.c_twins import ROOT, Twins, compiler_says, complaints, fields

BY_NAME = {t.path.relative_to(ROOT).as_posix(): t for t in twins.ALL}
Check = Callable[[str, str, str], list[str]]


@pytest.fixture
def changed(tmp_path: Path) -> Check:
    """Complaints about a copy of a file in which something is another thing."""

    def check(name: str, old: str, new: str) -> list[str]:
        original = BY_NAME[name]
        text = original.path.read_text()
        assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
        copy = tmp_path / original.path.name
        copy.write_text(text.replace(old, new))
        return complaints(original.copied_to(copy))

    return check


def test_every_header_is_listed() -> None:
    folders = ("src", "enclaves", "scenarios", "tests", "examples", "benchmarks")
    headers = {p.relative_to(ROOT).as_posix() for folder in folders for p in (ROOT / folder).rglob("*.h")}
    assert headers == {name for name in BY_NAME if name.endswith(".h")}


@pytest.mark.parametrize("name", BY_NAME)
def test_c_and_python_agree(name: str) -> None:
    assert complaints(BY_NAME[name]) == []


def test_the_kernels_header_agrees() -> None:
    assert compiler_says(["#include <asm/sgx.h>"], twins.KERNEL) == []


@pytest.mark.parametrize(("name", "structure"), [(n, s) for n, t in BY_NAME.items() for s in t.structures])
def test_a_moved_field_is_found(name: str, structure: str, changed: Check) -> None:
    found = changed(name, f"\n{structure} {{\n", f"\n{structure} {{\n\tunsigned char reserved_more;\n")
    assert any(f'static assertion failed: "sizeof({structure}) == ' in line for line in found)
    assert any(f'static assertion failed: "offsetof({structure}, ' in line for line in found)


def test_fields_that_have_changed_places_are_found(changed: Check) -> None:
    found = changed("src/enclu/enclave/sgx.h", "uint64_t attributemask, xfrmmask;", "uint64_t xfrmmask, attributemask;")
    assert len(found) == 2
    assert "offsetof(struct sgx_keyrequest, attributemask) == 24" in found[0]
    assert "offsetof(struct sgx_keyrequest, xfrmmask) == 32" in found[1]


def test_a_field_of_another_size_is_found_where_nothing_moves(changed: Check) -> None:
    found = changed(
        "src/enclu/enclave/sgx.h", "uint8_t cet_attributes_mask, reserved1, ", "uint16_t cet_attributes_mask; uint8_t "
    )
    assert len(found) == 1
    assert "sizeof(((struct sgx_keyrequest *)0)->cet_attributes_mask) == 1" in found[0]


@pytest.mark.parametrize(
    ("name", "old", "new", "constant"),
    [
        ("src/enclu/enclave/call.h", "#define ENTER_ORET 1", "#define ENTER_ORET 2", "ENTER_ORET == 0x1"),
        ("src/enclu/enclave/sgx.h", "EACCEPT = 5", "EACCEPT = 4", "EACCEPT == 0x5"),
        ("src/enclu/host/agent/agent.h", "\tCOMMAND_AGAIN,", "", "COMMAND_RESUME == 0x4"),
        ("src/enclu/host/agent/agent.h", "#define FRAME_RBP 16", "#define FRAME_RBP 24", "FRAME_RBP == offsetof"),
        ("src/enclu/include/enclu_sgx.h", "_MAGIC, 0x2f)", "_MAGIC, 0x30)", "IOC_DROP_EPC == "),
        ("src/enclu/enclave/entry.S", ".set EXIT_RSP, 16", ".set EXIT_RSP, 24", "EXIT_RSP == offsetof"),
        ("scenarios/runtimes/common/probe.h", ".set GPR, 768", ".set GPR, 760", "GPR == offsetof"),
        ("enclaves/qe.h", "{ 0x71, 0x8f", "{ 0x71, 0x8e", "QE_VENDOR_ID is { 0x71, 0x8e"),
    ],
)  # fmt: skip
def test_another_value_is_found(name: str, old: str, new: str, constant: str, changed: Check) -> None:
    assert any(constant in line for line in changed(name, old, new))


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        ("struct fresh { int a; };", "nobody lists struct fresh"),
        ("union fresh { int a; };", "nobody lists union fresh"),
        ("typedef struct { int a; } fresh;", "nobody lists fresh"),
        ("enum { FRESH };", "nobody lists FRESH"),
        ("enum fresh { FRESH };", "nobody lists FRESH"),
        ("#define FRESH 1", "nobody lists FRESH"),
        ("#ifdef __ASSEMBLER__\n#define FRESH 1\n#endif", "nobody lists FRESH"),
    ],
)
def test_what_nobody_lists_is_found(new: str, complaint: str, changed: Check) -> None:
    at = "#ifndef __ASSEMBLER__\n"
    assert changed("src/enclu/enclave/call.h", at, f"{new}\n{at}") == [f"call.h: {complaint}"]


def test_a_field_that_python_does_not_have_is_found(changed: Check) -> None:
    found = changed("src/enclu/enclave/trusted.h", "reserved[3], aexnotify", "reserved[2], fresh, aexnotify")
    assert found == ["trusted.h: the table of struct ssa_gpr has no fresh"]


def test_a_symbol_of_assembly_that_nobody_lists_is_found(changed: Check) -> None:
    found = changed("src/enclu/enclave/entry.S", "\t.set LAST_SP, 0\n", "\t.set LAST_SP, 0\n\t.set FRESH, 4 * 8\n")
    assert found == ["entry.S: nobody lists FRESH"]


def test_a_name_that_is_gone_is_found(changed: Check) -> None:
    found = changed("enclaves/p256.h", "struct p256_key {", "struct p256_other {")
    assert "p256.h: nobody lists struct p256_other" in found
    assert "p256.h: there is no struct p256_key" in found


def test_a_table_that_is_another_than_c_s_is_found() -> None:
    other = Twins(BY_NAME["enclaves/p256.h"].path, {"struct p256_key": fields(SECINFO)})
    assert any("no member named 'flags'" in line for line in complaints(other))


def test_a_renamed_field_that_the_table_does_not_have_is_refused() -> None:
    with pytest.raises(KeyError, match="FLAG"):
        fields(SECINFO, FLAG="flags")
