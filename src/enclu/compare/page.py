"""The results as one page of HTML, which needs nothing else and is readable on a phone."""

from __future__ import annotations

from html import escape
from pathlib import Path

from enclu import __version__
from enclu.compare.catalog import Scenario
from enclu.compare.results import Design, Results
from enclu.compare.runner import Cell, Outcome

MARKS = {Outcome.WORKS: "✓", Outcome.WRONG: "≠", Outcome.REFUSED: "⊘", Outcome.KILLED: "†"}
MEANINGS = {
    Outcome.WORKS: "all that was observed is as it should be",
    Outcome.WRONG: "something is not",
    Outcome.REFUSED: "an error number said no",
    Outcome.KILLED: "a signal ended the program",
}
HERE = Path(__file__).parent
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>How the kernel hands an enclave's exception to user space</title>
<style>
{css}</style>
</head>
<body>
<h1>How the kernel hands an enclave's exception to user space</h1>
<p class="dim">The arguments of &ldquo;[RFC,v3,0/4] x86: Add exception fixup for SGX ENCLU&rdquo; as programs, run under
every design by <code>enclu compare</code> {version}, {runs}. Tap a cell to see what was observed.</p>
<p class="legend">{legend}</p>
{body}
<script>
{js}</script>
</body>
</html>
"""


def render(results: Results) -> str:
    """The page."""
    parts = [_matrix(results), "<h2>What the designs cost</h2>", _figures(results.designs), _needs(results.designs)]
    parts += ["<h2>Scenarios</h2>", *(_scenario(s, results.row(s)) for s in results.scenarios)]
    legend = "\n".join(
        f'<span><b class="{o}">{MARKS[o]} {o}</b> <span class="dim">{escape(MEANINGS[o])}</span></span>'
        for o in Outcome
    )
    return PAGE.format(
        css=(HERE / "page.css").read_text(), js=(HERE / "page.js").read_text(), version=escape(__version__),
        runs="once each" if results.runs == 1 else f"{results.runs} times each", legend=legend, body="\n".join(parts),
    )  # fmt: skip


def anchor(cell: Cell) -> str:
    """The fragment that leads to a cell; documents link to it."""
    return f"{cell.task.scenario.name}--{cell.task.design.replace(':', '-')}"


def _matrix(results: Results) -> str:
    heads = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in results.columns())
    rows = []
    for scenario in results.scenarios:
        cells = "".join(f"<td>{_mark(results.cell(scenario, name))}</td>" for name in results.columns())
        link = f'<a href="#{escape(scenario.name)}">{escape(scenario.title)}</a>'
        rows.append(f'<tr><th scope="row">{link}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="matrix"><thead><tr><td></td>{heads}</tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _mark(cell: Cell | None) -> str:
    if cell is None:
        return ""
    words = f"{cell.task.scenario.title}, {cell.task.design}: {cell.outcome}"
    return (
        f'<a class="{cell.outcome}" href="#{escape(anchor(cell))}" title="{escape(cell.reason)}" '
        f'aria-label="{escape(words)}"><span class="mark">{MARKS[cell.outcome]}</span>'
        f'<span class="word">{cell.outcome}</span></a>'
    )


def _figures(designs: list[Design]) -> str:
    rows = []
    for d in designs:
        ratios = (f"{d.cost.entry_ratio:.2f}", f"{d.cost.exception_ratio:.2f}") if d.cost else ("", "")
        lines = (str(sum(d.kernel_lines.values())), str(sum(d.user_lines.values())))
        figures = "".join(f"<td>{text}</td>" for text in (*ratios, *lines))
        rows.append(f'<tr><th scope="row">{escape(d.name)}</th>{figures}</tr>')
    heads = "".join(
        f'<th scope="col">{text}</th>'
        for text in ("entry, times signal's", "exception, times signal's", "kernel side, lines", "user side, lines")
    )
    return (
        f'<div class="scroll"><table class="figures"><thead><tr><td></td>{heads}</tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _needs(designs: list[Design]) -> str:
    parts = ["<h2>What user space must provide</h2>"]
    for d in designs:
        items = "".join(f"<li>{escape(need)}</li>" for need in d.needs)
        parts.append(f"<details><summary>{escape(d.name)}</summary><ul>{items}</ul></details>")
    return "\n".join(parts)


def _scenario(scenario: Scenario, row: list[Cell]) -> str:
    quotes = "".join(
        f"<blockquote>{escape(t.says)} <span class='dim'>#{t.message}</span></blockquote>" for t in scenario.thread
    )
    return (
        f'<section id="{escape(scenario.name)}"><h3>{escape(scenario.title)}</h3>\n'
        f"<p>{escape(scenario.about.strip())}</p>\n"
        f"{quotes}\n{''.join(map(_details, row))}</section>"
    )


def _details(cell: Cell) -> str:
    return (
        f'<details id="{escape(anchor(cell))}"><summary><b>{escape(cell.task.design)}</b> '
        f'<span class="{cell.outcome}">{cell.outcome}</span> {escape(cell.reason)}</summary>\n'
        f"<pre>{escape(cell.task.command)}</pre>\n<pre>{escape(cell.ended[0].output.strip())}</pre></details>\n"
    )
