"""`enclu sweep`: a call of an enclave, interrupted at each of its instructions by a hostile host."""

from __future__ import annotations

import functools
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enclu.base import console
from enclu.cli.interruptible import interruptible
from enclu.linux import delivery

if TYPE_CHECKING:
    from enclu.sweep.behaviour import Behaviour
    from enclu.sweep.subject import Subject
    from enclu.sweep.verdict import Verdict

CLEAN, FOUND, UNABLE, INTERRUPTED = 0, 1, 125, 130
FILE = click.Path(exists=True, dir_okay=False)


@click.command(
    epilog="""\b
Examples:
  enclu sweep enclave.signed.so 'sum([1, 2, 3], 3)' --edl enclave.edl
  enclu sweep enclave.signed.so '0(b"\\0" * 64)'             an ECALL by its number
  enclu sweep enclave.elf 3 --host int:resume               interrupts, and nothing else
  enclu sweep enclave.elf 3 --host pf:handle,resume         #PF, the enclave's handler
  enclu sweep enclave.elf 3 --host int:write=0+8=ff,resume  memory changed in between
  enclu sweep enclave.elf 3 --where window --workers 4 --html sweep.html
  enclu sweep enclave.elf 3 --replay 411:pf:handle,resume --trace

\b
A host's behaviour is EVENT:ACTION,ACTION,...
  int, pf              an interrupt; #PF, by withdrawing the next instruction's page
  ud, gp, de, ...      any other exception: forged, no host can bring it about
  resume               ERESUME, and serve the rest of the call
  handle               enter the enclave's exception handler, at the next CSSA
  again, other         make the same call on the same, or on another TCS
  write=BLOCK+OFFSET=HEX  change memory that host and enclave share

\b
Exit status: 0 if every outcome is harmless (the same, refused by the enclave, or
  as if memory had been changed before the call), 1 if not or, with --merge, if
  parts are missing or were stopped early, 2 for a bad option, 125 if the call
  cannot be swept, with the behaviours that were complete before, 130 after
  Ctrl-C, with what there is till then.""",
)
@click.option("--host", "behaviours", multiple=True, metavar="EVENT:ACTIONS",
              show_default="int:resume, pf:handle,resume",
              help="What the host does; may be given several times.")  # fmt: skip
@click.option(
    "--where", default="all", show_default=True, metavar="PLACES",
    help="all; functions: each address once; window: around EENTERs and EEXITs; or ranges, 0:40,411:546.",
)  # fmt: skip
@click.option("--edl", type=FILE, metavar="FILE", help="The enclave's EDL file: calls by name, with arguments.")
@click.option("--sigstruct", type=FILE, metavar="FILE", help="A SIGSTRUCT in place of the image's own.")
@click.option("--convention", metavar="NAME", help="How calls go, if the image does not tell: docs/conventions.md.")
@click.option("--delivery", "design", type=click.Choice(delivery.choices()), metavar="NAME", default="vdso",
              show_default=True, help="The delivery design of the host.")  # fmt: skip
@click.option("--debug/--production", default=None, help="ATTRIBUTES.DEBUG, where the SIGSTRUCT leaves it open.")
@click.option(
    "--exinfo", is_flag=True,
    help="Sign the image anew, so that MISCSELECT has EXINFO and the enclave learns of #PF and #GP.",
)  # fmt: skip
@click.option("--ocalls", metavar="MODULE[:OBJECT]", help="Python functions by the names of OCALLs; others return 0.")
@click.option("--rsp", metavar="NUMBER|trusted",
              help="The host's RSP at the first EENTER: from ELRANGE's base on, or in its stack.")  # fmt: skip
@click.option("--warm", type=click.IntRange(0), default=1, show_default=True,
              help="Calls before the first that counts, for what happens once only.")  # fmt: skip
@click.option("--hang", type=click.FloatRange(0.01), default=2.0, show_default=True, metavar="SECONDS",
              help="After which a call hangs; those in which others had the processor do not count.")  # fmt: skip
@click.option("--most", type=click.IntRange(1), default=1 << 18, show_default=True,
              help="Instructions of the call that are stepped through; the rest runs freely.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that share the work.")
