"""`enclu quote`: look at quotes, verify them, and what verifiers need of a machine."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from enclu.host.errors import HostError

if TYPE_CHECKING:
    from enclu.host.attestation.verify import Verdict

MARKS = {True: "ok  ", False: "FAIL", None: "note"}
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Hex(click.ParamType[bytes]):
    """Bytes as hexadecimal digits."""

    name = "hex"

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            data = bytes.fromhex(str(value))
        except ValueError:
            self.fail(f"{value!r} is not made of hexadecimal digits", param, ctx)
        if not self.least <= len(data) <= self.most:
            size = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
            self.fail(f"{len(data)} bytes; {size} are needed", param, ctx)
        return data


class Time(click.ParamType[datetime.datetime]):
    """A date, or a date and time, in UTC unless it says otherwise."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        if isinstance(value, datetime.datetime):
            return value
        try:
            at = datetime.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write for example 2020-05-25 or 2020-05-25T12:00:00+00:00", param, ctx)
        return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)


@click.group(
    epilog="""\b
Examples:
  enclu quote inspect quote.bin
  enclu quote root --machine build7 > root.pem
  enclu quote verify quote.bin --root root.pem --mrenclave 2531fd89...
  enclu quote make enclave.elf --by 1 --data "key 7" --machine build7 -o quote.bin"""
)
def quote() -> None:
    """Quotes: ECDSA (DCAP), version 3."""


@quote.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def inspect(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Say what is in a quote.  Nothing is verified."""
    from enclu.host.attestation import quote as quotes

    try:
        found = quotes.open_quote(file)
    except HostError as error:
        _fail(ctx, error)
    click.echo(json.dumps(quotes.as_json(found), indent=1) if as_json else quotes.describe(found))


@quote.command(
    epilog="""\b
Exit status: 0 if the quote is to be believed, 1 if not.
ok    as it should be
note  could not be looked at, for want of what the line names
FAIL  not to be believed"""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--root", type=FILE, help="PEM certificate of the root to trust.  None is trusted by default.")
@click.option("--machine", metavar="NAME", help="Trust the root of this machine (enclu run --machine).")
@click.option("--collateral", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIRECTORY",
              help="With tcb_info.json, qe_identity.json and tcb_signing_chain.pem, to judge the TCB by.")  # fmt: skip
@click.option("--crl", "crls", type=FILE, multiple=True, help="A certificate revocation list; may be repeated.")
@click.option("--at", type=Time(), help="Verify as of this time.  Default: now.")
@click.option("--mrenclave", type=Hex(32, 32), help="The enclave must be this.")
@click.option("--mrsigner", type=Hex(32, 32), help="Its signer must be this.")
@click.option("--isvprodid", type=int, help="It must be this product.")
@click.option("--min-isvsvn", type=int, default=0, help="Its security version must be this or higher.")
@click.option("--report-data", type=Hex(1, 64), help="It must say this (zeros may follow).")
@click.option("--accept-tcb", multiple=True, metavar="STATUS",
              help="Accept this TCB status besides UpToDate; may be repeated.")  # fmt: skip
@click.option("--debug", "allow_debug", is_flag=True, help="Accept a debug enclave.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: good, and checks as a list.")
@click.pass_context
def verify(
    ctx: click.Context, /, file: Path, root: Path | None, machine: str | None, collateral: Path | None,
    crls: tuple[Path, ...], at: datetime.datetime | None, accept_tcb: tuple[str, ...], as_json: bool, **wanted: Any,
) -> None:  # fmt: skip
    """Verify a quote in full: certificates, signatures, debug, TCB, and what is expected of the enclave."""
    from enclu import attestation
    from enclu.host.attestation import collateral as files
    from enclu.host.attestation.collateral import STATUSES
    from enclu.host.attestation.revocation import load_crl

    if root is not None and machine is not None:
        raise click.UsageError("--root and --machine both name a root; give one")
    for status in set(accept_tcb) - STATUSES:
        raise click.BadParameter(f"{status!r} is none of {', '.join(sorted(STATUSES))}", param_hint="--accept-tcb")
    try:
        if root is not None:
            wanted["root"] = attestation.load_certificates(files.read(root), str(root))[0]
        elif machine is not None:
            wanted["root"] = attestation.root(machine)
        if collateral is not None:
            found = {p.name: files.read(p) for p in collateral.iterdir() if p.is_file()}
            wanted |= attestation.expectations_of(found)
        wanted["crls"] = [load_crl(files.read(crl), str(crl)) for crl in crls]
        wanted["accepted_tcb"] = frozenset({files.UP_TO_DATE, *accept_tcb})
        verdict = attestation.verify(attestation.open_quote(file), at=at, **wanted)
    except HostError as error:
        _fail(ctx, error)
    _print(verdict, as_json)
    ctx.exit(0 if verdict.good else 1)


@quote.command()
@click.option("--machine", required=True, metavar="NAME", help="A machine that keeps its keys (enclu run --machine).")
@click.pass_context
def root(ctx: click.Context, machine: str) -> None:
    """Print the certificate that a machine's quotes can be verified by."""
    from enclu import attestation
    from enclu.host.attestation.manufacturer import pem

    try:
        click.echo(pem(attestation.root(machine)).decode(), nl=False)
    except HostError as error:
        _fail(ctx, error)


@quote.command("collateral")
@click.option("--machine", required=True, metavar="NAME", help="A machine that keeps its keys (enclu run --machine).")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="A directory.")
@click.pass_context
def write_collateral(ctx: click.Context, machine: str, output: Path) -> None:
    """Write what judging the TCB of a machine's quotes takes, good for 30 days."""
    from enclu.host.attestation.manufacturer import Manufacturer
    from enclu.host.attestation.platform import collateral_files
    from enclu.host.machine import Machine

    try:
        files = collateral_files(Manufacturer(Machine(name=machine).secret), datetime.datetime.now(datetime.UTC))
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (output / name).write_bytes(content)
    except HostError as error:
        _fail(ctx, error)
    except OSError as error:
        _fail(ctx, HostError(f"{error.filename}: {error.strerror}"))


