"""EDL files as edger8r takes them, and what is said of those that it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclu.host.edl import EdlError, load, parse
from enclu.host.edl.syntax import CType, Kind


def trusted(declarations: str) -> str:
    return f"enclave {{ trusted {{ {declarations} }}; }};"


def untrusted(declarations: str) -> str:
    return f"enclave {{ untrusted {{ {declarations} }}; }};"


def test_functions_have_the_attributes_that_are_written() -> None:
    interface = parse(
        """
        enclave { // comments of both kinds
            trusted {
                include "types.h"
                public int a([in, count=n] const int* p, size_t n, [in, out, string] char* s) transition_using_threads;
                void b(void);   /* private */
            };
            untrusted { [cdecl] int c([user_check] void* p) allow(b) propagate_errno; };
        };
        """
    )
    a, b = interface.ecalls
    assert (a.public, a.switchless, b.public, b.parameters) == (True, True, False, ())
    p, _, s = a.parameters
    assert (p.attributes.into, p.attributes.out, p.attributes.count, p.const) == (True, False, "n", True)
    assert (s.attributes.into, s.attributes.out, s.attributes.string) == (True, True, True)
    (c,) = interface.ocalls
    assert (c.specifiers, c.allow, c.propagate_errno) == (("cdecl",), ("b",), True)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("unsigned", "unsigned int"), ("unsigned long", "unsigned long"), ("long int", "long"),
        ("unsigned long long", "unsigned long long"), ("unsigned short int", "unsigned short"),
        ("long double", "long double"), ("uint64_t", "uint64_t"), ("size_t", "size_t"), ("wchar_t", "wchar_t"),
    ],
)  # fmt: skip
def test_types_may_be_written_as_in_c(written: str, meant: str) -> None:
    (function,) = parse(trusted(f"public void f({written} x);")).ecalls
    assert function.parameters[0].type == CType(meant, Kind.BUILTIN)


@pytest.mark.parametrize("name", ["integer", "charm", "enclave_id", "void_t", "int64", "long_name", "trusted1"])
def test_names_may_begin_as_words_of_the_language_do(name: str) -> None:
    (function,) = parse(trusted(f"public int {name}(int {name});")).ecalls
    assert (function.name, function.parameters[0].name) == (name, name)


def test_what_is_printed_is_read_as_the_same() -> None:
    interface = parse(
        """
        enclave {
            include "a.h"
            struct point { int x; int y[3]; [size=n] char* p; size_t n; };
            union either { int i; double d; };
            enum colour { RED, GREEN = 5 };
            enum { ANONYMOUS = 1 };
            trusted { public int f([in, size=4, count=n] void* p, int n, [in, isptr, readonly, size=8] ref_t r); };
            untrusted { void g([out] uint8_t b[16], struct point* p[user_check]); };
        };
        """.replace("struct point* p[user_check]", "[in] struct point* p")
    )
    again = parse(str(interface))
    assert (again.ecalls, again.ocalls) == (interface.ecalls, interface.ocalls)
    assert (again.composites, again.includes) == (interface.composites, interface.includes)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("enclave {\n  trusted {\n    public void f(int);\n  };\n};", "3:22", "unexpected `)'"),
        ("enclave {", "1:", "the file ends too early"),
        ("enclave { $ };", "1:11", "unexpected character '$'"),
        (trusted("public void f(void* p);"), "1:35", "a pointer needs `in', `out' or `user_check'"),
        (trusted("public void f([in] void* p);"), "1:35", "needs a size"),
        (trusted("public void f([in, user_check] int* p);"), "1:35", "`user_check' excludes"),
        (trusted("public void f([in, inn] int* p);"), "1:35", "unknown attribute `inn'"),
        (trusted("public void f([in, in] int* p);"), "1:35", "attribute `in' twice"),
        (trusted("public void f([] int* p);"), "1:35", "nothing between the brackets"),
        (trusted("public void f([out, string] char* p);"), "1:35", "a string needs `in'"),
        (trusted("public void f([in, string] int* p);"), "1:35", "`string' is for `char*'"),
        (trusted("public void f([in, out] const int* p);"), "1:35", "read only"),
        (trusted("public void f([in, size] int* p);"), "1:35", "takes a value"),
        (trusted("public void f([in, count=m] int* p);"), "1:35", "`count=m' names no parameter of `f'"),
        (trusted("public void f([in] int p[]);"), "1:", "an array needs a size"),
        (trusted("public void f([in] int p[0]);"), "1:", "an array of 0 elements"),
        (trusted("public void f([in] int* p[4]);"), "1:35", "arrays of pointers"),
        (trusted("public void f([in] int x);"), "1:35", "passed by value"),
        (trusted("public void f(void x);"), "1:35", "cannot be `void'"),
        (trusted("public long char f();"), "1:28", "no type `long char'"),
        (trusted("public void f(); public void f();"), "1:38", "another function `f'"),
        (trusted("public void f(int a, int a);"), "1:42", "two parameters are called `a'"),
        (untrusted("void f() allow(g);"), "1:23", "allows `g', which is no trusted function"),
        (untrusted("[cdecl, stdcall] void f();"), "1:23", "only one of"),
        (untrusted("[inline] void f();"), "1:23", "not an attribute of a function"),
        ("enclave { struct s { int a; int a; }; };", "1:29", "two members are called `a'"),
        ("enclave { struct s { [in] int* a; }; };", "1:22", "a member's attributes"),
        ('enclave { from "nowhere.edl" import *; };', "1:11", "no file `nowhere.edl'"),
    ],
)  # fmt: skip
def test_errors_name_the_place_and_the_reason(text: str, place: str, reason: str) -> None:
    with pytest.raises(EdlError) as raised:
        parse(text, "x.edl")
    assert str(raised.value).startswith(f"x.edl:{place}")
    assert reason in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdlError, match=r"missing\.edl: cannot be read: No such file"):
        load(tmp_path / "missing.edl")


def test_the_preprocessor_goes_first(tmp_path: Path) -> None:
    (tmp_path / "size.h").write_text("#define SIZE 16\n")
    file = tmp_path / "x.edl"
    file.write_text('#include "size.h"\n' + trusted("public void f([in] int a[SIZE]);"))
    assert load(file).ecalls[0].parameters[0].dimensions == (16,)


def test_a_backslash_at_its_end_continues_a_line(tmp_path: Path) -> None:
    file = tmp_path / "x.edl"
    file.write_text(trusted("public void f([in] int* p, \\\n int q);"))
    assert [parameter.name for parameter in load(file).ecalls[0].parameters] == ["p", "q"]


def test_places_are_those_before_the_preprocessor(tmp_path: Path) -> None:
    file = tmp_path / "x.edl"
    file.write_text("#define T int\n#if 0\n\n\n\n#endif\nenclave {\n  trusted { public T; };\n};\n")
    with pytest.raises(EdlError, match=rf"^{file}:8:"):
        load(file)


def test_what_the_preprocessor_refuses_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.edl"
    file.write_text('#include "nowhere.h"\nenclave { };\n')
    with pytest.raises(EdlError, match=r"x\.edl.*nowhere\.h"):
        load(file)


_WORDS = """enclave { } ; trusted untrusted public void int char * [ ] ( ) , in out = size 4 n string const struct union
enum from import "x.edl" "sgx_tstdc.edl" allow include unsigned long /* */ // f p user_check"""
WORDS = st.sampled_from([*_WORDS.split(), "\n"])


@settings(max_examples=500)
@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join)))
def test_garbage_gives_nothing_but_edl_errors(text: str) -> None:
    try:
        parse(text.replace("#", ""))
    except EdlError as error:
        assert str(error)


@settings(max_examples=300)
@given(st.data())
def test_damaged_files_give_nothing_but_edl_errors(data: st.DataObject) -> None:
    text = str(parse(trusted("public int f([in, count=n] int* p, size_t n, [in, string] const char* s);")))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    damaged = text[:start] + data.draw(st.one_of(st.just(""), WORDS)) + text[end:]
    try:
        parse(damaged)
    except EdlError as error:
        assert str(error)
