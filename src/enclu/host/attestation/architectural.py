"""enclu's own quoting and certification enclaves: compiled from C into the user's cache, and signed there.

Their signer is a key that the user's state directory keeps: PCE and QE of one user are the same from run to run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

import enclu
from enclu.host import build, signing
from enclu.host.errors import HostError
from enclu.host.images import Image, open_image
from enclu.native import directories
from enclu.sgx.structs import Attribute

PRODUCTS = {"qe": 1, "pce": 2}
"""ISVPRODID."""
SVN = 1
DATE = 0x20261125
FLAGS = ("-O2", "-Werror")
LIBRARY = "mbedcrypto"
LAYOUT = build.Layout(
    stack_pages=8, heap_pages=16, spare_pages=48, attributes=int(Attribute.MODE64BIT | Attribute.PROVISIONKEY)
)


def sources() -> Path:
    """The folder of both: of the checkout, or as installed with the package.  Raises HostError."""
    package = Path(enclu.__file__).resolve().parent
    for folder in (package.parents[1] / "enclaves", package / "enclaves"):
        if (folder / "qe.c").is_file():
            return folder
    raise HostError("the sources of the quoting enclave are missing: neither in a checkout nor installed with enclu")


def image(name: str, layout: build.Layout = LAYOUT) -> Image:
    """The enclave `qe` or `pce`, built if need be.  Raises HostError."""
    try:
        return open_image(_built(name, layout))
    except OSError as error:
        raise HostError(f"cannot build the enclave {name}: {error.filename or 'files'}: {error.strerror}") from None


def _built(name: str, layout: build.Layout) -> Path:
    folder = sources()
    files = [folder / f"{name}.c", folder / "p256.c"]
    inputs = (*build.parts(), *sorted(p for p in folder.iterdir() if p.suffix in (".c", ".h")))
    key = signing_key()
    digest = hashlib.sha256(repr((name, layout, FLAGS, key.public_key().public_numbers().n)).encode())
    for path in inputs:
        digest.update(repr(path.name).encode() + path.read_bytes())
    output = directories.cache() / "enclaves" / digest.hexdigest()[:16] / f"{name}.elf"
    signature = output.with_name(f"{name}.elf.sig")
    if not signature.exists():
        directories.make(output.parent)
        fresh = output.with_name(f".{name}.{secrets.token_hex(8)}.elf")
        try:
            build.build_enclave(files, fresh, layout, flags=FLAGS, libraries=(LIBRARY,))
        except build.BuildError as error:
            hint = "\nit needs mbed TLS: apt-get install libmbedtls-dev" if "mbed" in str(error) else ""
            raise HostError(f"{error}{hint}") from None
        fresh.rename(output)
        with contextlib.suppress(FileExistsError):  # another was faster, with the same
            directories.create(signature, sign(open_image(output), key, PRODUCTS[name]))
    return output


def signing_key() -> rsa.RSAPrivateKey:
    """Made when it is first needed.  Raises OSError, HostError."""
    return signing.signing_key(directories.state() / "attestation" / "signing-key.pem")


def sign(image: Image, key: rsa.RSAPrivateKey, product: int) -> bytes:
    """SIGSTRUCT: exactly these attributes, so never a debug enclave."""
    return signing.sign(signing.unsigned(image, debug=False, ISVPRODID=product, ISVSVN=SVN, DATE=DATE), key)


def key_file(machine_name: str) -> Path:
    """Where a named machine's attestation key is, sealed."""
    return directories.state() / "attestation" / f"{machine_name}.key"


def replace(path: Path, content: bytes) -> None:
    """The file with this content, whatever was there.  Raises OSError."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    directories.create(fresh, content)
    os.replace(fresh, path)