@click.option("--dask", metavar="ADDRESS", help="The scheduler of a Dask cluster whose workers do it.")
@click.option("--slice", "part", metavar="I/N", help="Only the I-th of N parts, for machines that know of no other.")
@click.option("--merge", "files", multiple=True, type=FILE, metavar="FILE",
              help="Verdicts of parts, as --json wrote them: one a behaviour; no sweep.  Several times.")  # fmt: skip
@click.option("--replay", metavar="N:EVENT:ACTIONS", help="Only after N instructions.")
@click.option("--trace", is_flag=True, help="With --replay: what happened, on standard error.")
@click.option("--minimise", is_flag=True,
              help="With --replay: look for the simplest behaviour with the same outcome, by Hypothesis.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output, a line for each behaviour.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="A page, too.")
@click.argument("image", required=False)
@click.argument("call", required=False)
@click.pass_context
def sweep(
    ctx: click.Context, behaviours: tuple[str, ...], where: str, edl: str | None, sigstruct: str | None,
    convention: str | None, design: str, debug: bool | None, exinfo: bool, ocalls: str | None, rsp: str | None,
    warm: int, hang: float, most: int, workers: int, dask: str | None, part: str | None, files: tuple[str, ...],
    replay: str | None, trace: bool, minimise: bool, as_json: bool, html: Path | None, image: str | None,
    call: str | None,
) -> None:  # fmt: skip
    """Interrupt CALL of the enclave in IMAGE at each of its instructions, and see what becomes of it.

    One call is stepped through; at each instruction the host does what --host says, the call runs to its end, and the
    enclave is brought back to that instruction.  What is told: where the outcome is another than that of the
    undisturbed call, as ranges of instructions with their places, each host-causable or forged.
    """
    from enclu.host.errors import HostError
    from enclu.sweep import page, report
    from enclu.sweep import points as places
    from enclu.sweep.behaviour import Behaviour
    from enclu.sweep.call import EcallText
    from enclu.sweep.subject import Subject

    failed = ""
    try:
        if files:
            verdicts = _merged(files)
            status = _status(verdicts) if all(verdict.whole for verdict in verdicts) else FOUND
        else:
            if image is None or call is None:
                raise click.UsageError("an image and a call are needed", ctx)
            with _told_as(ctx, "CALL"):
                EcallText(call)
            with _told_as(ctx, "--where"):
                places.check(where)
            with _told_as(ctx, "--host"):
                chosen = [Behaviour.parse(text) for text in behaviours or ("int:resume", "pf:handle,resume")]
            subject = Subject(
                str(Path(image).resolve()), call, _resolved(edl), _resolved(sigstruct), convention, design, debug,
                exinfo, ocalls, warm, _number(ctx, rsp), hang, most,
            )  # fmt: skip
            if replay is not None:
                ctx.exit(_replay(ctx, subject, replay, trace=trace, minimise=minimise, as_json=as_json))
            verdicts, status, failed = _swept(subject, chosen, where, workers, dask, _part(ctx, part))
        where_of = functools.cache(report.where_of)  # one image for all behaviours
        for verdict in verdicts:
            if as_json:
                print(json.dumps(report.as_dict(verdict, where_of(verdict.image))))
            else:
                print("\n".join(report.lines(verdict, where_of(verdict.image))), end="\n\n")
        if html is not None and verdicts:
            html.write_text(page.render(verdicts, where_of(verdicts[0].image)))
        if failed:
            sys.stdout.flush()
            console.say(failed)
    except HostError as error:
        console.say(str(error))
        ctx.exit(UNABLE)
    except BrokenPipeError:
        console.null(sys.stdout.fileno())  # who read has seen enough
    except OSError as error:
        console.say(str(error.strerror or error) if error.filename is None else f"{error.filename}: {error.strerror}")
        ctx.exit(UNABLE)
    ctx.exit(status)


@contextmanager
def _told_as(ctx: click.Context, option: str) -> Iterator[None]:
    """What is wrong with it is a mistake in the command."""
    from enclu.host.errors import HostError

    try:
        yield
    except HostError as error:
        raise click.BadParameter(str(error), ctx, param_hint=option) from None


def _resolved(path: str | None) -> str | None:
    """Workers may have another working directory."""
    return None if path is None else str(Path(path).resolve())


def _number(ctx: click.Context, text: str | None) -> int | str | None:
    try:
        if text == "trusted":
            return text
        return None if text is None else int(text, 0)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no number", ctx, param_hint="--rsp") from None


def _part(ctx: click.Context, text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{text!r} is no part: 1/4 is the first of four", ctx, param_hint="--slice")
    return int(match[1]), int(match[2])


def _merged(files: tuple[str, ...]) -> list[Verdict]:
    """Raises VerdictError, OSError."""
    from enclu.sweep.verdict import Verdict, VerdictError, merged_by_behaviour

    verdicts = []
    for file in files:
        try:
            verdicts += Verdict.several(Path(file).read_text())
        except UnicodeDecodeError:
            raise VerdictError(f"{file}: no verdict of enclu sweep: it is no text") from None
        except VerdictError as error:
            raise VerdictError(f"{file}: {error}") from None
    return merged_by_behaviour(verdicts)


def _status(verdicts: list[Verdict]) -> int:
    return CLEAN if all(verdict.harmless and verdict.complete for verdict in verdicts) else FOUND


def _swept(
    subject: Subject, behaviours: list[Behaviour], where: str, workers: int, dask: str | None, part: tuple[int, int]
) -> tuple[list[Verdict], int, str]:  # fmt: skip
    """The verdicts, what there is of them after Ctrl-C; the exit status; and why those are missing that are.

    Raises HostError where there are no workers.
    """
    from enclu.host.errors import HostError

    begun: list[Verdict] = []
    complete: list[Verdict] = []
    try:
        with interruptible(), _progress() as told, _sweeper(workers, dask) as sweep:
            for behaviour in behaviours:
                try:
                    done = sweep(subject, behaviour, where, slice_of=part, told=told(str(behaviour)), sink=begun.append)
                except HostError as error:
                    return complete, UNABLE, str(error)
                complete.append(done)
    except KeyboardInterrupt:
        console.say("interrupted: what follows is what had been tried")
        return begun, INTERRUPTED, ""
    return complete, _status(complete), ""


@contextmanager
def _sweeper(workers: int, dask: str | None) -> Iterator[Callable[..., Verdict]]:
    """Who does it, for all behaviours.  Raises HostError."""
    from enclu.sweep.run import Cluster, LocalWorkers, sweep

    if dask is None and workers == 1:
        yield sweep
        return
    with Cluster(dask) if dask is not None else LocalWorkers(workers) as shared:
        yield shared.sweep


@contextmanager
def _progress() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Makes what is told how far a behaviour has come; a terminal shows it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:

        def tell(what: str) -> Callable[[int, int], None]:
            bar = progress.add_task(what, total=None)
            return lambda done, wanted: progress.update(bar, completed=done, total=wanted)

        yield tell


def _replay(
    ctx: click.Context, subject: Subject, text: str, *, trace: bool, minimise: bool, as_json: bool
) -> int:  # fmt: skip
    """One point; the exit status.  Raises HostError."""
    from enclu.sweep import report
    from enclu.sweep.behaviour import Behaviour
    from enclu.sweep.run import sweep

    number, _, words = text.partition(":")
    if not number.isdigit():
        raise click.BadParameter(f"{text!r}: begins with the number of an instruction", ctx, param_hint="--replay")
    with _told_as(ctx, "--replay"):
        behaviour = Behaviour.parse(words)
    if minimise:
        from enclu.sweep.minimise import simplest

        behaviour = simplest(subject, int(number), behaviour)
        console.say(f"the simplest behaviour with this outcome: --replay {number}:{behaviour}")
    with interruptible(), tempfile.TemporaryDirectory(prefix="enclu-") as directory:
        log = Path(directory) / "trace"
        verdict = sweep(subject, behaviour, number, trace=str(log) if trace else None)
        if trace:
            console.write(log.read_text())
    where = report.where_of(verdict.image)
    if as_json:
        print(json.dumps(report.as_dict(verdict, where)))
    else:
        for point, outcome in verdict.points.items():
            print(f"{point}:{behaviour} at {where(verdict.rips[point])}: {outcome}")
    return _status([verdict])
