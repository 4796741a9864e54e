"""SIGSTRUCT: building, signing and verifying it.  SDM 3D section 35.14; EINIT checks what is checked here.

In one step, with a key:  image.sigstruct = sign(unsigned(image), key).  In two, where the key is in somebody else's
hands, such as an HSM:  signed_bytes(unsigned(image)) goes there, and the signature comes back to with_signature().
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from enclu.base import directories, files
from enclu.host.errors import HostError
from enclu.host.images import Image
from enclu.host.images.regions import map_file
from enclu.sgx.encls.init import signature_valid
from enclu.sgx.structs import SIGSTRUCT, SIGSTRUCT_HEADER, SIGSTRUCT_HEADER2, SIGSTRUCT_SIGNED, Attribute

KEY_BITS, EXPONENT = 3072, 3
NUMBER = KEY_BITS // 8
"""Bytes of MODULUS, SIGNATURE, Q1 and Q2."""
VENDORS = (0, 0x8086)
SIGNED_SIZE = sum(end - start for start, end in SIGSTRUCT_SIGNED)
LARGEST_FILE = 1 << 20
"""Bytes; keys, signatures and SIGSTRUCTs are far smaller."""
MAKE_A_KEY = f"make one with: openssl genrsa -{EXPONENT} -out KEY.pem {KEY_BITS}"
KEPT = (
    "VENDOR", "SWDEFINED", "MISCSELECT", "MISCMASK", "CET_ATTRIBUTES", "CET_ATTRIBUTES_MASK", "ISVFAMILYID",
    "ATTRIBUTES", "XFRM", "ATTRIBUTEMASK", "XFRMMASK", "ISVEXTPRODID", "ISVPRODID", "ISVSVN",
)  # fmt: skip
"""Fields that an image keeps when it is signed again."""


class SigningError(HostError):
    """A key, a signature or a SIGSTRUCT that does not do."""


def load_key(path: Path, passphrase: bytes | Callable[[], bytes] | None = None) -> rsa.RSAPrivateKey:
    """The private key in a PEM file; of an encrypted one, `passphrase`, or what it returns.  Raises SigningError."""
    return _parse_key(path, read_file(path, f"; {MAKE_A_KEY}"), passphrase)


def _parse_key(path: Path, data: bytes, passphrase: bytes | Callable[[], bytes] | None = None) -> rsa.RSAPrivateKey:
    encrypted = b"ENCRYPTED" in data
    if encrypted and passphrase is None:
        raise SigningError(f"{path}: the key is encrypted, and there is no passphrase")
    secret = passphrase() if callable(passphrase) and encrypted else passphrase if encrypted else None
    try:
        key = serialization.load_pem_private_key(data, secret if isinstance(secret, bytes) else None)
    except (ValueError, TypeError) as error:
        wrong = "the passphrase is wrong" if encrypted else f"not a private key in PEM form ({error})"
        raise SigningError(f"{path}: {wrong}") from None
    except Exception as error:  # cryptography's own: a key type or cipher that it does not know
        raise SigningError(f"{path}: a key that cannot be used: {error}") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SigningError(f"{path}: not an RSA key; {MAKE_A_KEY}")
    _check_key(path, key.public_key())
    return key


def load_public_key(path: Path) -> rsa.RSAPublicKey:
    """The public key in a PEM file.  Raises SigningError."""
    try:
        key = serialization.load_pem_public_key(read_file(path))
    except Exception as error:  # ValueError, or cryptography's own of a key type that it does not know
        raise SigningError(f"{path}: not a public key in PEM form ({error})") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise SigningError(f"{path}: not an RSA key")
    _check_key(path, key)
    return key


def _check_key(path: Path, key: rsa.RSAPublicKey) -> None:
    exponent = key.public_numbers().e
    if key.key_size != KEY_BITS or exponent != EXPONENT:
        raise SigningError(
            f"{path}: RSA with {key.key_size} bits and exponent {exponent}; EINIT wants {KEY_BITS} bits and exponent "
            f"{EXPONENT}: {MAKE_A_KEY}"
        )


def read_file(path: Path, hint: str = "") -> bytes:
    """A file that the user names.  Raises SigningError; `hint` is for a file that is not there."""
    try:
        return files.read_named(path, LARGEST_FILE)
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}{hint if isinstance(error, FileNotFoundError) else ''}") from None


def signing_key(path: Path) -> rsa.RSAPrivateKey:
    """The key that enclu keeps in `path`, made if there is none: for the user's eyes only, whole or not at all.

    Raises SigningError for what is no file of the user's own, too.
    """
    try:
        try:
            data = files.read_own(path, LARGEST_FILE)
        except FileNotFoundError:
            key = rsa.generate_private_key(EXPONENT, KEY_BITS)
            form = serialization.PrivateFormat.PKCS8
            pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
            with contextlib.suppress(FileExistsError):  # another process has made it meanwhile
                directories.create(path, pem)
            data = files.read_own(path, LARGEST_FILE)
    except OSError as error:
        raise SigningError(f"{error.filename or path}: {error.strerror}; enclu keeps a key there") from None
    return _parse_key(path, data)


def unsigned(image: Image, *, debug: bool | None = None, **fields: Any) -> bytes:
    """A SIGSTRUCT for the image, without key and signature.

    `fields` are SIGSTRUCT's, by name.  Those that are not given are as in the SIGSTRUCT that the image has, or else
    as the image wants them, exactly; `debug` tells whether it may be a debug enclave, which a new one may.
    """
    values = image.sigstruct_fields()
    debug = image.debug if debug is None else debug
    if image.sigstruct is not None:
        old = SIGSTRUCT.unpack(image.sigstruct)
        values |= {name: old[name] for name in KEPT}
    if debug is not None:
        values["ATTRIBUTEMASK"] |= Attribute.DEBUG
        values["ATTRIBUTES"] &= ~Attribute.DEBUG
        if debug:
            values["ATTRIBUTEMASK"] &= ~Attribute.DEBUG
    values |= {"DATE": today(), "ENCLAVEHASH": image.mrenclave(), **fields}
    values |= {"HEADER": SIGSTRUCT_HEADER, "HEADER2": SIGSTRUCT_HEADER2, "EXPONENT": EXPONENT}
    kss = values["ATTRIBUTES"] & Attribute.KSS
    if not kss and any(any(values.get(name, b"")) for name in ("ISVFAMILYID", "ISVEXTPRODID")):
        raise SigningError(f"{image.path}: family and extended product need the attribute KSS, which it does not have")
    _check_wanted(image, values)
    return SIGSTRUCT.pack(**{name: int(v) if isinstance(v, int) else v for name, v in values.items()})


def _check_wanted(image: Image, values: dict[str, Any]) -> None:
    """Loaders take SECS's fields from the image, if it has them: EINIT would refuse others."""
    if not image.fixes_secs:
        return
    for name, wanted, mask in (
        ("ATTRIBUTES", image.attributes & ~Attribute.DEBUG, values["ATTRIBUTEMASK"] & ~Attribute.DEBUG),
        ("XFRM", image.xfrm, values["XFRMMASK"]), ("MISCSELECT", image.misc_select, values["MISCMASK"]),
    ):  # fmt: skip
        if (values[name] ^ wanted) & mask:
            raise SigningError(
                f"{image.path}: {name} {values[name]:#x} with the mask {mask:#x}: loaders take {wanted:#x} from the "
                "image, which EINIT would refuse"
            )


