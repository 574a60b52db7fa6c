"""Connections by `aiomqtt`: opened, used and closed so that every failure is a `ConnectionLost`.

Promises: no wait on the broker is longer than its timeout, and no error of the library comes through as anything
else. What the library would do on its own is switched off: it neither queues nor sends again, since the outbox of
a device does both and must be the only one to.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiomqtt

from device_sims.endpoint import Endpoint
from device_sims.errors import ConnectionLost
from device_sims.event import Event

CONNECT_TIMEOUT_S = 5.0
ACKNOWLEDGE_TIMEOUT_S = 20.0
HANG_UP_TIMEOUT_S = 0.5
KEEPALIVE_S = 20

# What the library logs about a broken connection arrives as a `ConnectionLost` too; without a handler of its own it
# would also be written to the terminal, once for each device.
LOGGER = logging.getLogger("device_sims.mqtt")
LOGGER.addHandler(logging.NullHandler())

Inbox = asyncio.Queue[aiomqtt.Message]


@dataclass(frozen=True, slots=True)
class Client:
    """How to appear at the broker."""

    identifier: str
    clean_session: bool
    inflight_max: int
    inbox: type[Inbox] = Inbox


class Connection:
    """An open connection."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def publish(self, event: Event, *, qos: int, retain: bool) -> None:
        """Return when the broker has acknowledged `event`; at QoS 0, when it is written.

        Raises:
            ConnectionLost: it was not acknowledged in time, or the connection is gone.
        """
        try:
            await self._client.publish(
                event.topic, event.payload, qos=qos, retain=retain, timeout=ACKNOWLEDGE_TIMEOUT_S
            )
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"not acknowledged: {error}") from error

    async def subscribe(self, topic: str, *, qos: int) -> list[int]:
        """Subscribe and return the codes of the SUBACK: the granted QoS, or 128 for a refusal (MQTT 3.1.1, 3.9.3).

        Raises:
            ConnectionLost: no SUBACK in time, or the connection is gone.
        """
        try:
            granted = await self._client.subscribe(topic, qos=qos)
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"not subscribed: {error}") from error
        return [code if isinstance(code, int) else code.value for code in granted]

    async def broken(self) -> None:
        """Never return; raise when the connection breaks.

        `publish` alone would notice only after its timeout: it waits for the acknowledgement, not for the end of
        the connection. What comes out of the inbox on the way is dropped: a device subscribes to nothing, and
        a subscriber has an inbox that keeps nothing.

        Raises:
            ConnectionLost: the connection broke; its cause is the library's reason.
        """
        try:
            async for _ in self._client.messages:
                continue
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"connection lost: {error.__cause__ or error}") from (error.__cause__ or error)


@asynccontextmanager
async def open_connection(endpoint: Endpoint, as_client: Client) -> AsyncIterator[Connection]:
    """A connection, closed with DISCONNECT at the end if it still stands.

    Must not be cancelled while it connects: the library connects in a thread, which cannot be called back.

    Raises:
        ConnectionLost: no connection within the timeouts, refused, or lost while closing.
    """
    client = _new_client(endpoint, as_client)
    try:
        await client.connect()
    except aiomqtt.MqttError as error:
        if client.has_socket:  # only an unanswered CONNECT leaves one behind
            await _hang_up(client)
        raise ConnectionLost(f"not connected: {error}") from error
    try:
        yield Connection(client)
    finally:
        try:
            await client.__aexit__(None, None, None)
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"lost while closing: {error}") from error


class _SteadyClient(aiomqtt.Client):
    """The library's client without two races of its versions 2.5."""

    @property
    def has_socket(self) -> bool:
        """Whether a socket is open, connected or not."""
        return self._client.socket() is not None

    async def connect(self) -> None:
        """Connect, and notice a connection that broke before this task learned that it stood.

        The library forgets such a loss, and would take the client for connected until it next publishes.
        """
        disconnected = self._disconnected
        await self.__aenter__()
        if disconnected.done():
            raise aiomqtt.MqttError("lost right after connecting") from disconnected.exception()

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        """Have the loop watch the socket for writing now.

        The library does it one step later. When the connection breaks within that step, the loop is told to watch
        a closed socket, or another client's, if that was given the same number meanwhile.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # In the thread that connects: nothing reads from the socket yet, so it cannot be found broken.
            super()._on_socket_register_write(client, userdata, sock)
        else:
            loop.add_writer(sock.fileno(), client.loop_write)


def _new_client(endpoint: Endpoint, as_client: Client) -> _SteadyClient:
    credentials = endpoint.credentials
    client = _SteadyClient(
        endpoint.host,
        endpoint.port,
        logger=LOGGER,
        identifier=as_client.identifier,
        username=credentials.username if credentials else None,
        password=credentials.password if credentials else None,
        protocol=aiomqtt.ProtocolVersion.V311,
        clean_session=as_client.clean_session,
        keepalive=KEEPALIVE_S,
        timeout=CONNECT_TIMEOUT_S,
        tls_context=endpoint.tls,
        queue_type=as_client.inbox,
        max_queued_incoming_messages=0,
        # The outbox keeps the window. These two say the same to the library, so that it holds back or queues nothing.
        max_inflight_messages=as_client.inflight_max,
        max_queued_outgoing_messages=as_client.inflight_max,
    )
    # The library warns of more waiting publishes than this; up to the window they are intended.
    client.pending_calls_threshold = as_client.inflight_max
    return client


async def _hang_up(client: aiomqtt.Client) -> None:
    """Close the socket of a client whose CONNECT was not answered in time; the library leaves it open.

    An error here says only that the broker did not answer this either.
    """
    client.timeout = HANG_UP_TIMEOUT_S
    with contextlib.suppress(aiomqtt.MqttError):
        await client.__aexit__(None, None, None)
