"""Lines of code, without comments, docstrings and blank lines."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from pathlib import Path

import enclu
from enclu.compare.runtimes import Runtime
from enclu.linux import delivery
from enclu.linux.delivery.base import Delivery

PACKAGE = Path(enclu.__file__).parent
_LAYOUT = (
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
    tokenize.ENDMARKER,
)  # fmt: skip


def lines_of(path: Path) -> int:
    """Lines of code of a Python, C or assembly file."""
    text = path.read_text()
    return _python_lines(text) if path.suffix == ".py" else _c_lines(text)


def _python_lines(text: str) -> int:
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documentation.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - documentation)


def _c_lines(text: str) -> int:
    without = re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
    return sum(1 for line in without.splitlines() if line.strip())


def kernel_side(design: str) -> dict[str, int]:
    """Lines of each file that makes a design: its class, what that inherits from another's, and its vDSO source."""
    chosen = delivery.design(design)
    own = [c for c in chosen.__mro__ if issubclass(c, Delivery) and c is not Delivery]
    files = [Path(inspect.getfile(c)) for c in own]
    if chosen.vdso != Delivery.vdso:
        files.append(PACKAGE / "linux" / "vdso" / f"{chosen.vdso}.S")
    return {str(f.relative_to(PACKAGE)): lines_of(f) for f in files}


def user_side(runtime: Runtime) -> dict[str, int]:
    """Lines of each file of a runtime that the design makes necessary: not of what every runtime has."""
    common = runtime.folder.parent / "common"
    files = [*runtime.sources, *(common / name for name in runtime.common)]
    if any(f.suffix == ".S" for f in files):
        files.append(common / "frame.h")
    return {str(f.relative_to(runtime.folder.parents[1])): lines_of(f) for f in files}
