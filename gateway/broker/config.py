"""What an operator may set about the broker (section `[broker]`)."""

from __future__ import annotations

import ipaddress
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

import argon2
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_DEFAULT_PORTS = {"mqtt": 1883, "ws": 8083, "mqtts": 8883, "wss": 8084}
_TLS_SCHEMES = ("mqtts", "wss")
_WEBSOCKET_SCHEMES = ("ws", "wss")


class Listen(NamedTuple):
    """One address devices connect to."""

    scheme: str
    """`mqtt` (TCP) or `ws` (WebSocket); `mqtts` and `wss` are the same in TLS."""
    host: str
    port: int

    @property
    def has_tls(self) -> bool:
        """Whether what is spoken is encrypted."""
        return self.scheme in _TLS_SCHEMES

    @property
    def is_websocket(self) -> bool:
        """Whether MQTT comes in WebSocket messages."""
        return self.scheme in _WEBSOCKET_SCHEMES

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_listen(url: str) -> Listen:
    """Read a listen address such as `mqtt://127.0.0.1:1883` or `wss://[::]:8084`.

    Raises:
        ValueError: it is not one, with what to write instead.
    """
    wrong = f"{url!r} is no listen address; write for example 'mqtt://127.0.0.1:1883' or 'ws://127.0.0.1:8083'"
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")  # raises for a name that no resolver would accept
    except ValueError as error:
        raise ValueError(wrong) from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(wrong)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r}: the port must be a number from 0 to 65535") from error
    return Listen(parts.scheme, parts.hostname, _DEFAULT_PORTS[parts.scheme] if port is None else port)


class UserConfig(BaseModel):
    """A login; a hash alone stands for one without a role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    password: str
    """Its argon2 hash."""
    role: str | None = None
    """A name of section [roles], or `local`; without one it has the rights of section [rights]."""

    @model_validator(mode="before")
    @classmethod
    def _hash_alone(cls, value: object) -> object:
        if isinstance(value, str):
            return {"password": value}
        if not isinstance(value, (dict, UserConfig)):
            raise ValueError('Input should be a valid string, or { password = "...", role = "..." }')  # noqa: TRY004
        return value


class TlsConfig(BaseModel):
    """Section `[broker.tls]`: what listeners with TLS show and ask for.

    A file with a relative name is looked up in `$CREDENTIALS_DIRECTORY`, where systemd puts credentials, if it is set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: str
    """PEM file with the certificate that devices are shown, and those between it and the authority they trust."""
    key: str
    """PEM file with its private key, without a password."""
    client_ca: str | None = None
    """PEM file with the authorities whose certificates devices may show."""
    client_certificate: Literal["none", "required"] = "none"
    """Whether a device has to show a certificate; then that is its login, and no password is asked for."""
    identity: Literal["cn", "san"] = "cn"
    """What of the certificate is the user name: its common name, or its only alternative name."""

    @model_validator(mode="after")
    def _authorities_are_named(self) -> Self:
        if self.client_certificate == "required" and self.client_ca is None:
            raise ValueError('client_certificate = "required" needs client_ca: the authorities to trust, in a PEM file')
        return self


