"""enclu's own quoting and certification enclaves: compiled from C into the user's cache, and signed there.

Their signer is a key that the user's state directory keeps: PCE and QE of one user are the same from run to run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import enclu
from enclu.host import build
from enclu.host.errors import HostError
from enclu.host.images import Image, open_image
from enclu.host.measure import mrenclave
from enclu.native import directories
from enclu.sgx.structs import SIGSTRUCT, SIGSTRUCT_HEADER, SIGSTRUCT_HEADER2, SIGSTRUCT_SIGNED, Attribute

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
        if (folder / "qe" / "qe.c").is_file():
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
    files = [folder / name / f"{name}.c", folder / "common" / "p256.c"]
    flags = (*FLAGS, *(f"-I{folder / part}" for part in ("common", "pce", "qe")))
    inputs = (*build.parts(), *sorted(p for p in folder.rglob("*") if p.suffix in (".c", ".h")))
    key = signing_key()
    digest = hashlib.sha256(repr((name, layout, flags, key.public_key().public_numbers().n)).encode())
    for path in inputs:
        digest.update(repr(path.name).encode() + path.read_bytes())
    output = directories.cache() / "enclaves" / digest.hexdigest()[:16] / f"{name}.elf"
    signature = output.with_name(f"{name}.elf.sig")
    if not signature.exists():
        directories.make(output.parent)
        fresh = output.with_name(f".{name}.{secrets.token_hex(8)}.elf")
        try:
            build.build_enclave(files, fresh, layout, flags=flags, libraries=(LIBRARY,))
        except build.BuildError as error:
            hint = "\nit needs mbed TLS: apt-get install libmbedtls-dev" if "mbed" in str(error) else ""
            raise HostError(f"{error}{hint}") from None
        fresh.rename(output)
        with contextlib.suppress(FileExistsError):  # another was faster, with the same
            directories.create(signature, sign(open_image(output), key, PRODUCTS[name]))
    return output


def signing_key() -> rsa.RSAPrivateKey:
    """Made when it is first needed.  Raises OSError, HostError."""
    path = directories.state() / "attestation" / "signing-key.pem"
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=3, key_size=3072)
        form = serialization.PrivateFormat.PKCS8
        data = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        with contextlib.suppress(FileExistsError):
            directories.create(path, data)
    try:
        loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise HostError(f"{path}: not a key: {error}; remove it to have another made") from None
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise HostError(f"{path}: not an RSA key; remove it to have another made")
    return loaded


def sign(image: Image, key: rsa.RSAPrivateKey, product: int, attribute_mask: int = (1 << 64) - 1) -> bytes:
    """SIGSTRUCT: exactly these attributes, so never a debug enclave, unless `attribute_mask` leaves that open."""
    fields = {
        "HEADER": SIGSTRUCT_HEADER, "HEADER2": SIGSTRUCT_HEADER2, "DATE": DATE, "EXPONENT": 3,
        "MISCSELECT": image.misc_select, "MISCMASK": 0xFFFF_FFFF, "ATTRIBUTES": image.attributes,
        "ATTRIBUTEMASK": attribute_mask, "XFRM": image.xfrm, "XFRMMASK": (1 << 64) - 1,
        "ENCLAVEHASH": mrenclave(image), "ISVPRODID": product, "ISVSVN": SVN,
    }  # fmt: skip
    unsigned = SIGSTRUCT.pack(**fields)
    message = b"".join(unsigned[start:end] for start, end in SIGSTRUCT_SIGNED)
    n = key.public_key().public_numbers().n
    s = int.from_bytes(key.sign(message, padding.PKCS1v15(), hashes.SHA256()), "big")
    q1, r = divmod(s * s, n)
    numbers = {"MODULUS": n, "SIGNATURE": s, "Q1": q1, "Q2": r * s // n}
    fields.update({name: value.to_bytes(384, "little") for name, value in numbers.items()})
    return SIGSTRUCT.pack(**fields)


def key_file(machine_name: str) -> Path:
    """Where a named machine's attestation key is, sealed."""
    return directories.state() / "attestation" / f"{machine_name}.key"


def replace(path: Path, content: bytes) -> None:
    """The file with this content, whatever was there.  Raises OSError."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    directories.create(fresh, content)
    os.replace(fresh, path)
