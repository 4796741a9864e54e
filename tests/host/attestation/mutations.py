"""Quotes and statements with one thing changed, and signed again where that takes more than a bit flipped at random.

What a kind of mutation makes of a seed is always the same.
"""

from __future__ import annotations

import datetime
import functools
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from enclu.host.attestation import collateral, manufacturer
from enclu.host.attestation import quote as quotes
from enclu.host.attestation.manufacturer import Manufacturer, pem
from enclu.host.attestation.pck import SGX_EXTENSION
from enclu.sgx.layout import Structure
from tests.host.attestation import forge
from tests.host.attestation.forge import MANUFACTURER as OURS
from tests.host.attestation.forge import PCE, QE, Parts
from tests.host.attestation.issuing import Certificate, Hash, named, usage

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
ATTESTATION = ec.derive_private_key(0x5EED, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(0xBAD, ec.SECP256R1())
THEIRS = Manufacturer(b"another secret".ljust(32))


def _again(made: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return x509.load_der_x509_certificate(forge.signed_again(made.public_bytes(Encoding.DER), key))


ROOT, CA = _again(OURS.root, OURS.root_key), _again(OURS.processor_ca, OURS.root_key)
LEAF, SIGNER = _again(OURS.pck(PCE), OURS._processor_key), _again(OURS.tcb_signing, OURS.root_key)
CHAIN = [LEAF, CA, ROOT]
STRANGERS = [
    _again(THEIRS.pck(PCE), THEIRS._processor_key), _again(THEIRS.processor_ca, THEIRS.root_key),
    _again(THEIRS.root, THEIRS.root_key), _again(THEIRS.tcb_signing, THEIRS.root_key),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """All that a verdict depends on."""

    quote: bytes
    tcb_info: bytes
    """The statement itself, and its signature."""
    tcb_info_signature: bytes
    qe_identity: bytes
    qe_identity_signature: bytes
    signing_chain: bytes
    root_crl: bytes
    """DER, as the other."""
    pck_crl: bytes
    at: datetime.datetime = NOW


def changed(name: str, value: bytes) -> Case:
    """The genuine case with another value of one of its fields."""
    return Case(**vars(genuine()) | {name: value})


def parts(**changes: Any) -> Parts:
    """Of a quote that both believe: dcap-qvl knows Intel's quoting enclave only, with 32 bytes of its own data."""
    made = Parts(attestation=ATTESTATION, authentication=bytes(range(32)), **{"certification": pem(*CHAIN), **changes})
    made.header["QE_VENDOR_ID"] = quotes.INTEL.bytes
    return made


def _statement(whole: bytes, kind: str) -> tuple[dict[str, Any], bytes]:
    return json.loads(whole)[kind], bytes.fromhex(json.loads(whole)["signature"])


def _text(fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


@functools.cache
def genuine() -> Case:
    """Nothing is wrong with it.  There are three levels, of which the first fits."""
    tcb, _ = _statement(OURS.tcb_info(PCE, NOW - DAY), "tcbInfo")
    [level] = tcb["tcbLevels"]
    for svn, status in ((1, "OutOfDate"), (0, "Revoked")):
        lower = {"sgxtcbcomponents": [{"svn": svn}] + [{"svn": 0}] * 15, "pcesvn": 0}
        tcb["tcbLevels"].append({**level, "tcb": lower, "tcbStatus": status, "advisoryIDs": ["INTEL-SA-00000"]})
    identity, _ = _statement(OURS.qe_identity(QE, NOW - DAY), "enclaveIdentity")
    [level] = identity["tcbLevels"]
    identity["tcbLevels"].append({**level, "tcb": {"isvsvn": 0}, "tcbStatus": "OutOfDate"})
    root_crl, pck_crl = (
        forge.signed_again(x509.load_pem_x509_crl(made).public_bytes(Encoding.DER), key)
        for made, key in zip(OURS.revoked(NOW - DAY), (OURS.root_key, OURS._processor_key), strict=True)
    )
    return Case(
        parts().make(), _text(tcb), forge.sign(OURS.tcb_signing_key, _text(tcb)), _text(identity),
        forge.sign(OURS.tcb_signing_key, _text(identity)), pem(SIGNER, ROOT), root_crl, pck_crl,
    )  # fmt: skip


# Bytes, as any fuzzer would change them.


def scrambled(data: bytes, rng: random.Random) -> bytes:
    """Something done to some of the bytes."""
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 32, 400)))
    match rng.randrange(7):
        case 0 | 1:
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case 2:
            return data[:at] + rng.randbytes(end - at) + data[end:]
        case 3:
            return data[:at] + data[end:]
        case 4:
            return data[:at] + rng.randbytes(rng.randrange(1, 5)) + data[at:]
        case 5:
            return data[:at] + data[at:end] * 2 + data[end:]
    return data[:at] + bytes(end - at) + data[end:]


def quote_bytes(rng: random.Random) -> Case:
    """Of the quote, whose signatures stay as they were."""
    data = genuine().quote
    if rng.random() < 0.1:
        return replace(genuine(), quote=rng.choice((data[: rng.randrange(len(data))], data + rng.randbytes(3))))
    if rng.random() < 0.5:  # the certificates are most of it
        return replace(genuine(), quote=scrambled(data[:1100], rng) + data[1100:])
    return replace(genuine(), quote=scrambled(data, rng))


def statement_bytes(rng: random.Random) -> Case:
    """Of statements, lists and certificates, whose signatures stay as they were."""
    statements = ("tcb_info", "tcb_info_signature", "qe_identity", "qe_identity_signature")
    name = rng.choice((*statements, "signing_chain", "root_crl", "pck_crl"))
    before = getattr(genuine(), name)
    after = scrambled(before, rng)
    if name.endswith("signature"):
        after = after.ljust(len(before), b"\0")[: len(before)]
    return changed(name, after)


# The quote's fields, signed again.


def quote_fields(rng: random.Random) -> Case:
    """One field of the header or of a report, reserved bytes too, or the size or kind of a part."""
    made = parts()
    if rng.random() < 0.05:
        made.authentication = rng.randbytes(rng.choice((0, 16, 31, 32, 33, 64)))
    elif rng.random() < 0.03:
        made.kind = rng.randrange(8)
    signed, qe = made.bodies()
    head, body = quotes.HEADER.size, quotes.REPORT_BODY
    match rng.randrange(3):
        case 0:
            signed = _changed(signed[:head], quotes.HEADER, rng) + signed[head:]
        case 1:
            signed = signed[:head] + _changed(signed[head:], body, rng)
        case _:
            qe = _changed(qe, body, rng)
    return replace(genuine(), quote=made.sign(signed, qe))


def _changed(image: bytes, structure: Structure, rng: random.Random) -> bytes:
    """A field has another value, or a byte at random another bit."""
    at, size = rng.randrange(structure.size), 1
    if rng.random() < 0.9:
        at, _, form = rng.choice(structure.fields)
        size = struct.calcsize(form)
    before = image[at : at + size]
    number, every = int.from_bytes(before, "little"), (1 << 8 * size) - 1
    low, any_bit = 1 << rng.randrange(min(8 * size, 6)), 1 << rng.randrange(8 * size)
    value = rng.choice((number ^ low, number ^ any_bit, number + 1, number - 1, 0, every, rng.randrange(every))) & every
    return image[:at] + value.to_bytes(size, "little") + image[at + size :]


# Certificates, issued again.


def vary(made: Certificate, rng: random.Random) -> None:
    """One thing about a certificate of any kind."""
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
    match rng.randrange(14):
        case 0:
            made.put(unknown, rng.random() < 0.5)
        case 1:
            made.put(
                usage(*rng.choice((("key_cert_sign",), ("crl_sign",), ("digital_signature",), ("key_agreement",)))),
                True,
            )
        case 2:
            made.put(x509.BasicConstraints(True, rng.choice((None, 0, 1, 2))), rng.random() < 0.8)
        case 3:
            made.put(x509.BasicConstraints(False, None), True)
        case 4:
            made.extensions.remove(rng.choice(made.extensions))
        case 5:
            made.begin = rng.choice((NOW, NOW + DAY, NOW - DAY))
        case 6:
            made.end = rng.choice((NOW, NOW + DAY, NOW - DAY))
        case 7:
            made.by = rng.choice((OTHER_KEY, OURS.root_key, OURS.tcb_signing_key, OURS._processor_key))
        case 8:
            made.issuer = rng.choice((OURS.root.subject, OURS.processor_ca.subject, THEIRS.root.subject, made.subject))
        case 9:
            made.subject = rng.choice((named("Intel SGX PCK Certificate"), named("else"), named("SGX TCB Signing CA")))
        case 10:
            made.key = rng.choice((OTHER_KEY.public_key(), ec.derive_private_key(7, ec.SECP384R1()).public_key()))
        case 11:
            made.hash = rng.choice((hashes.SHA384(), hashes.SHA512()))
        case 12:
            made.put(
                x509.ExtendedKeyUsage([rng.choice((x509.OID_SERVER_AUTH, x509.OID_CLIENT_AUTH))]), rng.random() < 0.3
            )
        case _:
            one = rng.choice(made.extensions)
            made.put(one.value, not one.critical)


def pck_chain(rng: random.Random) -> Case:
    """A PCK certificate, or the authority's above it, that was issued otherwise."""
    leaf, ca = Certificate.like(LEAF, OURS._processor_key), Certificate.like(CA, OURS.root_key)
    choice = rng.random()
    if choice < 0.45:
        platform = OURS.platform(PCE)
        leaf.put(x509.UnrecognizedExtension(SGX_EXTENSION, _platform(platform.encode(), rng)), rng.random() < 0.05)
    elif choice < 0.75:
        vary(leaf, rng)
    else:
        vary(ca, rng)
    chain = [leaf.issue(), ca.issue(), ROOT]
    if rng.random() < 0.05:
        direct = Certificate.like(LEAF, OURS.root_key)
        direct.issuer = OURS.root.subject
        chain = [direct.issue(), ROOT]
    return replace(genuine(), quote=parts(certification=pem(*chain)).make())


def _platform(encoded: bytes, rng: random.Random) -> bytes:
    """The SGX extension with another value somewhere, or something done to its bytes."""
    platform = OURS.platform(PCE)
    tcb = platform.tcb
    at = rng.randrange(16)
    other = tuple(rng.choice((0, 1, 255)) if i == at else svn for i, svn in enumerate(tcb.components))
    svn = rng.choice((0, 1, 2, 255, 256, 65535))
    match rng.randrange(8):
        case 0:
            return replace(platform, tcb=replace(tcb, components=other)).encode()
        case 1:
            return replace(platform, tcb=replace(tcb, cpusvn=bytes(other))).encode()
        case 2:
            return replace(platform, tcb=replace(tcb, components=other, cpusvn=bytes(other))).encode()
        case 3:
            return replace(platform, tcb=replace(tcb, pcesvn=svn)).encode()
        case 4:
            return replace(platform, fmspc=rng.choice((platform.fmspc, bytes(6), rng.randbytes(5)))).encode()
        case 5:
            return replace(platform, pceid=rng.choice((b"\1\0", b"\0\0", b"\0"))).encode()
        case 6:
            return replace(platform, sgx_type=rng.choice((0, 1, 2, 255, 256, 1 << 20))).encode()
    return scrambled(encoded, rng)


def certification(rng: random.Random) -> Case:
    """The certificates in the quote, which nothing in it signs: others, more, fewer, in another order."""
    every = [*CHAIN, SIGNER, *STRANGERS]
    chain = list(CHAIN)
    match rng.randrange(6):
        case 0:
            rng.shuffle(chain)
        case 1:
            chain.pop(rng.randrange(3))
        case 2:
            for _ in range(rng.choice((1, 1, 3))):
                chain.insert(rng.randrange(len(chain) + 1), rng.choice(every))
        case 3:
            chain[rng.randrange(3)] = rng.choice(every)
        case 4:
            chain = rng.sample(every, rng.randrange(1, 7))
        case 5 if rng.random() < 0.2:
            copy = Certificate.like(CA, OTHER_KEY)
            copy.issuer = THEIRS.root.subject
            chain.insert(1, copy.issue())
    text = pem(*chain)
    match rng.randrange(8):
        case 0:
            text = text.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b" \n", b"\n ")))
        case 1:
            text += rng.choice((b"\0", b"\0" * 7, b"\n\n", b"hello", b"\xff", b"-----BEGIN CERTIFICATE-----\n"))
        case 2:
            text = rng.choice((b"\n", b"hello\n", b"\0", b"\xff\n", b"-----END CERTIFICATE-----\n")) + text
        case 3:
            text = text.replace(
                b"CERTIFICATE", rng.choice((b"X509 CERTIFICATE", b"PRIVATE KEY", b"certificate")), rng.choice((1, 2, 6))
            )
        case 4:
            text = scrambled(text, rng)
        case 5:
            lines = text.split(b"\n")
            lines.pop(rng.randrange(len(lines)))
            text = b"\n".join(lines)
    return replace(genuine(), quote=parts(certification=text).make())


