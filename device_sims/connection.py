"""The one place that knows `aiomqtt`: a device's connection, opened, watched and closed.

Promises: every failure of the library arrives as `ConnectionLost`; no wait on the broker is longer than its
timeout. Each connection is a fresh client with a clean session: what was not acknowledged is sent again by the
device itself, and must not be sent a second time, out of turn, by the library or be mistaken by the broker for a
packet of an earlier connection that had the same packet id.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt

from device_sims.endpoint import Endpoint
from device_sims.errors import ConnectionLost
from device_sims.event import Event

CONNECT_TIMEOUT_S = 5.0
ACKNOWLEDGE_TIMEOUT_S = 20.0
HANG_UP_TIMEOUT_S = 0.5
KEEPALIVE_S = 20


class Connection:
    """An open connection of one device."""

    def __init__(self, client: aiomqtt.Client, *, qos: int, retain: bool) -> None:
        self._client = client
        self._qos = qos
        self._retain = retain

    async def publish(self, event: Event) -> None:
        """Return when the broker has acknowledged `event`; at QoS 0, when it is written.

        Raises:
            ConnectionLost: it was not acknowledged in time, or the connection is gone.
        """
        try:
            await self._client.publish(
                event.topic, event.payload, qos=self._qos, retain=self._retain, timeout=ACKNOWLEDGE_TIMEOUT_S
            )
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"not acknowledged: {error}") from error

    async def broken(self) -> None:
        """Never return; raise when the connection breaks.

        `publish` alone would notice only after its timeout: it waits for the acknowledgement, not for the end of
        the connection. Devices subscribe to nothing, so no message ever comes out of this loop.

        Raises:
            ConnectionLost: the connection broke.
        """
        try:
            async for _ in self._client.messages:
                continue
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"connection lost: {error.__cause__ or error}") from error


@asynccontextmanager
async def open_connection(
    endpoint: Endpoint, identifier: str, *, qos: int, retain: bool, inflight_max: int
) -> AsyncIterator[Connection]:
    """A connection as client `identifier`, closed with DISCONNECT at the end if it still stands.

    Must not be cancelled while it connects: the library connects in a thread, which cannot be called back.

    Raises:
        ConnectionLost: no connection within the timeouts, refused, or lost while closing.
    """
    credentials = endpoint.credentials
    client = aiomqtt.Client(
        endpoint.host,
        endpoint.port,
        identifier=identifier,
        username=credentials.username if credentials else None,
        password=credentials.password if credentials else None,
        protocol=aiomqtt.ProtocolVersion.V311,
        clean_session=True,
        keepalive=KEEPALIVE_S,
        timeout=CONNECT_TIMEOUT_S,
        tls_context=endpoint.tls,
        # The outbox keeps the window. These two say the same to the library, so that it holds back or queues nothing.
        max_inflight_messages=inflight_max,
        max_queued_outgoing_messages=inflight_max,
    )
    # The library warns of more waiting publishes than this; up to the window they are intended.
    client.pending_calls_threshold = inflight_max
    try:
        await client.__aenter__()
    except aiomqtt.MqttError as error:
        await hang_up(client)
        raise ConnectionLost(f"not connected: {error}") from error
    try:
        yield Connection(client, qos=qos, retain=retain)
    finally:
        try:
            await client.__aexit__(None, None, None)
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"lost while closing: {error}") from error


async def hang_up(client: aiomqtt.Client) -> None:
    """Close the socket of a client whose CONNECT was not answered in time.

    The library leaves it open. An error here says only that the broker did not answer this either.
    """
    client.timeout = HANG_UP_TIMEOUT_S
    with contextlib.suppress(aiomqtt.MqttError):
        async with asyncio.timeout(2 * HANG_UP_TIMEOUT_S):
            await client.__aexit__(None, None, None)
