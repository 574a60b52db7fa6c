"""Where the broker is and who the devices say they are.

Accepts `mqtt://host[:port]` and `mqtts://host[:port]`; refuses credentials inside the address, because an address
ends up in logs and process lists.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from device_sims.errors import UsageError

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Credentials:
    """The username and password of every device of a run."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A broker's address, with the TLS settings of `mqtts` and the credentials to use there."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    credentials: Credentials | None = None

    def __str__(self) -> str:
        """The address without credentials, fit for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtt' if self.tls is None else 'mqtts'}://{host}:{self.port}"


def parse_endpoint(url: str, credentials: Credentials | None = None) -> Endpoint:
    """The endpoint that `url` names; `mqtts` trusts the certificates the system trusts.

    Raises:
        UsageError: the address cannot be used; its hint shows one that can.
    """
    hint = "write it as mqtt://127.0.0.1:1883 or mqtts://broker.example:8883"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is not a broker address: {error}", hint=hint) from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise UsageError(f"{url!r} is not a broker address", hint=hint)
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "the broker address contains credentials", hint="use --username NAME --password-file FILE instead"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"{url!r} has something after the port", hint=hint)
    tls = ssl.create_default_context() if parts.scheme == "mqtts" else None
    return Endpoint(parts.hostname, port or DEFAULT_PORTS[parts.scheme], tls, credentials)


def read_credentials(username: str | None, password_file: Path | None) -> Credentials | None:
    """The credentials of the command line; the password is the first line of its file.

    Raises:
        UsageError: one of the two is missing, or the file cannot be read or is empty.
    """
    if username is None and password_file is None:
        return None
    if username is None or password_file is None:
        raise UsageError("a username and a password file belong together", hint="give --username and --password-file")
    try:
        lines = password_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the password file {password_file}: {error}", hint="check the path") from error
    if not lines or not lines[0]:
        raise UsageError(f"the password file {password_file} is empty", hint="put the password in its first line")
    return Credentials(username, lines[0])
