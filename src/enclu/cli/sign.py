"""`enclu sign`: make the SIGSTRUCT of an enclave."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enclu.base import console
from enclu.cli.measure import FILE, JSON_OPTION

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from enclu.host.images import Image


class Number(click.ParamType[int]):
    """Of so many bits; decimal, or hexadecimal after 0x."""

    name = "number"

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = value if isinstance(value, int) else int(str(value), 0)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not 0 <= number < 1 << self.bits:
            self.fail(f"{value}: not a number of {self.bits} bits", param, ctx)
        return number


class Id(click.ParamType[bytes]):
    """16 bytes, in hexadecimal."""

    name = "hex"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        text = str(value).replace("-", "")
        if not re.fullmatch("[0-9a-fA-F]{32}", text):
            self.fail(f"{value!r}: not 16 bytes in hexadecimal", param, ctx)
        return bytes.fromhex(text)


class Date(click.ParamType[int]):
    """YYYY-MM-DD, as SIGSTRUCT has it."""

    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if not re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", str(value)):
            self.fail(f"{value!r} is not a date; write for example 2026-11-25", param, ctx)
        return int(str(value).replace("-", ""), 16)


FIELDS = {
    "product": "ISVPRODID", "svn": "ISVSVN", "family": "ISVFAMILYID", "extended_product": "ISVEXTPRODID",
    "vendor": "VENDOR", "date": "DATE", "attributes": "ATTRIBUTES", "attribute_mask": "ATTRIBUTEMASK", "xfrm": "XFRM",
    "xfrm_mask": "XFRMMASK", "misc_select": "MISCSELECT", "misc_mask": "MISCMASK",
}  # fmt: skip
"""SIGSTRUCT's, by option."""


@click.command(
    epilog="""\b
Examples:
  openssl genrsa -3 -out key.pem 3072
  enclu sign enclave.elf --key key.pem --product 7 --svn 1      enclave.elf.sig
  enclu sign enclave.signed.so --key key.pem -o mine.signed.so  signed anew
  enclu sign app.sgxs --key secret.pem --passphrase-file phrase

\b
Where the key is in an HSM, or in somebody else's hands:
  enclu sign enclave.elf --write-unsigned to-sign.bin --product 7
  openssl dgst -sha256 -sign key.pem -out sig.bin to-sign.bin   where the key is
  enclu sign enclave.elf --unsigned to-sign.bin --signature sig.bin \\
      --public-key public.pem

\b
Fields that are not given are as in the SIGSTRUCT that FILE has already, or
else as the image wants them.  ELF and SGXS images get theirs in FILE.sig, the
others inside: FILE is replaced, unless -o says where the copy goes.
Exit status: 0, 1 for an error, 2 for a bad option.""",
)
@click.option("--key", type=FILE, metavar="PEM", help="The private key: RSA, 3072 bits, exponent 3.")
@click.option("--passphrase-file", type=FILE, metavar="FILE", help="Of an encrypted key; its first line. Default: ask.")
@click.option("--passphrase-env", metavar="NAME", help="Of an encrypted key: in this environment variable.")
@click.option("-o", "--output", type=FILE, metavar="OUT", help="Where to write what is signed.")
@click.option("--product", type=Number(16), metavar="N", help="ISVPRODID: one number for each of your enclaves.")
@click.option("--svn", type=Number(16), metavar="N", help="ISVSVN: raise it with every security fix.")
@click.option("--debug/--no-debug", default=None,
              help="May it be a debug enclave? Default: as before; a new one may.")  # fmt: skip
