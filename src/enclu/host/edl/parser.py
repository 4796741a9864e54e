"""From the text of one EDL file to its declarations.

As edger8r does, the C preprocessor goes first where a file has directives for it.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken, v_args
from lark.exceptions import VisitError
from lark.tree import Meta

from enclu.base import files
from enclu.host.edl import checks
from enclu.host.edl.syntax import (
    Attributes,
    Composite,
    Count,
    CType,
    Ecall,
    EdlError,
    EdlFile,
    Enumeration,
    Import,
    Kind,
    Ocall,
    Position,
    Variable,
)

MAX_FILE_SIZE = 1 << 20
GCC_TIME = 20.0
"""Seconds for the preprocessor."""
_DIRECTIVE = re.compile(r"^[ \t]*#|\\[ \t]*$", re.MULTILINE)
"""Or a line that goes on in the next one: gcc lets spaces stand behind the backslash."""
_BYTES = "surrogateescape"
"""How bytes that are not UTF-8 are kept: comments may be in any encoding, for edger8r reads bytes."""
_LINE_MARKER = re.compile(r'^# (\d+) "([^"\n]*)"[^\n]*$')


@functools.cache
def _grammar() -> Lark:
    text = Path(__file__).with_name("edl.lark").read_text()
    return Lark(text, parser="lalr", lexer="basic", propagate_positions=True, maybe_placeholders=True)


def parse_file(path: Path) -> EdlFile:
    """The declarations in a file."""
    try:
        content = files.read_named(path, MAX_FILE_SIZE)
    except OSError as error:
        raise EdlError(path, f"cannot be read: {error.strerror}") from None
    return parse_text(content.decode(errors=_BYTES), path)


def parse_text(text: str, path: Path) -> EdlFile:
    """The declarations in a text; the path is for messages, and for what `#include` finds."""
    text, lines = text.removeprefix("\ufeff").replace("\r\n", "\n"), None
    if _DIRECTIVE.search(text):
        text, lines = _preprocessed(text, path)
    try:
        tree = _grammar().parse(text)
        declarations = _Declarations(str(path), lines).transform(tree)
    except UnexpectedInput as error:
        raise _syntax_error(error, text, path, lines) from None
    except VisitError as error:
        if isinstance(error.orig_exc, EdlError):
            raise error.orig_exc from None
        raise
    assert isinstance(declarations, EdlFile)
    return declarations


def _preprocessed(text: str, path: Path) -> tuple[str, list[tuple[str, int]]]:
    """The text after the C preprocessor, and of which file's line each of its lines is."""
    cpp = shutil.which("gcc") or shutil.which("cc")
    if cpp is None:
        raise EdlError(path, "has preprocessor directives, and there is no gcc to expand them")
    command = [cpp, "-x", "c", "-E", "-I", str(path.parent), "-"]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, encoding="utf-8", errors=_BYTES, timeout=GCC_TIME, check=False
        )
    except subprocess.TimeoutExpired:
        raise EdlError(path, f"gcc does not expand its preprocessor directives within {GCC_TIME:g} seconds") from None
    if done.returncode:
        complaint = next((line for line in done.stderr.splitlines() if "error" in line), "gcc -E failed")
        raise EdlError(path, complaint.replace("<stdin>", path.name))
    kept, lines = [], []
    file, number = str(path), 1
    for line in done.stdout.removesuffix("\n").split("\n"):
        if marker := _LINE_MARKER.match(line):
            number, name = int(marker[1]), marker[2]
            file = str(path) if name == "<stdin>" else name
        else:
            kept.append(line)
            lines.append((file, number))
            number += 1
    return "\n".join(kept) + "\n", [*lines, (file, number)]


def _syntax_error(error: UnexpectedInput, text: str, path: Path, lines: list[tuple[str, int]] | None) -> EdlError:
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        line, column, found = error.token.line, error.token.column, f"unexpected `{error.token}'"
    elif isinstance(error, UnexpectedCharacters):
        line, column, found = error.line, error.column, _unexpected(text[error.pos_in_stream or 0])
    else:
        assert isinstance(error, UnexpectedEOF | UnexpectedToken)
        line, column, found = text.count("\n") + 1, len(text) - text.rfind("\n"), "the file ends too early"
    return EdlError(_position(str(path), lines, line or 1, column or 1), found)


def _unexpected(character: str) -> str:
    byte = character.encode(errors=_BYTES)
    return (
        f"unexpected character {character!r}"
        if character.isascii() or len(byte) > 1
        else f"unexpected byte {byte[0]:#04x}"
    )


def _position(path: str, lines: list[tuple[str, int]] | None, line: int, column: int) -> Position:
    if lines is not None:
        path, line = lines[min(line, len(lines)) - 1]
    return Position(path, line, column)


