"""What is printed for people, and the table of groups in docs/conformance.md.

`python -m enclu.conform.table FILE` writes the table anew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TextIO

from enclu.conform import ConformError
from enclu.conform.accepted import accepted_as
from enclu.conform.report import Case, Outcome, Report, counts

BEGIN, END = "<!-- groups -->", "<!-- end of groups -->"


def print_report(report: Report, strange: list[str], stream: TextIO) -> None:
    """Groups with how their cases ended, then what differs."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, highlight=False, soft_wrap=True)
    console.print(report.machine, markup=False)
    table = Table("group", "cases", *(str(outcome) for outcome in Outcome))
    rows = counts(report.cases)
    for name, row in rows.items():
        table.add_row(name, str(sum(row.values())), *(str(row[outcome] or "") for outcome in Outcome))
    table.add_section()
    total = (sum(row[outcome] for row in rows.values()) for outcome in Outcome)
    table.add_row("", str(len(report.cases)), *map(str, total))
    console.print(table)
    for case in report.cases:
        if case.outcome in (Outcome.DIFFERS, Outcome.ACCEPTED):
            console.print(_difference(case), markup=False)
    for line in strange:
        console.print(line, markup=False)


def _difference(case: Case) -> str:
    lines = [f"{case.outcome}: {case.full_name}", f"  expected {case.expected}  ({case.source})"]
    lines.append(f"  observed {case.observed}")
    if case.outcome is Outcome.ACCEPTED:
        lines.append(f"  docs/fidelity.md: {accepted_as(case.full_name, case.observed)}...")
    return "\n".join(lines)


def print_claims(listed: dict[str, Any], stream: TextIO) -> None:
    """Each claim in a line of its own, with its source."""
    for group, about in listed["groups"].items():
        rows = [each for each in listed["cases"] if each["group"] == group]
        if rows:
            print(f"{group}: {about}", file=stream)
        for each in rows:
            print(f"  {each['name']}: {each['expected']}  ({each['source']})", file=stream)


def markdown(listed: dict[str, Any]) -> str:
    """The table of groups."""
    lines = ["| group | what it claims | cases |", "|---|---|---|"]
    for group, about in listed["groups"].items():
        count = sum(each["group"] == group for each in listed["cases"])
        lines.append(f"| `{group}` | {about} | {count} |")
    return "\n".join([*lines, f"| | | {len(listed['cases'])} |"])


def with_table(text: str, listed: dict[str, Any]) -> str:
    """The page with its table made anew.  Raises ConformError where it has no place for one."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConformError(f"no {BEGIN} and {END} in the page")
    return f"{before}{BEGIN}\n{markdown(listed)}\n{END}{after}"


if __name__ == "__main__":
    from enclu.conform.program import claims

    page = Path(sys.argv[1])
    page.write_text(with_table(page.read_text(), claims()))
