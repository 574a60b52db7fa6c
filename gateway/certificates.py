"""Certificates and keys in files: until when they are valid, and what is wrong with them.

Reads no more of a certificate than its period of validity (RFC 5280 section 4.1); everything else is left to OpenSSL,
which the standard library has. So the running gateway needs no library for certificates.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

WARN_BEFORE_S = 30 * 86_400
"""So long before its end a certificate is warned of."""
_PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _INTEGER, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x02, 0xA0, 0x17, 0x18
_UNREADABLE = "{key}: {path} cannot be read: {why}"
_RENEW = "Make a new one (gateway init --renew, if `gateway init` made it)."


class Validity(NamedTuple):
    """When a certificate is valid, in seconds since 1970."""

    from_s: float
    until_s: float


class Certificate(NamedTuple):
    """A certificate in use."""

    what: str
    """The key of the configuration that names it, or whose it is."""
    where: str
    """Its file, or the address of the server that showed it."""
    validity: Validity

    def describe(self, now_s: float) -> dict[str, object]:
        """What `gateway status` tells: plain JSON values. `problem` is None while all is well."""
        return {
            "what": self.what,
            "where": self.where,
            "valid_from": _iso(self.validity.from_s),
            "valid_until": _iso(self.validity.until_s),
            "days_left": int((self.validity.until_s - now_s) // 86_400),
            "problem": problem(self.validity, now_s),
        }


def problem(validity: Validity, now_s: float) -> str | None:
    """What is wrong with it now, or will be within 30 days; None if nothing is."""
    if now_s >= validity.until_s:
        return f"expired on {_iso(validity.until_s)}"
    if now_s < validity.from_s:
        return f"not valid before {_iso(validity.from_s)}; is the clock of this machine set?"
    if now_s >= validity.until_s - WARN_BEFORE_S:
        return f"expires on {_iso(validity.until_s)}"
    return None


def read_validity(der: bytes) -> Validity:
    """When a certificate in DER is valid.

    Raises:
        ValueError: it is no certificate.
    """
    try:
        certificate = _content(der, 0, _SEQUENCE)
        fields = _content(certificate, 0, _SEQUENCE)
        at = _after(fields, 0) if fields[0] == _VERSION else 0  # else it is of version 1
        for expected in (_INTEGER, _SEQUENCE, _SEQUENCE):  # serial number, algorithm, issuer
            _content(fields, at, expected)
            at = _after(fields, at)
        period = _content(fields, at, _SEQUENCE)
        return Validity(_read_time(period, 0), _read_time(period, _after(period, 0)))
    except IndexError as error:
        raise ValueError("a certificate that ends too early") from error


def read_file(path: Path, key: str) -> list[Validity]:
    """Of every certificate in a PEM file, when it is valid; at least one.

    Raises:
        ConfigError: there is none, told under `key`.
    """
    try:
        blocks = _PEM.findall(path.read_text(encoding="ascii", errors="replace"))
        found = [read_validity(ssl.PEM_cert_to_DER_cert(block)) for block in blocks]
    except OSError as error:
        raise _unreadable(key, path, error) from error
    except ValueError as error:
        raise ConfigError(f"{key}: {path} holds a certificate that cannot be read: {error}", _RENEW) from error
    if not found:
        raise ConfigError(f"{key}: {path} holds no certificate", "A file in PEM format is wanted (BEGIN CERTIFICATE).")
    return found


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path, *, keys: tuple[str, str]) -> Validity:
    """Have `context` show a certificate; returns when that is valid.

    Raises:
        ConfigError: one of them cannot be used, or they do not belong together; told under `keys`.
    """
    validity = read_file(certificate, keys[0])[0]
    try:
        key.read_bytes()
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except _EncryptedError as error:
        raise ConfigError(
            f"{keys[1]}: {key} is protected by a password, which nobody is there to enter",
            "Remove it with: openssl pkey -in FILE -out NEWFILE; keep the file readable for the gateway alone.",
        ) from error
    except ssl.SSLError as error:
        raise _unusable(error, certificate, key, keys) from error
    except OSError as error:
        raise _unreadable(keys[1], key, error) from error
    return validity


def load_authorities(context: ssl.SSLContext, path: Path, key: str) -> Validity:
    """Have `context` trust the authorities in a file; returns when the one is valid that expires first.

    Raises:
        ConfigError: they cannot be read; told under `key`.
    """
    found = min(read_file(path, key), key=lambda validity: validity.until_s)
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise _unreadable(key, path, error) from error
    return found


class _EncryptedError(ValueError):
    """A key wants a password."""


def _refuse_password() -> str:
    raise _EncryptedError


def _unreadable(key: str, path: Path, error: OSError) -> ConfigError:
    hint = "The user the gateway runs as must be able to read it." if isinstance(error, PermissionError) else ""
    return ConfigError(_UNREADABLE.format(key=key, path=path, why=error.strerror or error), hint)


def _unusable(error: ssl.SSLError, certificate: Path, key: Path, keys: tuple[str, str]) -> ConfigError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return ConfigError(
            f"{keys[1]}: {key} is not the key of the certificate {certificate}",
            f"Write the two that were made together into {keys[0]} and {keys[1]}.",
        )
    if error.reason and error.reason.endswith(("KEY_TOO_SMALL", "MD_TOO_WEAK")):
        return ConfigError(f"{keys[0]}: {certificate} is too weak ({error.reason.lower().replace('_', ' ')})", _RENEW)
    return ConfigError(f"{keys[1]}: {key} holds no private key", "A file in PEM format is wanted (BEGIN PRIVATE KEY).")


def _iso(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- DER, as far as a period of validity needs it (X.690 sections 8.1 and 10.1) ---


def _bounds(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins and ends."""
    length, start = data[at + 1], at + 2
    if length > 0x80:
        start += length - 0x80
        length = int.from_bytes(data[at + 2 : start])
    if start + length > len(data):
        raise IndexError(length)
    return start, start + length


def _after(data: bytes, at: int) -> int:
    return _bounds(data, at)[1]


def _content(data: bytes, at: int, tag: int) -> bytes:
    if data[at] != tag:
        raise ValueError(f"a certificate with 0x{data[at]:02x} where 0x{tag:02x} belongs")
    start, end = _bounds(data, at)
    return data[start:end]


def _read_time(data: bytes, at: int) -> float:
    """A time, always in UTC to the second (RFC 5280 section 4.1.2.5)."""
    tag = data[at]
    text = _content(data, at, tag).decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("a certificate without a time where one belongs")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
