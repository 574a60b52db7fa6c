"""TLS of the listeners `mqtts` and `wss`: what is shown to devices, what is asked of them, and reloading it.

New handshakes use what was loaded last; connections that are there keep what they began with. A reload that fails
changes nothing.
"""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.certificates import Certificate, load_authorities, load_pair
from gateway.errors import ConfigError
from gateway.secret import path_of

if TYPE_CHECKING:
    from gateway.broker.config import TlsConfig

_KEYS = ("broker.tls.certificate", "broker.tls.key")
_CA_KEY = "broker.tls.client_ca"
_SAN_KINDS = {"DNS", "URI", "email"}

security = logging.getLogger("gateway.security")


class TlsStatus(NamedTuple):
    """A look at the TLS of the listeners."""

    handshaking: int
    """Connections whose handshake is not over."""
    failed: int
    """Handshakes that ended without a connection, since the start."""
    given_up: int
    """Handshakes closed because they took longer than `tls_handshake_timeout_s`, or too many were under way."""
    last_failure: str
    """Why the last one failed; empty if none has."""
    reload_error: str
    """Why the certificates were not reloaded when that was asked for last; empty if they were."""


class ServerTls:
    """What devices are shown and asked for.

    Raises:
        ConfigError: a file is missing or cannot be used.
    """

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self.reload_error = ""
        self.context, self.certificates = load(config)

    @property
    def asks_for_certificate(self) -> bool:
        """Whether a device has to show a certificate."""
        return self._config.client_certificate == "required"

    def reload(self) -> None:
        """Read the files again; what is in force stays if they cannot be used, and that is logged."""
        try:
            self.context, self.certificates = load(self._config)
        except ConfigError as error:
            self.reload_error = str(error)
            security.error(
                "the certificates were not reloaded; the old ones stay", extra={"event": "reload", "reason": str(error)}
            )
            return
        self.reload_error = ""
        security.info(
            "the certificates were reloaded",
            extra={"event": "reload", "until": self.certificates[0].validity.until_s},
        )

    def name_of(self, shown: dict[str, Any] | None) -> str | None:
        """Whose the certificate of a client is (as `ssl` reads it); None if it does not name exactly one."""
        shown = shown or {}
        if self._config.identity == "cn":
            names = [value for part in shown.get("subject", ()) for kind, value in part if kind == "commonName"]
        else:
            names = [value for kind, value in shown.get("subjectAltName", ()) if kind in _SAN_KINDS]
        if len(names) != 1 or not names[0] or not names[0].isprintable():
            return None
        return str(names[0])


def load(config: TlsConfig) -> tuple[ssl.SSLContext, list[Certificate]]:
    """A context for new handshakes, and the certificates it uses.

    Raises:
        ConfigError: a file is missing or cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could have us compute for ever
    certificate = path_of(config.certificate)
    validity = load_pair(context, certificate, path_of(config.key), keys=_KEYS)
    in_use = [Certificate(_KEYS[0], str(certificate), validity)]
    if config.client_ca is not None:
        authorities = path_of(config.client_ca)
        in_use.append(Certificate(_CA_KEY, str(authorities), load_authorities(context, authorities, _CA_KEY)))
    if config.client_certificate == "required":
        context.verify_mode = ssl.CERT_REQUIRED
    return context, in_use