@click.option("--family", type=Id(), metavar="HEX", help="ISVFAMILYID, of enclaves with KSS.")
@click.option("--extended-product", type=Id(), metavar="HEX", help="ISVEXTPRODID, of enclaves with KSS.")
@click.option("--date", type=Date(), metavar="YYYY-MM-DD", help="DATE. Default: today.")
@click.option("--vendor", type=Number(32), metavar="N", help="VENDOR: 0, or 0x8086 for Intel's.")
@click.option("--attributes", type=Number(64), metavar="N", help="ATTRIBUTES.FLAGS.")
@click.option("--attribute-mask", type=Number(64), metavar="N", help="Which bits of them SECS must have just so.")
@click.option("--xfrm", type=Number(64), metavar="N", help="ATTRIBUTES.XFRM.")
@click.option("--xfrm-mask", type=Number(64), metavar="N", help="Which bits of it SECS must have just so.")
@click.option("--misc-select", type=Number(32), metavar="N", help="MISCSELECT.")
@click.option("--misc-mask", type=Number(32), metavar="N", help="Which bits of it SECS must have just so.")
@click.option("--write-unsigned", type=FILE, metavar="BYTES", help="Write the 256 bytes to sign, and do no more.")
@click.option("--unsigned", type=FILE, metavar="BYTES", help="The bytes that have been signed elsewhere.")
@click.option("--signature", type=FILE, metavar="SIG", help="Their signature: PKCS#1 v1.5 with SHA-256, big-endian.")
@click.option("--public-key", type=FILE, metavar="PEM", help="The key that verifies it.")
@JSON_OPTION
@click.argument("file", type=FILE)
@click.pass_context
def sign(ctx: click.Context, /, as_json: bool, file: Path, **options: Any) -> None:
    """Sign the enclave in FILE: make its SIGSTRUCT, and store that where loaders look for it."""
    from enclu.host.errors import HostError

    external = [options[name] for name in ("unsigned", "signature", "public_key")]
    ways = [options["key"] is not None, options["write_unsigned"] is not None, any(external)]
    if sum(ways) != 1 or (any(external) and not all(external)):
        ctx.fail("give --key; or --write-unsigned; or --unsigned, --signature and --public-key together")
    try:
        done = _sign(file, options)
    except HostError as error:
        console.say(str(error))
        ctx.exit(1)
    if as_json:
        import json

        print(json.dumps(done))
    else:
        print("".join(f"{name:10} {value}\n" for name, value in done.items()), end="")


def _sign(file: Path, options: dict[str, Any]) -> dict[str, str]:
    from enclu.host import signing
    from enclu.host.images import open_image
    from enclu.sgx.structs import SIGSTRUCT

    image = open_image(file)
    beside = image.sigstruct_position is None
    output = options["output"] or (file.with_name(file.name + ".sig") if beside else file)
    key = _key(options) if options["key"] is not None else None
    if options["unsigned"] is not None:
        sigstruct = _from_elsewhere(image, options)
    else:
        fields = {field: options[name] for name, field in FIELDS.items() if options[name] is not None}
        sigstruct = signing.unsigned(image, debug=options["debug"], **fields)
        if key is not None:
            sigstruct = signing.sign(sigstruct, key)
    mrenclave = SIGSTRUCT.get(sigstruct, "ENCLAVEHASH").hex()
    if options["write_unsigned"] is not None:
        signing.write_file(options["write_unsigned"], signing.signed_bytes(sigstruct))
        return {"MRENCLAVE": mrenclave, "to sign": str(options["write_unsigned"])}
    signing.write(image, sigstruct, output, key)
    return {"MRENCLAVE": mrenclave, "MRSIGNER": signing.mrsigner(sigstruct).hex(), "written": str(output)}


def _from_elsewhere(image: Image, options: dict[str, Any]) -> bytes:
    from enclu.host import signing
    from enclu.sgx.structs import SIGSTRUCT

    unsigned = signing.from_signed_bytes(signing.read_file(options["unsigned"]))
    signed_for = SIGSTRUCT.get(unsigned, "ENCLAVEHASH")
    if signed_for != image.mrenclave():
        raise signing.SigningError(
            f"{options['unsigned']}: for MRENCLAVE {signed_for.hex()}; {image.path} measures to "
            f"{image.mrenclave().hex()}: it has changed since"
        )
    key = signing.load_public_key(options["public_key"])
    return signing.with_signature(unsigned, key, signing.read_file(options["signature"]))


def _key(options: dict[str, Any]) -> RSAPrivateKey:
    from enclu.host import signing

    return signing.load_key(options["key"], _passphrase(options))


def _passphrase(options: dict[str, Any]) -> Callable[[], bytes]:
    from enclu.host import signing

    def ask() -> bytes:
        if options["passphrase_env"] is not None:
            given = os.environ.get(options["passphrase_env"])
            if given is None:
                raise signing.SigningError(f"the environment variable {options['passphrase_env']} is not set")
            return os.fsencode(given)
        if options["passphrase_file"] is not None:
            return signing.read_file(options["passphrase_file"]).split(b"\n")[0].rstrip(b"\r")
        if not sys.stdin.isatty():
            raise signing.SigningError(
                f"{options['key']}: the key is encrypted, and nobody is there to ask; use --passphrase-file or "
                "--passphrase-env"
            )
        return str(click.prompt(f"Passphrase of {options['key']}", hide_input=True, err=True)).encode()

    return ask
