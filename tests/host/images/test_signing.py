"""SIGSTRUCT: built, signed in one step and in two, verified, and stored where loaders look for it."""

import datetime
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from enclu.host import signing
from enclu.host.images import ImageError, IntelSdkImage, open_image
from enclu.host.signing import SigningError, load_key, signing_key
from enclu.sgx.encls.init import signature_valid
from enclu.sgx.structs import SIGSTRUCT, Attribute
from tests.support import enclave_images as made
from tests.support import hostile

ImageFile = Callable[[str], Path]


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, path: Path, passphrase: bytes | None = None) -> Path:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    return path


def public(key: rsa.RSAPrivateKey, path: Path) -> Path:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return path


@pytest.mark.parametrize("name", ["elf", "sgxs", "intel-sdk", "open-enclave"])
def test_einit_takes_an_image_that_is_signed_and_read_again(tmp_path: Path, image_file: ImageFile, name: str) -> None:
    path = tmp_path / "enclave"
    path.write_bytes(image_file(name).read_bytes())
    image = open_image(path)
    output = tmp_path / "enclave.sig" if name in ("elf", "sgxs") else path
    sigstruct = signing.sign(signing.unsigned(image, ISVPRODID=7, ISVSVN=3), made.key())
    signing.write(image, sigstruct, output, made.key())
    again = open_image(path)
    assert again.sigstruct == sigstruct
    assert signing.verify(sigstruct, again.mrenclave()) == []
    assert again.mrenclave() == image.mrenclave()
    f = SIGSTRUCT.unpack(sigstruct)
    assert (f["ISVPRODID"], f["ISVSVN"], f["ENCLAVEHASH"]) == (7, 3, image.mrenclave())
    made.loaded(again)


def test_signing_again_keeps_what_is_not_given(tmp_path: Path, image_file: ImageFile) -> None:
    path = tmp_path / "enclave.sgxs"
    path.write_bytes(image_file("sgxs").read_bytes())
    image = open_image(path)
    first = signing.unsigned(image, ISVPRODID=7, ISVSVN=3, XFRM=7, XFRMMASK=5, MISCSELECT=1, DATE=0x20200101)
    image.sigstruct = signing.sign(first, made.key())
    again = SIGSTRUCT.unpack(signing.unsigned(image, ISVSVN=4))
    was = SIGSTRUCT.unpack(first)
    today = int(datetime.date.today().strftime("%Y%m%d"), 16)
    assert again == was | {"ISVSVN": 4, "DATE": today}


@pytest.mark.parametrize(("debug", "allowed"), [(None, True), (True, True), (False, False)])
def test_the_mask_tells_whether_it_may_be_a_debug_enclave(
    image_file: ImageFile, debug: bool | None, allowed: bool
) -> None:
    f = SIGSTRUCT.unpack(signing.unsigned(open_image(image_file("elf")), debug=debug))
    assert bool(f["ATTRIBUTEMASK"] & Attribute.DEBUG) is not allowed
    assert not f["ATTRIBUTES"] & Attribute.DEBUG


def test_a_debug_sigstruct_can_be_made_one_for_production(image_file: ImageFile) -> None:
    image = open_image(image_file("elf"))
    image.sigstruct = signing.unsigned(image, debug=True)
    f = SIGSTRUCT.unpack(signing.unsigned(image, debug=False))
    assert f["ATTRIBUTEMASK"] & Attribute.DEBUG


def test_openssl_signs_what_is_to_be_signed(tmp_path: Path, image_file: ImageFile) -> None:
    image = open_image(image_file("elf"))
    unsigned = signing.unsigned(image)
    message, signature = tmp_path / "to-sign", tmp_path / "signature"
    message.write_bytes(signing.signed_bytes(unsigned))
    private = pem(made.key(), tmp_path / "key.pem")
    subprocess.run(["openssl", "dgst", "-sha256", "-sign", private, "-out", signature, message], check=True)
    back = signing.from_signed_bytes(message.read_bytes())
    assert back == unsigned
    key = signing.load_public_key(public(made.key(), tmp_path / "public.pem"))
    sigstruct = signing.with_signature(back, key, signature.read_bytes())
    assert sigstruct == signing.sign(unsigned, made.key())
    assert signature_valid(sigstruct)


