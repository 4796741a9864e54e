"""The structures that arguments go in are laid out as the C compiler does it."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from enclu.host.edl import EdlError, load, parse
from enclu.host.edl.layout import length, marshalling_structure
from enclu.host.edl.syntax import Function
from enclu.host.edl.types import Types

EDL = """
enclave {
    struct small { char c; double d; };
    struct large { uint8_t a[3]; struct small s[2]; int* p; union either e; };
    union either { short s; char text[5]; };
    enum colour { RED, GREEN };
    trusted {
        public void nothing();
        public int numbers(char a, short b, unsigned char c, long d, float e, long double f, wchar_t g, uint16_t h);
        public uint8_t strings([in, string] const char* a, char b, [in, out, wstring] wchar_t* c, [user_check] char* d);
        public struct small by_value(char a, struct small b, enum colour c, union either d, struct large e, size_t f);
        public void arrays([in] uint8_t a[7], char b, [in, count=b] int* c, [out] struct small d[2][3]);
    };
    untrusted {
        char errno_first([in, string] const char* a, short b) propagate_errno;
        void errno_alone() propagate_errno;
    };
};
"""
# What edger8r writes for them.
C = """
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <wchar.h>
struct small { char c; double d; };
union either { short s; char text[5]; };
struct large { uint8_t a[3]; struct small s[2]; int* p; union either e; };
enum colour { RED, GREEN };
struct numbers { int ms_retval; char ms_a; short ms_b; unsigned char ms_c; long ms_d; float ms_e; long double ms_f;
                 wchar_t ms_g; uint16_t ms_h; };
struct strings { uint8_t ms_retval; const char* ms_a; size_t ms_a_len; char ms_b; wchar_t* ms_c; size_t ms_c_len;
                 char* ms_d; };
struct by_value { struct small ms_retval; char ms_a; struct small ms_b; enum colour ms_c; union either ms_d;
                  struct large ms_e; size_t ms_f; };
struct arrays { uint8_t* ms_a; char ms_b; int* ms_c; struct small* ms_d; };
struct errno_first { char ms_retval; int ocall_errno; const char* ms_a; short ms_b; };
struct errno_alone { int ocall_errno; };
"""


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """By function: offsets of members, then the size, as gcc has them."""
    structures = {f.name: marshalling_structure(f, Types(parse(EDL))) for f in functions()}
    lines = []
    for name, structure in structures.items():
        if structure is not None:
            members = [f"(int)offsetof(struct {name}, {member})" for member, *_ in structure._fields_]
            values = [*members, f"(int)sizeof(struct {name})"]
            lines.append(f'printf("{name}{" %d" * len(values)}\\n", {", ".join(values)});')
    directory = tmp_path_factory.mktemp("layout")
    source, program = directory / "layout.c", directory / "layout"
    source.write_text(C + "int main(void) { " + " ".join(lines) + " }")
    subprocess.run(["gcc", "-o", str(program), str(source)], check=True)
    output = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    return {line.split()[0]: [int(word) for word in line.split()[1:]] for line in output.splitlines()}


def functions() -> list[Function]:
    interface = parse(EDL)
    return [*interface.ecalls, *interface.ocalls]


@pytest.mark.parametrize("name", ["numbers", "strings", "by_value", "arrays", "errno_first", "errno_alone"])
def test_members_are_where_gcc_has_them(layouts: dict[str, list[int]], name: str) -> None:
    function = next(f for f in functions() if f.name == name)
    structure = marshalling_structure(function, Types(parse(EDL)))
    assert structure is not None
    offsets = [getattr(structure, member).offset for member, *_ in structure._fields_]
    assert [*offsets, ctypes.sizeof(structure)] == layouts[name]


def test_a_function_without_arguments_and_result_has_none() -> None:
    assert marshalling_structure(functions()[0], Types(parse(EDL))) is None


def test_enclaves_of_old_sdks_have_no_lengths_of_strings() -> None:
    strings = functions()[2]
    structure = marshalling_structure(strings, Types(parse(EDL)), string_lengths=False)
    assert structure is not None
    assert [name for name, *_ in structure._fields_] == ["ms_retval", "ms_a", "ms_b", "ms_c", "ms_d"]


@pytest.mark.parametrize(
    ("parameter", "bytes_"),
    [
        ("[in] int* p", 4), ("[in, count=3] int* p", 12), ("[in, size=n] void* p", 5), ("[in] int p[2][3]", 24),
        ("[in, size=n, count=2] char* p", 10), ("[in] struct small* p", 16), ("[in, size=3] int* p", 3),
        ("[user_check] int* p", None), ("[in, string] char* p", None), ("[out] sgx_report_t* p", 432),
        ("[in] int** p", 8), ("[in, size=n] unknown_t* p", 5),
    ],
)  # fmt: skip
def test_buffers_are_as_long_as_the_attributes_say(parameter: str, bytes_: int | None) -> None:
    text = f"enclave {{ struct small {{ char c; double d; }}; trusted {{ public void f({parameter}, int n); }}; }};"
    interface = parse(text)
    assert length(interface.ecalls[0].parameters[0], Types(interface), {"n": 5}) == bytes_


def test_types_of_headers_are_asked_of_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "types.h").write_text(
        "#include <stdint.h>\ntypedef struct { uint8_t a; uint64_t b; } pair_t;\ntypedef int number_t;\n"
        "typedef void* handle_t;\n"
    )
    file = tmp_path / "x.edl"
    file.write_text(
        'enclave { include "types.h" trusted { public number_t f(handle_t h, pair_t p, [in] pair_t* q); }; };'
    )
    interface = load(file)
    structure = marshalling_structure(interface.ecalls[0], Types(interface))
    assert structure is not None
    assert [getattr(structure, f"ms_{n}").offset for n in ("retval", "h", "p", "q")] == [0, 8, 16, 32]
    assert structure(ms_retval=5).ms_retval == 5


def test_types_can_be_given() -> None:
    interface = parse("enclave { trusted { public void f(mine_t a, yours_t b); }; };")
    structure = marshalling_structure(interface.ecalls[0], Types(interface, {"mine_t": ctypes.c_uint8, "yours_t": 24}))
    assert structure is not None
    assert (structure.ms_b.offset, ctypes.sizeof(structure)) == (8, 32)


def test_a_type_that_nobody_knows_is_named() -> None:
    interface = parse("enclave { trusted { public void f(mine_t a); }; };", "x.edl")
    with pytest.raises(EdlError, match=r"x\.edl:1:35: how large `mine_t' is"):
        marshalling_structure(interface.ecalls[0], Types(interface))


def test_a_structure_cannot_contain_itself() -> None:
    interface = parse(
        "enclave { struct s { struct t x; }; struct t { struct s x; }; trusted { public void f(struct s a); }; };"
    )
    with pytest.raises(EdlError, match="contains itself"):
        marshalling_structure(interface.ecalls[0], Types(interface))
