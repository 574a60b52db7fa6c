"""TLS towards a server that we connect to: whom we trust, what we show, and whose move it is when that fails.

The server is known by an authority (`ca_file`, else the system's) and the name in its certificate, or by the
fingerprint of its certificate, or by all of them. None of this can be switched off.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gateway.certificates import Certificate, load_authorities, load_pair, read_validity
from gateway.errors import Blocked, ConfigError, Unreachable
from gateway.secret import path_of

if TYPE_CHECKING:
    from typing import Self

    from gateway.errors import DeliveryError

_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
"""Of what X509_verify_cert_error_string(3) lists."""
_ADVICE = {
    _EXPIRED: "the server needs a new one, unless the clock of this machine is wrong",
    _OTHER_NAME: "mend url, or name the right one in server_name",
    _OTHER_ADDRESS: "mend url, or name the right one in server_name",
}
_UNTRUSTED = "if it is the right server, put its authority into ca_file, or its fingerprint into fingerprint_sha256"
_ABOUT_OURS = (
    "ALERT_UNKNOWN_CA",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_ACCESS_DENIED",
    "ALERT_DECRYPT_ERROR",
    "ALERT_HANDSHAKE_FAILURE",
)
"""Ends of the names of alerts by which a server says that it does not like our certificate (RFC 8446 section 6.2)."""
_NO_COMMON_TLS = ("WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "ALERT_PROTOCOL_VERSION", "RECORD_LAYER_FAILURE")


class ClientTlsConfig(BaseModel):
    """Keys of a section about a server that is reached through TLS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: str | None = Field(
        default=None,
        description="PEM file with the authorities to trust. Without it, and without fingerprint_sha256, the system's.",
    )
    fingerprint_sha256: str | None = Field(
        default=None,
        description="SHA-256 of the server's certificate in hexadecimal. No other is accepted; without ca_file, "
        "neither its authority nor its name is looked at.",
    )
    server_name: str | None = Field(
        default=None,
        min_length=1,
        description="Name that the server's certificate must be for; by default that in url.",
    )
    certificate_file: str | None = Field(
        default=None, description="PEM file with the certificate that we show, read at each connect."
    )
    key_file: str | None = Field(default=None, description="PEM file with its private key, without a password.")

    @field_validator("fingerprint_sha256")
    @classmethod
    def _plain_fingerprint(cls, text: str | None) -> str | None:
        if text is None:
            return None
        plain = text.removeprefix("sha256:").replace(":", "").lower()
        if len(plain) != 64 or set(plain) - set("0123456789abcdef"):
            raise ValueError("a SHA-256 has 64 hexadecimal digits: openssl x509 -noout -fingerprint -sha256 -in FILE")
        return plain

    @model_validator(mode="after")
    def _key_fits(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: write both or none")
        return self

    @property
    def tls_keys(self) -> list[str]:
        """The keys of these that are set."""
        return [key for key in ClientTlsConfig.__annotations__ if getattr(self, key) is not None]


class ClientTls:
    """TLS towards one server.

    Args:
        config: its section.
        section: its name in the configuration, for what is told of it.
        host: the server's.
    """

    def __init__(self, config: ClientTlsConfig, section: str, host: str) -> None:
        self._config = config
        self._section = section
        self.server_name = config.server_name or host
        self._ours: list[Certificate] = []
        self._theirs: list[Certificate] = []

    @property
    def certificates(self) -> list[Certificate]:
        """The certificates of the last connection, the server's among them."""
        return self._ours + self._theirs

    def read(self) -> list[Certificate]:
        """The certificates in our files, as they are now.

        Raises:
            ConfigError: one of them cannot be used.
        """
        self.context()
        return self._ours

    def context(self, kind: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext:
        """What a connection needs, from the files as they are now; of this `kind`.

        Raises:
            ConfigError: one of them cannot be used.
        """
        config, ours = self._config, []
        context = kind(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.ca_file is not None:
            key, path = f"{self._section}.ca_file", path_of(config.ca_file)
            ours.append(Certificate(key, str(path), load_authorities(context, path, key)))
        elif config.fingerprint_sha256 is None:
            context.load_default_certs()
        else:  # `examine` knows the one certificate that is right
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if config.certificate_file is not None and config.key_file is not None:
            keys = f"{self._section}.certificate_file", f"{self._section}.key_file"
            path = path_of(config.certificate_file)
            ours.append(Certificate(keys[0], str(path), load_pair(context, path, path_of(config.key_file), keys=keys)))
        self._ours = ours
        return context

    def examine(self, shown: bytes | None) -> DeliveryError | None:
        """Look at the server's certificate (DER) before anything is said to it; an error if it is not the right one."""
        if shown is None:
            return Blocked("the server has shown no certificate")
        try:
            validity = read_validity(shown)
        except ValueError as error:
            return Blocked(f"the server's certificate cannot be read: {error}")
        self._theirs = [Certificate(f"{self._section}: the server's", self.server_name, validity)]
        fingerprint = hashlib.sha256(shown).hexdigest()
        if self._config.fingerprint_sha256 not in {None, fingerprint}:
            return Blocked(
                f"the server's certificate has the fingerprint {fingerprint}, not fingerprint_sha256; "
                "if the server was given a new one, write that"
            )
        return None


def of_error(error: Exception, otherwise: str) -> DeliveryError:
    """What an error of the socket or of TLS means; one that is not about TLS is told as `otherwise`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"the server's certificate is not trusted: {error.verify_message}"
        if error.verify_code == _NOT_YET_VALID:  # time heals it: that of the network, or that which passes
            return Unreachable(f"{why}; is the clock of this machine set?")
        return Blocked(f"{why}; {_ADVICE.get(error.verify_code, _UNTRUSTED)}")
    reason = error.reason or "" if isinstance(error, ssl.SSLError) else ""
    told = reason.lower().replace("_", " ")
    if reason.endswith(_ABOUT_OURS):
        return Blocked(f"the server does not accept us ({told}); see certificate_file and key_file")
    if reason.endswith(_NO_COMMON_TLS):
        return Unreachable(f"the server does not speak TLS 1.2 or 1.3 there ({told}); is the port right?")
    return Unreachable(f"{otherwise}: {error}")


def unusable(error: ConfigError) -> Blocked:
    """What it means for a connection that one of our files cannot be used."""
    return Blocked(f"{error}. {error.hint}".strip())
