"""EDL files as editors of all systems write them: line ends, byte order marks, comments in any encoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from enclu.host.edl import EdlError, load, parse


def written(directory: Path, content: bytes) -> Path:
    path = directory / "x.edl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \t\n", b" \r\n"])
def test_a_backslash_before_any_line_end_continues_the_line(tmp_path: Path, end: bytes) -> None:
    text = b"enclave { trusted {\n// a comment \\END void not_there();\n public void \\ENDf(int a); }; };"
    interface = load(written(tmp_path, text.replace(b"END", end)))
    assert [ecall.name for ecall in interface.ecalls] == ["f"]


def test_places_are_right_after_continued_lines_of_crlf(tmp_path: Path) -> None:
    path = written(
        tmp_path, b"enclave {\r\n  trusted { public \\\r\n void f();\r\n    public void g(int);\r\n };\r\n};\r\n"
    )
    with pytest.raises(EdlError, match=rf"{path}:4:22: unexpected `\)'"):
        load(path)


@pytest.mark.parametrize(
    "comment", [b"// caf\xe9", b"/* \xd6\xd0\xce\xc4 */", b"// \xa7\xbe \x81\x5c\n", b"/* \xff\xfe\x80 */"]
)
@pytest.mark.parametrize("directive", [b"", b"#define NOTHING\n"])
def test_comments_may_be_in_any_encoding(tmp_path: Path, comment: bytes, directive: bytes) -> None:
    interface = load(written(tmp_path, directive + b"enclave { " + comment + b"\n trusted { public void f(); }; };"))
    assert [ecall.name for ecall in interface.ecalls] == ["f"]


@pytest.mark.parametrize("directive", [b"", b"#define NOTHING\n"])
def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path, directive: bytes) -> None:
    interface = load(written(tmp_path, b"\xef\xbb\xbf" + directive + b"enclave { trusted { public void f(); }; };"))
    assert [ecall.name for ecall in interface.ecalls] == ["f"]


def test_a_byte_that_is_not_in_a_comment_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, b"enclave { trusted {\n public void caf\xe9(); }; };")
    with pytest.raises(EdlError, match=rf"{path}:2:17: unexpected byte 0xe9"):
        load(path)


def test_a_character_of_utf_8_is_named_as_such() -> None:
    with pytest.raises(EdlError, match="unexpected character 'é'"):
        parse("enclave { trusted { public void café(); }; };")


def test_a_file_name_that_is_not_utf_8_is_refused_at_its_place(tmp_path: Path) -> None:
    with pytest.raises(EdlError, match=r"x\.edl:2:1: a file's name that is not UTF-8"):
        load(written(tmp_path, b'enclave {\nfrom "caf\xe9.edl" import *; };'))
