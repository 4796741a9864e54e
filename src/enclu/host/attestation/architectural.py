"""enclu's own quoting and certification enclaves: compiled from C into the user's cache, and signed there.

Their signer is a key that the user's state directory keeps: PCE and QE of one user are the same from run to run.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

import enclu
from enclu.base import directories, files
from enclu.host import build, signing
from enclu.host.errors import HostError
from enclu.host.images import Image, open_image
from enclu.sgx.structs import SIGSTRUCT, Attribute

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
        return _image(name, layout)
    except OSError as error:
        raise HostError(f"cannot build the enclave {name}: {error.filename or 'files'}: {error.strerror}") from None


def _image(name: str, layout: build.Layout) -> Image:
    folder = sources()
    inputs = (*build.parts(), *sorted(p for p in folder.iterdir() if p.suffix in (".c", ".h")))
    key = signing_key()
    digest = hashlib.sha256(repr((name, layout, FLAGS, key.public_key().public_numbers().n)).encode())
    for path in inputs:
        digest.update(repr(path.name).encode() + path.read_bytes())
    output = directories.cache() / "enclaves" / digest.hexdigest()[:16] / f"{name}.elf"
    directories.make(output.parent)
    found = _kept(output, key)
    if found is None:
        _build(folder, name, layout, output, key)
        found = open_image(output)
    return found


def _signature(path: Path) -> Path:
    return path.with_name(f"{path.name}.sig")


def _kept(path: Path, key: rsa.RSAPrivateKey) -> Image | None:
    """The enclave as it was built once; None if there is none, or what is there is damaged or none of enclu's files."""
    try:
        for kept in (path, _signature(path)):
            files.check_own(kept)
        found = open_image(path)
        if found.sigstruct is None or signing.verify(found.sigstruct, found.mrenclave()):
            return None
    except (OSError, HostError):
        return None
    modulus = int.from_bytes(SIGSTRUCT.get(found.sigstruct, "MODULUS"), "little")
    return found if modulus == key.public_key().public_numbers().n else None


def _build(folder: Path, name: str, layout: build.Layout, output: Path, key: rsa.RSAPrivateKey) -> None:
    fresh = output.with_name(f".{name}.{secrets.token_hex(8)}.elf")
    try:
        build.build_enclave([folder / f"{name}.c", folder / "p256.c"], fresh, layout, flags=FLAGS, libraries=(LIBRARY,))
        fresh.chmod(0o700)
        sigstruct = sign(open_image(fresh), key, PRODUCTS[name])
        os.replace(fresh, output)
        directories.replace(_signature(output), sigstruct)  # others that build it make the same
    except build.BuildError as error:
        hint = "\nit needs mbed TLS: apt-get install libmbedtls-dev" if "mbed" in str(error) else ""
        raise HostError(f"{error}{hint}") from None
    finally:
        fresh.unlink(missing_ok=True)


def signing_key() -> rsa.RSAPrivateKey:
    """Made when it is first needed.  Raises OSError, HostError."""
    return signing.signing_key(directories.state() / "attestation" / "signing-key.pem")


def sign(image: Image, key: rsa.RSAPrivateKey, product: int) -> bytes:
    """SIGSTRUCT: exactly these attributes, so never a debug enclave."""
    return signing.sign(signing.unsigned(image, debug=False, ISVPRODID=product, ISVSVN=SVN, DATE=DATE), key)


def key_file(machine_name: str) -> Path:
    """Where a named machine's attestation key is, sealed."""
    return directories.state() / "attestation" / f"{machine_name}.key"
