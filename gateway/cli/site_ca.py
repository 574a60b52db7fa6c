"""Makes the certificates of a site: an authority, and certificates that it signs. Pure: bytes in, bytes out.

Keys are ECDSA on P-256, which every device that knows TLS 1.2 understands and small ones can afford (RFC 8446 section
9.1). An authority signs no other authority.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

CA_DAYS = 20 * 365
_BACKDATED = timedelta(days=1)
"""A device whose clock is a little late must not think that a new certificate is not valid yet."""
_PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


class Pair(NamedTuple):
    """A certificate and its private key, both in PEM."""

    certificate: bytes
    key: bytes


def make_authority(name: str, now_s: float, days: int = CA_DAYS) -> Pair:
    """An authority of its own.

    Args:
        name: shown to people.
        now_s: seconds since 1970.
        days: how long it is valid.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(name)
    builder = _begin(subject, subject, key.public_key(), now_s, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def issue(
    authority: Pair,
    name: str,
    alternatives: Sequence[str],
    purpose: Literal["server", "client"],
    now_s: float,
    days: int,
    key_pem: bytes | None = None,
) -> Pair:
    """A certificate signed by `authority`; it never outlives it.

    Args:
        authority: who signs.
        name: the common name.
        alternatives: host names and IP addresses it is for.
        purpose: whether a server or a client shows it; it is good for nothing else.
        now_s: seconds since 1970.
        days: how long it is valid.
        key_pem: the key to certify; by default a new one.

    Raises:
        ValueError: a key or the authority cannot be read, or they do not belong together.
    """
    signer = _read_key(authority.key)
    by = x509.load_pem_x509_certificate(authority.certificate)
    if by.public_key() != signer.public_key():
        raise ValueError("the authority's key is not the one of its certificate")
    key = ec.generate_private_key(ec.SECP256R1()) if key_pem is None else _read_key(key_pem)
    builder = _begin(_named(name), by.subject, key.public_key(), now_s, days, by.not_valid_after_utc)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_PURPOSES[purpose]]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    if alternatives:
        names = [_alternative(each) for each in dict.fromkeys(alternatives)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Pair(_pem(builder.sign(signer, hashes.SHA256())), _key_pem(key))


def names_in(certificate: bytes) -> tuple[str, list[str]]:
    """Common name and alternative names of a certificate in PEM.

    Raises:
        ValueError: it cannot be read.
    """
    found = x509.load_pem_x509_certificate(certificate)
    common = [str(each.value) for each in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return common[0] if common else "", []
    return common[0] if common else "", [str(each.value) for each in alternatives]


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now_s: float,
    days: int,
    latest: datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(int(now_s), UTC)
    until = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until if latest is None else min(until, latest))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError as error:  # it is encrypted
        raise ValueError("the key is protected by a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is none of an elliptic curve")  # noqa: TRY004 - what the file holds, not its type
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