@v_args(inline=True, meta=True)
class _Declarations(Transformer[Token, Any]):
    """The parse tree, from its leaves up, as declarations."""

    def __init__(self, path: str, lines: list[tuple[str, int]] | None) -> None:
        super().__init__()
        self.path = path
        self.lines = lines

    def _at(self, meta: Meta) -> Position:
        if meta.empty:
            return Position(self.path, 1, 1)
        return _position(self.path, self.lines, meta.line, meta.column)

    def start(self, meta: Meta, *parts: Any) -> EdlFile:
        flat: list[Any] = []
        for part in parts:
            flat.extend(part if isinstance(part, list) else [part])

        def of(kind: Any) -> tuple[Any, ...]:
            return tuple(part for part in flat if isinstance(part, kind))

        return EdlFile(self.path, of(str), of(Import), of(Composite | Enumeration), of(Ecall), of(Ocall))

    def trusted(self, meta: Meta, *parts: Any) -> list[Any]:
        return list(parts)

    untrusted = trusted

    def include(self, meta: Meta, path: Token) -> str:
        return self._path(meta, path)

    def _path(self, meta: Meta, quoted: Token) -> str:
        path = quoted[1:-1]
        if not path.isascii() and path != path.encode(errors=_BYTES).decode(errors="replace"):
            raise EdlError(self._at(meta), "a file's name that is not UTF-8")
        return path

    def names(self, meta: Meta, *names: Token) -> tuple[str, ...]:
        return tuple(map(str, names))

    def all_names(self, meta: Meta) -> tuple[str, ...]:
        return ()

    def import_(self, meta: Meta, path: Token, names: tuple[str, ...]) -> Import:
        return Import(self._path(meta, path), names, self._at(meta))

    def composite(self, meta: Meta, tag: Token, name: Token, *members: Variable) -> Composite:
        declared = Composite(str(name), Kind(f"{tag} "), members, self._at(meta))
        checks.composite(declared)
        return declared

    def enumeration(self, meta: Meta, name: Token | None, *values: tuple[str, Count | None] | None) -> Enumeration:
        return Enumeration(str(name or ""), tuple(value for value in values if value), self._at(meta))

    def enumerator(self, meta: Meta, name: Token, value: Token | None) -> tuple[str, Count | None]:
        return str(name), _count(value)

    def ecall(
        self, meta: Meta, public: Token | None, returns: CType, name: Token, parameters: tuple[Variable, ...],
        switchless: Token | None,
    ) -> Ecall:  # fmt: skip
        declared = Ecall(str(name), returns, parameters, bool(switchless), self._at(meta), bool(public))
        checks.function(declared)
        return declared

    def ocall(
        self, meta: Meta, attributes: list[tuple[str, Count | None]] | None, returns: CType, name: Token,
        parameters: tuple[Variable, ...], allow: tuple[str, ...] | None, *words: Token | None,
    ) -> Ocall:  # fmt: skip
        position = self._at(meta)
        specifiers = checks.specifiers(attributes or [], position)
        said = {word.type for word in words if word}
        declared = Ocall(
            str(name), returns, parameters, "SWITCHLESS" in said, position, allow or (), "ERRNO" in said, specifiers
        )
        checks.function(declared)
        return declared

    def allow(self, meta: Meta, names: tuple[str, ...] | None) -> tuple[str, ...]:
        return names or ()

    def parameters(self, meta: Meta, *parameters: Variable | Token) -> tuple[Variable, ...]:
        return tuple(parameter for parameter in parameters if isinstance(parameter, Variable))

    def variable(
        self, meta: Meta, attributes: list[tuple[str, Count | None]] | None, const: Token | None, type: CType,
        name: Token, *dimensions: int,
    ) -> Variable:  # fmt: skip
        position = self._at(meta)
        given = Attributes() if attributes is None else checks.attributes(attributes, position)
        return Variable(str(name), type, given, dimensions, bool(const), position)

    def attributes(self, meta: Meta, *pairs: tuple[str, Count | None] | None) -> list[tuple[str, Count | None]]:
        if not any(pairs):
            raise EdlError(self._at(meta), "there is nothing between the brackets")
        return [pair for pair in pairs if pair]

    def attribute(self, meta: Meta, name: Token, value: Token | None) -> tuple[str, Count | None]:
        return str(name), _count(value)

    def dimension(self, meta: Meta, size: Token | None) -> int:
        if size is None:
            raise EdlError(self._at(meta), "an array needs a size")
        if not 0 < int(size) < 1 << 31:
            raise EdlError(self._at(meta), f"an array of {size} elements cannot be")
        return int(size)

    def type(self, meta: Meta, base: CType, *asterisks: Token) -> CType:
        return CType(base.name, base.kind, len(asterisks))

    def builtin(self, meta: Meta, *words: Token) -> CType:
        try:
            return checks.builtin(" ".join(words))
        except ValueError as error:
            raise EdlError(self._at(meta), str(error)) from None

    def tagged(self, meta: Meta, *tag_and_name: Token) -> CType:
        *tag, name = tag_and_name
        return CType(str(name), Kind(f"{tag[0]} ") if tag else Kind.ENUM)

    def foreign(self, meta: Meta, name: Token) -> CType:
        return CType(str(name), Kind.FOREIGN)


setattr(_Declarations, "import", _Declarations.import_)  # the rule's name is a word of Python's


def _count(value: Token | None) -> Count | None:
    if value is None:
        return None
    return int(value) if value.type == "NUMBER" else str(value)