@quote.command()
@click.argument("image", type=FILE, metavar="ENCLAVE")
@click.option("--by", type=int, required=True, metavar="NUMBER",
              help="The enclave's ECALL that answers a struct report_request (attestation.h).")  # fmt: skip
@click.option("--data", default="", help="What the enclave is asked to say: at most 64 bytes.")
@click.option("--machine", metavar="NAME", help="On this machine; on one of its own otherwise.")
@click.option("--pce", type=FILE, help="A certification enclave: Intel's libsgx_pce.signed.so.  Default: enclu's own.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.pass_context
def make(
    ctx: click.Context, image: Path, by: int, data: str, machine: str | None, pce: Path | None, output: Path
) -> None:
    """Load an enclave and have it quoted."""
    import enclu
    from enclu import attestation

    try:
        with enclu.Machine(name=machine) as m, m.process() as process:
            platform = attestation.Platform(process, pce=enclu.open_image(pce)) if pce else None
            made = attestation.quote(process.load(image), data.encode(), by=by, platform=platform)
        output.write_bytes(made)
    except HostError as error:
        _fail(ctx, error)
    except OSError as error:
        _fail(ctx, HostError(f"{error.filename}: {error.strerror}"))


def _print(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        checks = [{"name": c.name, "good": c.good, "text": c.text} for c in verdict.checks]
        click.echo(json.dumps({"good": verdict.good, "checks": checks}, indent=1))
        return
    for check in verdict.checks:
        click.echo(f"{MARKS[check.good]}  {check.name}: {check.text}")
    click.echo("the quote is to be believed" if verdict.good else "the quote is NOT to be believed")


def _fail(ctx: click.Context, error: HostError) -> NoReturn:
    print(f"enclu: {error}", file=sys.stderr)
    ctx.exit(1)
