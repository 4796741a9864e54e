"""Lines of code, as the comparison counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from enclu.compare import code_size
from enclu.linux import delivery

PYTHON = '''"""A module.

With more to say.
"""

# A comment.
X = 1  # one
"""What X is."""


def f(a: str) -> str:
    """A function."""
    return """of
several lines"""
'''
C = """/* A comment
 * of three lines
 */
#include <stddef.h>

int f(void) // nothing
{
	/* a comment */ return 1; /* more */
}
"""


@pytest.mark.parametrize(("name", "text", "lines"), [("a.py", PYTHON, 4), ("a.c", C, 5), ("a.S", C, 5)])
def test_comments_docstrings_and_blank_lines_do_not_count(name: str, text: str, lines: int, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert code_size.lines_of(path) == lines


def test_a_design_is_its_file_and_its_vdso_source() -> None:
    assert set(code_size.kernel_side("vdso")) == {"linux/delivery/vdso.py", "linux/vdso/vdso.S"}


def test_a_design_without_a_vdso_function_is_its_file() -> None:
    assert set(code_size.kernel_side("mm-handler")) == {"linux/delivery/mm_handler.py"}


def test_a_design_counts_what_it_inherits_from_another() -> None:
    assert "linux/delivery/vdso.py" in code_size.kernel_side("vdso-2018")


@pytest.mark.parametrize("name", delivery.names())
def test_every_design_has_lines(name: str) -> None:
    assert all(lines > 0 for lines in code_size.kernel_side(name).values())