def test_a_signature_of_something_else_is_refused(image_file: ImageFile) -> None:
    image = open_image(image_file("elf"))
    sigstruct = signing.sign(signing.unsigned(image), made.key())
    signature = SIGSTRUCT.get(sigstruct, "SIGNATURE")[::-1]
    with pytest.raises(SigningError, match="not by this key, of this SIGSTRUCT"):
        signing.with_signature(signing.unsigned(image, ISVSVN=9), made.key().public_key(), signature)
    with pytest.raises(SigningError, match="4 bytes"):
        signing.with_signature(sigstruct, made.key().public_key(), b"none")


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("HEADER", "HEADER"), ("HEADER2", "HEADER2"), ("VENDOR", "VENDOR"), ("EXPONENT", "EXPONENT"),
        ("SIGNATURE", "signature"), ("Q1", "signature"), ("Q2", "signature"), ("MODULUS", "signature"),
        ("ISVSVN", "signature"), ("ENCLAVEHASH", "ENCLAVEHASH"),
    ],
)  # fmt: skip
def test_verifying_finds_a_changed_bit(image_file: ImageFile, field: str, said: str) -> None:
    image = open_image(image_file("sgxs"))
    sigstruct = bytearray(signing.sign(signing.unsigned(image), made.key()))
    assert signing.verify(bytes(sigstruct), image.mrenclave()) == []
    sigstruct[SIGSTRUCT.offset(field)] ^= 1
    assert any(said in problem for problem in signing.verify(bytes(sigstruct), image.mrenclave()))


def test_verifying_finds_reserved_bytes(image_file: ImageFile) -> None:
    sigstruct = bytearray(signing.sign(signing.unsigned(open_image(image_file("sgxs"))), made.key()))
    sigstruct[1030] = 1
    assert signing.verify(bytes(sigstruct)) == ["reserved bytes are not zero"]


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path, form: str) -> None:
    path = tmp_path / "key.pem"
    encryption = serialization.BestAvailableEncryption(b"open sesame")
    path.write_bytes(
        made.key().private_bytes(serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption)
    )
    assert signing.load_key(path, b"open sesame").private_numbers() == made.key().private_numbers()
    assert signing.load_key(path, lambda: b"open sesame").key_size == 3072
    with pytest.raises(SigningError, match="the passphrase is wrong"):
        signing.load_key(path, b"open barley")
    with pytest.raises(SigningError, match="encrypted, and there is no passphrase"):
        signing.load_key(path)


def test_nobody_is_asked_for_the_passphrase_of_a_plain_key(tmp_path: Path) -> None:
    def ask() -> bytes:
        raise AssertionError

    assert signing.load_key(pem(made.key(), tmp_path / "key.pem"), ask).key_size == 3072


@pytest.mark.parametrize(("exponent", "bits"), [(65537, 3072), (3, 2048)])
def test_a_key_that_einit_would_refuse(tmp_path: Path, exponent: int, bits: int) -> None:
    path = pem(rsa.generate_private_key(exponent, bits), tmp_path / "key.pem")
    with pytest.raises(SigningError, match=f"RSA with {bits} bits and exponent {exponent}.*openssl genrsa -3"):
        signing.load_key(path)


def test_a_key_of_another_kind_a_file_without_key_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="not an RSA key"):
        signing.load_key(pem(ec.generate_private_key(ec.SECP256R1()), tmp_path / "ec.pem"))
    (tmp_path / "text").write_text("no key")
    with pytest.raises(SigningError, match="not a private key in PEM form"):
        signing.load_key(tmp_path / "text")
    with pytest.raises(SigningError, match="not a public key"):
        signing.load_public_key(tmp_path / "text")
    with pytest.raises(SigningError, match=r"No such file.*openssl genrsa"):
        signing.load_key(tmp_path / "missing.pem")


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_a_kept_key_that_is_no_file_of_ones_own_is_refused(kind: str, tmp_path: Path) -> None:
    hostile.put(tmp_path / "key.pem", kind)
    with pytest.raises(SigningError, match=f"key.pem: {re.escape(hostile.KINDS[kind][1])}.*enclu keeps a key there"):
        signing_key(tmp_path / "key.pem")


