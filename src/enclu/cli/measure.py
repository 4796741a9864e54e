"""`enclu measure`: print MRENCLAVE."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enclu.base import console

if TYPE_CHECKING:
    from enclu.host.images import Image


class Version(click.ParamType[tuple[int, int]]):
    """MAJOR.MINOR."""

    name = "version"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value[0], value[1]
        match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", str(value))
        if match is None:
            self.fail(f"{value!r} is not a version; write for example 2.4", param, ctx)
        return int(match[1]), int(match[2])


FILE = click.Path(dir_okay=False, path_type=Path)
SIGSTRUCT_OPTION = click.option(
    "--sigstruct", type=FILE, metavar="SIG", help="The SIGSTRUCT, in a file of 1808 bytes. Default: the one inside; "
    "for ELF and SGXS images, FILE.sig if there is one."
)  # fmt: skip
METADATA_OPTION = click.option(
    "--metadata", type=Version(), metavar="MAJOR.MINOR", help="Of an Intel SDK image's metadata, this version's. "
    "Default: the one that the newest loader takes."
)  # fmt: skip
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command(
    epilog="""\b
Examples:
  enclu measure enclave.signed.so
  enclu measure app.sgxs --sigstruct app.sig
  enclu measure enclave.signed.so --json | jq -r .mrenclave

\b
FILE is an enclave of any of these kinds; what is inside tells which:
  ELF        as Linux's SGX selftest has them, and as `enclu build` makes them
  SGXS       streams of ECREATE, EADD and EEXTEND, as Fortanix's tools make them
  Intel SDK  shared objects that sgx_sign has signed
  Open Enclave  ELF files that oesign has signed

\b
Exit status: 0 if all is well, also if there is no SIGSTRUCT; 1 if a SIGSTRUCT
  has another MRENCLAVE, or FILE is damaged; 2 for a bad option.""",
)
@SIGSTRUCT_OPTION
@METADATA_OPTION
@JSON_OPTION
@click.argument("file", type=FILE)
@click.pass_context
def measure(
    ctx: click.Context, sigstruct: Path | None, metadata: tuple[int, int] | None, as_json: bool, file: Path
) -> None:
    """Print the MRENCLAVE of the enclave in FILE.

    It is computed as the enclave's own loader and the processor would; exit 1 if its SIGSTRUCT disagrees.
    """
    from enclu.host.errors import HostError
    from enclu.host.images import open_image

    try:
        image = open_image(file, sigstruct, metadata)
        others = image.other_versions() if sigstruct is None and metadata is None else ()
        results = [_result(each) for each in (image, *others)]
    except HostError as error:
        console.say(str(error))
        ctx.exit(1)
    if as_json:
        first = results[0]
        print(json.dumps({"file": str(file), "format": image.format, "size": image.size, **first, "all": results}))
    else:
        print(results[0]["mrenclave"])
    for result in results:
        if result["agrees"] is False:
            console.say(f"{file}: {_which(result)}measures to {result['mrenclave']}, its SIGSTRUCT is for "
                        f"{result['sigstruct']}: changed since it was signed, or signed for another")  # fmt: skip
    ctx.exit(1 if any(result["agrees"] is False for result in results) else 0)


def _result(image: Image) -> dict[str, Any]:
    from enclu.sgx.structs import SIGSTRUCT

    measured = image.mrenclave()
    signed = None if image.sigstruct is None else SIGSTRUCT.get(image.sigstruct, "ENCLAVEHASH")
    return {
        "mrenclave": measured.hex(), "sigstruct": None if signed is None else signed.hex(),
        "agrees": None if signed is None else signed == measured,
        "metadata": None if image.metadata_version is None else "{}.{}".format(*image.metadata_version),
    }  # fmt: skip


def _which(result: dict[str, Any]) -> str:
    return f"by its metadata {result['metadata']} it " if result["metadata"] else ""