def today() -> int:
    """DATE: year, month and day in BCD."""
    return int(datetime.date.today().strftime("%Y%m%d"), 16)


def signed_bytes(sigstruct: bytes) -> bytes:
    """What the signature is of: 256 bytes, RSASSA-PKCS1-v1_5 with SHA-256."""
    return b"".join(sigstruct[start:end] for start, end in SIGSTRUCT_SIGNED)


def from_signed_bytes(signed: bytes) -> bytes:
    """The SIGSTRUCT, without key and signature, of which these are the signed bytes.  Raises SigningError."""
    if len(signed) != SIGNED_SIZE:
        raise SigningError(f"the bytes to sign are {SIGNED_SIZE}, not {len(signed)}")
    sigstruct, at = bytearray(SIGSTRUCT.size), 0
    for start, end in SIGSTRUCT_SIGNED:
        sigstruct[start:end] = signed[at : at + end - start]
        at += end - start
    SIGSTRUCT.put(sigstruct, "EXPONENT", EXPONENT)
    return bytes(sigstruct)


def sign(sigstruct: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """The SIGSTRUCT with key and signature."""
    signature = key.sign(signed_bytes(sigstruct), padding.PKCS1v15(), hashes.SHA256())
    return with_signature(sigstruct, key.public_key(), signature)


def with_signature(sigstruct: bytes, key: rsa.RSAPublicKey, signature: bytes) -> bytes:
    """The SIGSTRUCT with key and a signature (big-endian, as OpenSSL and HSMs write it).

    Raises SigningError if the signature is not by this key, of these bytes.
    """
    try:
        key.verify(signature, signed_bytes(sigstruct), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise SigningError(
            f"the signature ({len(signature)} bytes) is not by this key, of this SIGSTRUCT: it must be "
            f"RSASSA-PKCS1-v1_5 with SHA-256, of the {SIGNED_SIZE} bytes to sign"
        ) from None
    n, s = key.public_numbers().n, int.from_bytes(signature, "big")
    q1, r = divmod(s * s, n)
    out = bytearray(sigstruct)
    for name, value in (("MODULUS", n), ("SIGNATURE", s), ("Q1", q1), ("Q2", r * s // n)):
        SIGSTRUCT.put(out, name, value.to_bytes(NUMBER, "little"))
    return bytes(out)


def mrsigner(sigstruct: bytes) -> bytes:
    """SHA-256 of the signer's modulus."""
    return hashlib.sha256(SIGSTRUCT.get(sigstruct, "MODULUS")).digest()


def verify(sigstruct: bytes, mrenclave: bytes | None = None) -> list[str]:
    """What is wrong with a SIGSTRUCT: what EINIT would object to, whatever machine and SECS it is for."""
    f = SIGSTRUCT.unpack(sigstruct)
    wrong = []
    for name, right in (("HEADER", SIGSTRUCT_HEADER), ("HEADER2", SIGSTRUCT_HEADER2)):
        if f[name] != right:
            wrong.append(f"{name} is {f[name].hex()}, must be {right.hex()}")
    if f["VENDOR"] not in VENDORS:
        wrong.append(f"VENDOR is {f['VENDOR']:#x}, must be 0 or 0x8086")
    if f["EXPONENT"] != EXPONENT:
        wrong.append(f"EXPONENT is {f['EXPONENT']}, must be {EXPONENT}")
    if not SIGSTRUCT.reserved_ok(sigstruct):
        wrong.append("reserved bytes are not zero")
    if not signature_valid(sigstruct):
        wrong.append("the signature is not valid, or Q1 and Q2 do not belong to it")
    if mrenclave is not None and f["ENCLAVEHASH"] != mrenclave:
        wrong.append(f"ENCLAVEHASH is {f['ENCLAVEHASH'].hex()}, the image measures to {mrenclave.hex()}")
    return wrong


def write(image: Image, sigstruct: bytes, output: Path, key: rsa.RSAPrivateKey | None = None) -> None:
    """Store the SIGSTRUCT where loaders find it: in `output`, alone or in a copy of the image.

    Metadata of other versions of an Intel SDK image get it, too; those that measure to something else are signed with
    `key`.  Raises SigningError.
    """
    if image.sigstruct_position is None:
        write_file(output, sigstruct)
        return
    content = bytearray(map_file(image.path))
    placed = [(image.sigstruct_position, sigstruct)]
    for other in image.other_versions():
        assert other.sigstruct_position is not None
        placed.append((other.sigstruct_position, _for_other_version(other, sigstruct, key)))
    for start, each in placed:
        content[start : start + SIGSTRUCT.size] = each
    write_file(output, bytes(content), image.path.stat().st_mode & 0o777)


def _for_other_version(image: Image, sigstruct: bytes, key: rsa.RSAPrivateKey | None) -> bytes:
    """The SIGSTRUCT of an image in the same file.  Raises SigningError."""
    if image.mrenclave() == SIGSTRUCT.get(sigstruct, "ENCLAVEHASH"):
        return sigstruct
    if key is None:
        assert image.metadata_version is not None
        version = "{}.{}".format(*image.metadata_version)
        raise SigningError(
            f"{image.path}: its metadata {version} measures to something else and needs a signature of its own: "
            f"--metadata {version}"
        )
    out = bytearray(sigstruct)
    SIGSTRUCT.put(out, "ENCLAVEHASH", image.mrenclave())
    return sign(bytes(out), key)


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """The file with this content, whole or not at all.  Raises SigningError."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            fresh.write_bytes(content)
            fresh.chmod(mode)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None