def test_a_key_in_a_fifo_that_nobody_writes_to_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key.pem")
    with pytest.raises(SigningError, match=r"key\.pem: is a FIFO, and nobody writes to it$"):
        load_key(tmp_path / "key.pem")


def test_a_key_may_come_through_a_pipe(tmp_path: Path) -> None:
    signing_key(tmp_path / "key.pem")
    pem = (tmp_path / "key.pem").read_bytes()
    reader, writer = os.pipe()
    os.write(writer, pem)
    os.close(writer)
    try:
        assert load_key(Path(f"/proc/self/fd/{reader}")).key_size == 3072
    finally:
        os.close(reader)


def test_a_signature_beside_an_image_may_not_keep_anybody_waiting(image_file: ImageFile, tmp_path: Path) -> None:
    copy = shutil.copy(image_file("elf"), tmp_path / "enclave.so")
    os.mkfifo(tmp_path / "enclave.so.sig")
    with pytest.raises(ImageError, match=r"enclave\.so\.sig: SIGSTRUCT is unreadable: is a FIFO"):
        open_image(copy)


def test_a_key_that_is_made_is_for_the_users_eyes_only_and_stays(tmp_path: Path) -> None:
    key = signing.signing_key(tmp_path / "new" / "key.pem")
    assert (tmp_path / "new" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert signing.signing_key(tmp_path / "new" / "key.pem").private_numbers() == key.private_numbers()


def test_attributes_that_loaders_would_not_take_are_refused(image_file: ImageFile) -> None:
    image = open_image(image_file("intel-sdk"))
    with pytest.raises(SigningError, match="ATTRIBUTES 0x84"):
        signing.unsigned(image, ATTRIBUTES=0x84)
    with pytest.raises(SigningError, match="family and extended product need the attribute KSS"):
        signing.unsigned(image, ISVFAMILYID=b"f" * 16)


def test_every_metadata_of_an_sdk_image_gets_a_sigstruct_of_its_own(tmp_path: Path) -> None:
    path = made.sdk_object(tmp_path / "enclave.so")
    position, patch_at, end = made.sdk_place(path)
    for i, (version, threads) in enumerate([((3, 3), 2), ((1, 4), 1), ((1, 5), 2)]):
        layout = made.sdk_layout(end, threads)
        made.put(path, position + i * 0x1000, made.sdk_metadata(layout, patch_at, version))
    image = open_image(path)
    assert isinstance(image, IntelSdkImage)
    sigstruct = signing.sign(signing.unsigned(image, ISVPRODID=5), made.key())
    with pytest.raises(SigningError, match=r"metadata 1\.4 measures to something else"):
        signing.write(image, sigstruct, path)
    signing.write(image, sigstruct, path, made.key())
    image = open_image(path)
    assert isinstance(image, IntelSdkImage)
    for each in (image, *image.other_versions()):
        assert each.sigstruct is not None
        assert signing.verify(each.sigstruct, each.mrenclave()) == []
        assert SIGSTRUCT.get(each.sigstruct, "ISVPRODID") == 5


def test_an_output_that_cannot_be_written_leaves_nothing(tmp_path: Path, image_file: ImageFile) -> None:
    image = open_image(image_file("elf"))
    sigstruct = signing.sign(signing.unsigned(image), made.key())
    with pytest.raises(SigningError, match="No such file"):
        signing.write(image, sigstruct, tmp_path / "missing" / "x.sig")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SigningError, match="Is a directory"):
        signing.write(image, sigstruct, tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
