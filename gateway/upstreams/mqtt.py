"""An MQTT server as upstream: MQTT 5 or 3.1.1, QoS 1, pipelined, clean start.

With MQTT 5 an event carries what its envelope says of it as user properties, and the server can refuse one. With 3.1.1
it carries none, unless it is a CloudEvent, which is a document then; and what a server drops for its own reasons it
acknowledges all the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway import client_tls, mqtt_address
from gateway.client_tls import ClientTls
from gateway.errors import Blocked, ConfigError, Unreachable
from gateway.forward.cloudevents import CloudEvents
from gateway.secret import read_secret
from gateway.upstreams.mqtt_client import MqttConnection
from gateway.upstreams.mqtt_session import INFLIGHT_MAX, PACKET_BYTES_MAX, Login, Session
from gateway.upstreams.mqtt_v5 import Mqtt5
from gateway.upstreams.mqtt_v311 import Mqtt311
from gateway.upstreams.tls import TlsUpstreamConfig

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from gateway.certificates import Certificate
    from gateway.errors import DeliveryError
    from gateway.event import Event
    from gateway.forward.envelope import RawEnvelope


class MqttUpstreamConfig(TlsUpstreamConfig):
    """An `[upstreams.<name>]` section of type mqtt."""

    type: Literal["mqtt"] = Field(description="Kind of upstream.")
    url: str = Field(description="mqtt://host:port, or mqtts://host:port for TLS; the ports default to 1883 and 8883.")
    version: Literal["5", "3.1.1"] = Field(
        default="5", description="Version of MQTT. Only 5 carries event ids and tells us what the server refuses."
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Name we log in under; by default made of the gateway's id and the upstream's name.",
    )
    username: str | None = Field(default=None, description="User name to log in with.")
    password: SecretStr | None = Field(default=None, description="Password; better kept in password_file.")
    password_file: str | None = Field(
        default=None,
        description="File with the password, read at each connect. A relative name is looked up in "
        "$CREDENTIALS_DIRECTORY, where systemd puts credentials.",
    )
    keep_alive_s: int = Field(default=30, ge=1, le=65_535, description="Silence after which the server is asked.")
    inflight_max: int = Field(
        default=1000, ge=1, le=INFLIGHT_MAX, description="Unacknowledged publishes, unless the server allows fewer."
    )
    qos: Literal[1] = Field(default=1, description="1: the server acknowledges each event.")
    retain: bool = Field(default=True, description="Whether the retain flag of a message is passed on.")
    packet_bytes_max: int = Field(
        default=PACKET_BYTES_MAX,
        ge=1024,
        le=PACKET_BYTES_MAX,
        description="Larger events are quarantined, also if the server would take them.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        mqtt_address.parse(url)
        return url

    @model_validator(mode="after")
    def _check_envelope(self) -> MqttUpstreamConfig:
        if self.version == "3.1.1" and self.cloudevents_mode == "binary":
            raise ValueError(
                'cloudevents_mode = "binary" needs properties, which MQTT 3.1.1 does not have: write '
                'cloudevents_mode = "structured", or version = "5"'
            )
        return self

    @model_validator(mode="after")
    def _check_login(self) -> MqttUpstreamConfig:
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file exclude each other: remove one")
        has_password = self.password is not None or self.password_file is not None
        if has_password and self.username is None:
            raise ValueError("a password needs a username")
        if self.tls_keys and not self.tls:
            raise ValueError(f"{self.tls_keys[0]} needs an mqtts:// url")
        return self

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return mqtt_address.parse(self.url).tls

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return mqtt_address.parse(self.url)[:2]


class MqttUpstream:
    """Fulfils `gateway.forward.upstream.Upstream` for an MQTT server.

    Args:
        config: its section of the configuration.
        envelope: names the events, or makes documents of them.
        client_id: to log in under, if the configuration names none.
        section: its name in the configuration.
        suffix: what the client id ends with, so that a second connection does not push out the first.
    """

    def __init__(
        self,
        config: MqttUpstreamConfig,
        envelope: RawEnvelope | CloudEvents,
        *,
        client_id: str,
        section: str = "upstreams",
        suffix: str = "",
    ) -> None:
        self._config = config
        self._client_id = (config.client_id or client_id) + suffix
        self._dialect = Mqtt5(envelope) if config.version == "5" else _without_properties(envelope)
        self._limits = Session(
            inflight_max=config.inflight_max,
            packet_bytes_max=config.packet_bytes_max,
            retain=config.retain,
            keep_alive_s=config.keep_alive_s,
        )
        self._connection: MqttConnection | None = None
        self._tls = ClientTls(config, section, config.address[0]) if config.tls else None

    @property
    def certificates(self) -> list[Certificate]:
        """The certificates of the last connection, the server's among them; none without TLS."""
        return [] if self._tls is None else self._tls.certificates

    @property
    def acknowledged(self) -> int:
        """How many leading events of the batch last given to `send` the server has."""
        return self._connection.acknowledged if self._connection else 0

    async def open(self) -> None:
        """Connect and log in.

        Raises:
            Unreachable: no connection.
            Busy: the server asks to come back later.
            Blocked: it will not have us, or what we need to log in is missing here.
        """
        password, context = await asyncio.to_thread(self._read_files)
        login = Login(self._client_id, self._config.keep_alive_s, self._config.username, password)
        try:
            connect = self._dialect.connect(login)
        except ValueError as error:
            raise Blocked(f"client_id, username or password cannot be sent: {error}") from error
        examine = None if self._tls is None else self._tls.examine
        connection = self._connection = MqttConnection(self._dialect, connect, self._limits, examine)
        host, port = self._config.address
        server_name = None if self._tls is None else self._tls.server_name
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection, host, port, ssl=context, server_hostname=server_name
            )
        except OSError as error:
            raise client_tls.of_error(error, f"no connection to {host}:{port}") from error
        refusal = await connection.ready
        if refusal is not None:
            raise refusal

    async def send(self, events: Sequence[Event]) -> None:
        """Publish `events` and return when the server has acknowledged each of them.

        Raises:
            DeliveryError: as the port says.
        """
        if self._connection is None:
            raise Unreachable("not connected")
        await self._connection.publish(events)

    async def wait_closed(self) -> DeliveryError:
        """Return why the connection is gone as soon as it is."""
        if self._connection is None:
            return Unreachable("not connected")
        return await asyncio.shield(self._connection.closed)

    async def close(self) -> None:
        """Log out and let go of the connection."""
        if self._connection is not None:
            await self._connection.close()

    def _read_files(self) -> tuple[bytes | None, ssl.SSLContext | None]:
        """Password and trust, read anew at each connect, so that a file can be replaced while we run."""
        config = self._config
        password = config.password.get_secret_value().encode() if config.password else None
        try:
            if config.password_file is not None:
                password = read_secret(config.password_file)
        except OSError as error:
            raise Blocked(f"cannot read password_file: {error}") from error
        try:
            return password, None if self._tls is None else self._tls.context()
        except ConfigError as error:
            raise client_tls.unusable(error) from error


def _without_properties(envelope: RawEnvelope | CloudEvents) -> Mqtt311:
    """MQTT 3.1.1: what an envelope says of an event is lost, unless it makes a document."""
    return Mqtt311(envelope.topics, envelope.structured if isinstance(envelope, CloudEvents) else None)