# Statements, signed again.

ODD: tuple[Any, ...] = (
    None, True, 0, 1, 2, 3, 4, 99, 255, 256, 65535, 65536, 1 << 32, 1 << 70, -1, 1.0, "", "0", "SGX", "TDX", "QE",
    "TD_QE", "QVE", "sgx", "UpToDate", "Revoked", "OutOfDate", "SWHardeningNeeded", "ConfigurationNeeded", "uptodate",
    [], {}, [1], [{}], ["INTEL-SA-00001"], "00", "0000", "00000000", "FFFFFFFF", "01000000", "00000001", "00" * 6,
    "FF" * 16, "00" * 32, "2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z", "2026-01-01T00:00:01Z", "2026-01-01",
    "2026-02-30T00:00:00Z", "2026-01-01T00:00:00+00:00", "2025-06-01T00:00:00.5Z", "2025-06-01t00:00:00z",
    "2025-06-01T00:00:60Z", "\ud800",
)  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each object or list in there, with each of its keys."""
    found: list[tuple[Any, Any]] = []
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        found.extend(_places(value[key]))
    return found


def _varied(text: bytes, rng: random.Random) -> bytes:
    """One value, or one field, or their order."""
    fields = json.loads(text)
    # Those of the whole half of the time: there are many components.
    places = [(fields, key) for key in fields] if rng.random() < 0.5 else _places(fields)
    within, key = rng.choice(places)
    value = within[key]
    match rng.randrange(10):
        case 0:
            del within[key]
        case 1 if isinstance(value, int):
            within[key] = value + rng.choice((1, -1, 255, 256))
        case 2 if isinstance(value, str) and value:
            at = rng.randrange(len(value))
            within[key] = value[:at] + rng.choice("0123456789abcdefABCDEFgT:Z- ") + value[at + 1 :]
        case 3 if isinstance(value, str):
            within[key] = rng.choice((value.lower(), value.upper(), value[:-1], value + "0", value[::-1]))
        case 4:
            levels = fields["tcbLevels"]
            rng.choice(
                (
                    rng.shuffle,
                    list.reverse,
                    list.clear,
                    list.pop,
                    lambda v: v.append(v[0]),
                    lambda v: v.insert(0, v[-1]),
                )
            )(levels)
        case 5:
            level = rng.choice(fields["tcbLevels"])
            level["tcbStatus"] = rng.choice((*sorted(collateral.STATUSES), "None"))
        case 6:
            fields[rng.choice(("more", "tdxModule", "tdxModuleIdentities", "advisoryIDs"))] = rng.choice(ODD)
        case 7:
            return _text(fields)[:-1] + b"," + _text({str(key): rng.choice((value, rng.choice(ODD)))})[1:]
        case _:
            within[key] = rng.choice(ODD)
    return _text(fields)


def tcb_info(rng: random.Random) -> Case:
    """Of what TCB info says."""
    text = _version_2(genuine().tcb_info) if rng.random() < 0.1 else genuine().tcb_info
    text = _varied(text, rng) if rng.random() < 0.8 else scrambled(text, rng)
    return replace(genuine(), tcb_info=text, tcb_info_signature=forge.sign(OURS.tcb_signing_key, text))


def _version_2(text: bytes) -> bytes:
    fields = json.loads(text)
    fields["version"] = 2
    for level in fields["tcbLevels"]:
        level["tcb"] |= {f"sgxtcbcomp{i:02}svn": c["svn"] for i, c in enumerate(level["tcb"]["sgxtcbcomponents"], 1)}
    return _text(fields)


def qe_identity(rng: random.Random) -> Case:
    """Of what the QE identity says."""
    text = genuine().qe_identity
    text = _varied(text, rng) if rng.random() < 0.8 else scrambled(text, rng)
    return replace(genuine(), qe_identity=text, qe_identity_signature=forge.sign(OURS.tcb_signing_key, text))


def signing_chain(rng: random.Random) -> Case:
    """Who signs the statements."""
    case = genuine()
    key = OURS.tcb_signing_key
    made = Certificate.like(SIGNER, OURS.root_key)
    vary(made, rng)
    chain = [made.issue(), ROOT]
    match rng.randrange(8):
        case 0:
            key, chain = OURS.pck_key(PCE), [LEAF, CA, ROOT]
        case 1:
            key, chain = OURS._processor_key, [CA, ROOT]
        case 2:
            key, chain = OURS.root_key, [ROOT]
        case 3:
            chain = rng.sample([SIGNER, ROOT, CA, *STRANGERS[2:]], 2)
        case 4:
            below = Certificate.like(SIGNER, OURS._processor_key)
            below.issuer = CA.subject
            chain = [below.issue(), CA, ROOT]
    return replace(
        case, signing_chain=pem(*chain), tcb_info_signature=forge.sign(key, case.tcb_info),
        qe_identity_signature=forge.sign(key, case.qe_identity),
    )  # fmt: skip


# Revocation lists.


def crls(rng: random.Random) -> Case:
    """One of the two lists."""
    which = rng.choice(("root_crl", "pck_crl"))
    issuer, key = (ROOT, OURS.root_key) if which == "root_crl" else (CA, OURS._processor_key)
    name, begin, end = issuer.subject, NOW - DAY, NOW + DAY
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.CRLNumber(1), False), (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
    ]  # fmt: skip
    of_entries: list[tuple[x509.ExtensionType, bool]] = []
    serials = [rng.getrandbits(64) | 1]
    digest: Hash = hashes.SHA256()
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
    match rng.randrange(12):
        case 0:
            serials.append(rng.choice((LEAF, CA, SIGNER, ROOT)).serial_number)
        case 1:
            extensions.append((unknown, rng.random() < 0.5))
        case 2:
            extensions.append((x509.DeltaCRLIndicator(rng.randrange(9)), rng.random() < 0.8))
        case 3:
            only = rng.choice(((False, False), (True, False), (False, True)))
            indirect, attributes = rng.choice(((False, False), (True, False), (False, True)))
            if not any((*only, indirect, attributes)) or sum((*only, attributes)) > 1:
                only, indirect, attributes = (False, True), False, False
            extensions.append(
                (x509.IssuingDistributionPoint(None, None, *only, None, indirect, attributes), rng.random() < 0.8)
            )
        case 4:
            of_entries.append((unknown, rng.random() < 0.7))
        case 5:
            of_entries.append((x509.CRLReason(rng.choice(list(x509.ReasonFlags)[1:7])), rng.random() < 0.3))
        case 6:
            of_entries.append((x509.CertificateIssuer([x509.DirectoryName(THEIRS.root.subject)]), rng.random() < 0.7))
        case 7:
            begin = rng.choice((NOW, NOW + DAY / 2, NOW - 9 * DAY))
        case 8:
            end = rng.choice((NOW, NOW - DAY / 2, NOW + 9 * DAY))
        case 9:
            key = rng.choice((OTHER_KEY, OURS.root_key, OURS._processor_key, OURS.tcb_signing_key))
        case 10:
            name = rng.choice((ROOT.subject, CA.subject, THEIRS.root.subject))
        case 11:
            lists: list[list[tuple[x509.ExtensionType, bool]]]
            lists = [[], [(x509.CRLNumber(1), True)], extensions[:1], extensions[1:], extensions]
            extensions = rng.choice(lists)
            digest = rng.choice((hashes.SHA256(), hashes.SHA384()))
    builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(begin).next_update(end)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - DAY)
        for value, critical in of_entries:
            entry = entry.add_extension(value, critical)
        builder = builder.add_revoked_certificate(entry.build())
    return changed(which, builder.sign(key, digest).public_bytes(Encoding.DER))


def times(rng: random.Random) -> Case:
    """When it is verified."""
    case = genuine()
    edges = [NOW - DAY, NOW - DAY + manufacturer.VALID_FOR, manufacturer.NOT_BEFORE, manufacturer.NOT_AFTER]
    offset = datetime.timedelta(seconds=rng.choice((-86400, -1, 0, 1, 86400, rng.randrange(-(10**6), 10**6))))
    return replace(case, at=rng.choice(edges) + offset)


KINDS: dict[Callable[[random.Random], Case], int] = {
    quote_bytes: 1800, quote_fields: 1800, certification: 1000, pck_chain: 1200, tcb_info: 1800, qe_identity: 1400,
    signing_chain: 500, crls: 900, statement_bytes: 400, times: 200,
}  # fmt: skip
"""How many of each kind."""
