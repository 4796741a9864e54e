"""What a PCK certificate says of its platform: the SGX extension.

Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, section 1.3.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from enclu.host.attestation import der
from enclu.host.errors import HostError

SGX_EXTENSION = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
COMPONENTS = 16


class CertificateError(HostError):
    """A certificate is not what it ought to be."""


@dataclass(frozen=True)
class Tcb:
    """What a platform's security depends on, by version."""

    components: tuple[int, ...]
    """SGX TCB components' SVNs, 16 of them."""
    pcesvn: int
    cpusvn: bytes


@dataclass(frozen=True)
class SgxExtension:
    """What the extension says: which platform it is, and what its security depends on."""

    ppid: bytes
    tcb: Tcb
    pceid: bytes
    fmspc: bytes
    sgx_type: int = 0

    def encode(self) -> bytes:
        """The extension's value, DER."""

        def entry(suffix: str, value: bytes) -> bytes:
            return der.sequence(der.identifier(f"{SGX_EXTENSION.dotted_string}.{suffix}"), value)

        tcb = [entry(f"2.{i}", der.number(svn)) for i, svn in enumerate(self.tcb.components, 1)]
        tcb.append(entry("2.17", der.number(self.tcb.pcesvn)))
        tcb.append(entry("2.18", der.encode(der.OCTET_STRING, self.tcb.cpusvn)))
        return der.sequence(
            entry("1", der.encode(der.OCTET_STRING, self.ppid)),
            entry("2", der.sequence(*tcb)),
            entry("3", der.encode(der.OCTET_STRING, self.pceid)),
            entry("4", der.encode(der.OCTET_STRING, self.fmspc)),
            entry("5", der.number(self.sgx_type, der.ENUMERATED)),
        )


def sgx_extension(certificate: x509.Certificate) -> SgxExtension:
    """The certificate's SGX extension.  Raises CertificateError."""
    try:
        extension = certificate.extensions.get_extension_for_oid(SGX_EXTENSION).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        raise CertificateError(f"{subject(certificate)}: no SGX extension ({SGX_EXTENSION.dotted_string})") from None
    assert isinstance(extension, x509.UnrecognizedExtension)
    try:
        found = _entries(der.only(extension.value, der.SEQUENCE))
        tcb = _entries(_content(found, "2", der.SEQUENCE))
        components = tuple(_number(tcb, f"2.{i}", 8) for i in range(1, COMPONENTS + 1))
        return SgxExtension(
            _octets(found, "1", 16),
            Tcb(components, _number(tcb, "2.17", 16), _octets(tcb, "2.18", 16)),
            _octets(found, "3", 2),
            _octets(found, "4", 6),
            der.natural(_content(found, "5", der.ENUMERATED), 8),
        )
    except der.DerError as error:
        raise CertificateError(f"{subject(certificate)}: SGX extension: {error}") from None


def subject(certificate: x509.Certificate) -> str:
    """For people: the common name in its subject, or else all of that; issuers sign names that cannot be read, too."""
    return _common_name(certificate.subject)


def issuer(certificate: x509.Certificate) -> str:
    """For people: the common name of its issuer, or else all of that."""
    return _common_name(certificate.issuer)


def _common_name(name: x509.Name) -> str:
    names = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else name.rfc4514_string()


def _entries(content: bytes) -> dict[str, tuple[int, bytes]]:
    """Tag and content by the identifier's end."""
    prefix = f"{SGX_EXTENSION.dotted_string}."
    found: dict[str, tuple[int, bytes]] = {}
    for tag, entry in der.elements(content):
        parts = list(der.elements(entry))
        if tag != der.SEQUENCE or len(parts) != 2 or parts[0][0] != der.OBJECT:
            raise der.DerError("an entry is not an identifier and a value")
        suffix = der.dotted(parts[0][1]).removeprefix(prefix)
        if suffix in found:
            raise der.DerError(f".{suffix} is there twice")
        found[suffix] = parts[1]
    return found


def _content(entries: dict[str, tuple[int, bytes]], suffix: str, tag: int) -> bytes:
    found = entries.get(suffix)
    if found is None or found[0] != tag:
        raise der.DerError(f"no .{suffix} with tag {tag:#x}")
    return found[1]


def _octets(entries: dict[str, tuple[int, bytes]], suffix: str, size: int) -> bytes:
    content = _content(entries, suffix, der.OCTET_STRING)
    if len(content) != size:
        raise der.DerError(f".{suffix} has {len(content)} bytes, not {size}")
    return content


def _number(entries: dict[str, tuple[int, bytes]], suffix: str, bits: int) -> int:
    return der.natural(_content(entries, suffix, der.INTEGER), bits)