class BrokerConfig(BaseModel):
    """Where devices connect, who may, and the limits each of them has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["embedded"] = "embedded"
    """embedded: the gateway is the broker. external: it takes events from another one, with keys of its own
    (`gateway.external.config`)."""
    listen: list[str] = Field(default=["mqtt://127.0.0.1:1883"], min_length=1)
    """Addresses: `mqtt://host:port`, `ws://host:port`; with TLS `mqtts://host:port`, `wss://host:port`."""
    tls: TlsConfig | None = None
    """Certificate and key for listeners with TLS."""
    tls_handshake_timeout_s: float = Field(default=10, gt=0)
    """Time a TLS handshake may take; `connect_timeout_s` begins after it."""
    tls_handshakes_max: int = Field(default=300, ge=1)
    """TLS handshakes that are answered at a time, 50 KB each; others wait, and then none may take over 3 seconds."""
    allow_anonymous: bool = False
    """Whether a client without a user name is let in."""
    users: dict[str, UserConfig] = {}
    """User name and argon2 hash of the password; `gateway devices hash NAME` makes the line."""
    connections_max: int = Field(default=8000, ge=1)
    """Connections in all; one more is closed at once, unless one that has not logged in can be closed for it."""
    connections_per_address_max: int = Field(default=2000, ge=1)
    """Connections from one address, or from one /64 network of IPv6; one more is closed at once."""
    connect_timeout_s: float = Field(default=10, gt=0)
    """Time a connection has from its beginning until it is admitted."""
    packet_bytes_max: int = Field(default=266_240, ge=1024, le=268_435_455)
    """Largest packet taken, checked at its header; the default leaves room for 256 KiB of payload and its topic."""
    unfinished_bytes_max: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Bytes of packets whose rest has not come yet, of all connections; beyond it, who waits longest is closed."""
    logins_parallel_max: int = Field(default=2, ge=1)
    """Password checks at a time; each costs tens of milliseconds and the memory its hash was made with."""
    logins_pending_max: int = Field(default=500, ge=1)
    """Logins that wait for a check; beyond it, whoever has most of them loses one. Addresses take turns."""
    login_failures_per_minute_max: int = Field(default=20, ge=1)
    """Failed logins of one address; beyond it, its logins are refused unchecked. Beyond it for one name, logins under
    that name take a second longer, and addresses with a failure of their own are refused."""
    devices_max: int = Field(default=10_000, ge=0)
    """Devices that `gateway devices add` may store."""
    topic_bytes_max: int = Field(default=1024, ge=1, le=65_535)
    """Length of a topic or filter; a client that uses a longer one is disconnected."""
    topic_levels_max: int = Field(default=64, ge=1)
    """Levels of a topic or filter; a client that uses a deeper one is disconnected."""
    publish_rate_max: int = Field(default=0, ge=0)
    """Events a second from one connection; beyond it, its socket is not read for a while. 0 is no limit."""
    subscriptions_per_client_max: int = Field(default=1000, ge=1)
    """Filters that one client may be subscribed to; one more is answered with 0x80."""
    subscriber_queue_events_max: int = Field(default=10_000, ge=1)
    """Events waiting for one local subscriber at QoS 1 and 2, connected or not."""
    subscriber_queue_bytes_max: int = Field(default=2 * 1024 * 1024, ge=1024)
    """The same limit in bytes, of which an event takes 200 beside its payload; it also limits what is in flight."""
    subscriber_overflow: Literal["drop_oldest", "drop_newest", "disconnect"] = "drop_oldest"
    """What happens when a local subscriber is too slow: the oldest or the newest event that waits for it goes, or the
    subscriber is disconnected. Events of QoS 0 cannot be taken back: of these always the newest goes."""
    subscribers_bytes_max: int = Field(default=8 * 1024 * 1024, ge=64 * 1024)
    """What may wait for all local subscribers together; beyond it the limit of each is an equal share of this."""
    subscriber_inflight_max: int = Field(default=100, ge=1, le=65_535)
    """Events sent to one local subscriber and not yet acknowledged."""
    subscriber_buffer_bytes_max: int = Field(default=1024 * 1024, ge=1024)
    """Bytes the socket of a local subscriber may owe; beyond it QoS 0 events are dropped, others wait."""
    sessions_max: int = Field(default=10_000, ge=1)
    """Persistent sessions; a client that would begin one more is refused (CONNACK 3)."""
    session_expiry_s: float = Field(default=604_800, ge=0)
    """A persistent session whose client has been away for longer, while the gateway ran, is removed. 0 is never."""
    wills_bytes_max: int = Field(default=1024 * 1024, ge=0)
    """Bytes of wills taken in while the log is full; beyond it they are dropped, and counted."""

    @field_validator("listen")
    @classmethod
    def _listen_can_be_read(cls, urls: list[str]) -> list[str]:
        for url in urls:
            parse_listen(url)
        return urls

    @field_validator("users")
    @classmethod
    def _users_are_hashes(cls, users: dict[str, UserConfig]) -> dict[str, UserConfig]:
        for name, user in users.items():
            if not _is_hash(user.password):
                raise ValueError(f"{name!r} is not an argon2 hash; make one with: gateway devices hash {name}")
        return users

    @model_validator(mode="after")
    def _tls_has_a_certificate(self) -> Self:
        if self.tls is None and any(address.has_tls for address in self.addresses()):
            raise ValueError(
                "listen has an address with TLS, which needs a section [broker.tls] with certificate and key; "
                "`gateway init` makes them"
            )
        return self

    def addresses(self) -> list[Listen]:
        """`listen`, read."""
        return [parse_listen(url) for url in self.listen]

    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return all(address.is_loopback for address in self.addresses())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server of this host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_hash(text: str) -> bool:
    """Whether a password can be checked against it."""
    try:
        argon2.extract_parameters(text)
    except argon2.exceptions.InvalidHashError:
        return False
    return True
