"""What an enclave says of its functions, against what an EDL file says."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

import enclu
from enclu.host.conventions.sdk import abi, edl_check
from enclu.host.edl import parse
from enclu.host.images import sdk_tables

SOURCE = """
__attribute__((noipa, section(".text.far"))) int sgx_ocall(unsigned number, void *ms) { return ms ? number : 0; }
int b(void *ms) { return sgx_ocall(1, ms); }
int c(void *ms) { return sgx_ocall(2, ms) + 1; }
int do_add_thread(void *ms) { return sgx_ocall(0, ms); }
int sgx_mm_alloc_ocall(void *ms) { return sgx_ocall(-6, ms); }
int any(unsigned number, void *ms) { return sgx_ocall(number, ms); }
void sgx_first(void) {}
void sgx_second(void) {}
const struct { unsigned long nr_ecall; struct { void *address; unsigned char is_priv, is_switchless; } ecall_table[2]; }
	g_ecall_table = { 2, { { (void *)sgx_first, 0, 0 }, { (void *)sgx_second, 1, 0 } } };
const struct { unsigned long nr_ocall; unsigned char entry_table[3][2]; } g_dyn_entry_table = { 3, {} };
char sgx_trts_version[] = "SGX_TRTS_VERSION_2.13.100.4";
"""


@pytest.fixture(scope="module")
def shared_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "enclave.so"
    command = ["gcc", "-x", "c", "-shared", "-fPIC", "-nostdlib", "-O2", "-fvisibility=hidden", "-o", str(path), "-"]
    subprocess.run(command, input=SOURCE, text=True, check=True)
    return path


def test_functions_are_found(shared_object: Path) -> None:
    assert sdk_tables.read(shared_object) == sdk_tables.Tables(("first", "second"), 3, {1: "b", 2: "c"})


def test_the_sdks_release_is_found(shared_object: Path) -> None:
    assert sdk_tables.release(shared_object) == (2, 13, 100)


def test_an_image_without_symbols_does_not_say(shared_object: Path, tmp_path: Path) -> None:
    subprocess.run(["strip", "-o", str(tmp_path / "stripped.so"), str(shared_object)], check=True)
    assert sdk_tables.read(tmp_path / "stripped.so") is None


@pytest.mark.parametrize(
    ("release", "they_do"),
    [((1, 9, 100), False), ((2, 0, 40950), False), ((2, 1, 42002), False), ((2, 1, 101), False), ((2, 1, 102), True),
     ((2, 1, 3), True), ((2, 13, 100), True), (None, True)],
)  # fmt: skip
def test_releases_since_2_1_2_pass_the_lengths_of_strings(release: tuple[int, int, int] | None, they_do: bool) -> None:
    assert abi.string_lengths(release) is they_do


ECALLS = "enclave { trusted { public void first(); void second(); }; "
OCALLS = "untrusted { void a(); void b(); void c(); }; };"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("enclave { trusted { public void second(); void first(); }; " + OCALLS,
         "ECALL 0 is `second' in the one and `first' in the other"),
        ("enclave { trusted { public void first(); }; " + OCALLS,
         "1 ECALLs in the one and 2 in the other; the enclave alone has `second'"),
        ("enclave { trusted { public void first(); void second(); void third(); }; " + OCALLS,
         "3 ECALLs in the one and 2 in the other; it has no `third'"),
        (ECALLS + " };", "0 OCALLs in the one and 3 in the other; the enclave alone has `b', `c'"),
        (ECALLS + "untrusted { void a(); void b(); void c(); void d(); }; };",
         "4 OCALLs in the one and 3 in the other; it has no `a', `d'"),
        (ECALLS + "untrusted { void a(); void c(); void b(); }; };",
         "OCALL 1 is `c' in the one and `b' in the other"),
        (ECALLS + "untrusted { void c(); }; };", "OCALL 2 is none in the one and `c' in the other"),
        (ECALLS + "untrusted { " + "".join(f"void d{i}(); " for i in range(20)) + "}; };",
         "20 OCALLs in the one and 3 in the other; the enclave alone has `b', `c'; it has no .*`d7' and 12 more"),
    ],
)  # fmt: skip
def test_an_edl_file_of_another_enclave_is_refused(shared_object: Path, text: str, reason: str) -> None:
    with pytest.raises(enclu.HostError, match=rf"other\.edl is not of .*enclave\.so: {reason}"):
        edl_check.check(shared_object, parse(text, "other.edl"))


def test_an_edl_file_of_another_release_is_refused_with_the_release(shared_object: Path) -> None:
    with pytest.raises(enclu.HostError, match=r"it is of SDK 2\.13, whose files are taken with sdk=\(2, 13\)$"):
        edl_check.check(shared_object, parse(ECALLS + "};"))


def test_its_own_is_not(shared_object: Path) -> None:
    edl_check.check(shared_object, parse(ECALLS + OCALLS))


def test_an_ocall_of_a_name_that_the_code_does_not_have_proves_nothing(shared_object: Path) -> None:
    edl_check.check(shared_object, parse(ECALLS + "untrusted { void a(); void inlined(); void c(); }; };"))


def test_damaged_images_do_not_say_or_say_something(shared_object: Path, tmp_path: Path) -> None:
    content, damaged = shared_object.read_bytes(), tmp_path / "damaged.so"
    chance = random.Random(1)
    for _ in range(300):
        changed = bytearray(content[: chance.choice([len(content), chance.randrange(len(content))])])
        for _ in range(chance.randint(1, 8)):
            place = chance.choice([chance.randrange(64), chance.randrange(len(content))])
            if place < len(changed):
                changed[place] = chance.choice([0, 0xFF, 0x80, chance.randrange(256)])
        damaged.write_bytes(changed)
        assert sdk_tables.read(damaged) is None or isinstance(sdk_tables.read(damaged), sdk_tables.Tables)
        sdk_tables.release(damaged)
