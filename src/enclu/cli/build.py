"""`enclu build`: compile an enclave in C."""

from __future__ import annotations

from pathlib import Path

import click

from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import Attribute


class Pages(click.ParamType[int]):
    """A number of bytes with K, M or G, as pages."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip().upper()
        factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
        digits = text[:-1] if factor > 1 else text
        if not digits.isdecimal():
            self.fail(f"{value!r} is not a size; write for example 64K or 1M", param, ctx)
        size = int(digits) * factor
        if size % PAGE_SIZE:
            self.fail(f"{value}: not a multiple of the page size, {PAGE_SIZE}", param, ctx)
        return size // PAGE_SIZE


class BuildCommand(click.Command):
    """What stands behind `--` is for gcc."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[__name__] = tuple(args[end + 1 :])
        return super().parse_args(ctx, args[:end])


@click.command(
    cls=BuildCommand,
    epilog="""\b
Examples:
  enclu build enclave.c -o enclave.elf
  enclu build enclave.c more.c --heap 1M --threads 8 -- -O2 -DNAME=1
  enclu build token.c --library mbedcrypto      Debian's libmbedtls-dev has it

\b
enclave.c has enclave_main(); what else there is to use, the headers in
  $(python3 -c 'import enclu; print(enclu.enclave_dir())')
tell: trusted.h first.  Sign the result with `enclu sign`.""",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: the first source's name, .elf."
)
@click.option("--threads", type=int, default=4, show_default=True, help="TCSes.")
@click.option("--stack", "stack", type=Pages(), default="32K", show_default=True,
              help="Of each thread, and again for each of 2 levels of exceptions.")  # fmt: skip
@click.option("--heap", "heap", type=Pages(), default="0", show_default=True, help="For malloc().")
@click.option("--spare", "spare", type=Pages(), default="0", show_default=True,
              help="Addresses behind the heap, to which the enclave can have pages added.")  # fmt: skip
@click.option("--library", "libraries", multiple=True, metavar="NAME", help="Link a static library; may be repeated.")
@click.option("--provision-key", is_flag=True, help="The enclave may use EGETKEY's provisioning keys.")
@click.option("--aex-notify", is_flag=True, help="The enclave may ask to be notified of AEXs (notify_of_aex()).")
@click.option("--avx", is_flag=True, help="The enclave may use AVX (XFRM 7).")
@click.argument(
    "sources",
    nargs=-1,
    required=True,
    metavar="SOURCE... [-- GCC OPTIONS]",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.pass_context
def build(
    ctx: click.Context, output: Path | None, threads: int, stack: int, heap: int, spare: int,
    libraries: tuple[str, ...], provision_key: bool, aex_notify: bool, avx: bool, sources: tuple[Path, ...],
) -> None:  # fmt: skip
    """Compile SOURCEs, in C or assembly, into an enclave.  Needs gcc."""
    from enclu.host.build import BuildError, Layout, build_enclave

    wanted = {Attribute.PROVISIONKEY: provision_key, Attribute.AEXNOTIFY: aex_notify}
    attributes = sum((attribute for attribute, it_is in wanted.items() if it_is), start=int(Attribute.MODE64BIT))
    layout = Layout(threads, stack, heap, spare, attributes, 7 if avx else 3)
    try:
        build_enclave(
            sources, output or sources[0].with_suffix(".elf"), layout, flags=ctx.meta[__name__], libraries=libraries
        )
    except BuildError as error:
        click.echo(f"enclu: {error}", err=True)
        ctx.exit(1)
