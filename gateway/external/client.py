"""One connection to the external broker, by `aiomqtt`: the only module that knows it, and paho below it.

Three things of theirs are not used. Messages do not go through aiomqtt's queue, which has no limit and loses the mark
of a repeat: paho's callback brings them here. Acknowledgements are ours (`manual_ack`). And we subscribe at QoS 1, not
2: paho sends PUBREC before it hands a message on, so that one would be lost with a kill between that and the commit. A
message that a device publishes at QoS 2 comes at QoS 1, once or marked as a repeat.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway import client_tls, mqtt_reasons
from gateway.errors import DeliveryError, Unreachable
from gateway.external.repeats import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from gateway.client_tls import ClientTls
    from gateway.external.config import ExternalBrokerConfig

_RECEIPT = struct.Struct(">HQ")
"""Packet id and event of a message that is due to be acknowledged."""
_FENCE = "edge-gateway/fence"
"""A filter that nobody subscribes to."""
_PACKETS_AT_A_TIME_MAX = 50
"""Read before others have their turn in the loop."""
_CLOSE_TIMEOUT_S = 1.0
_PROOF_INTERVAL_S = 1.0
_REFUSED = 0x80
"""A reason code from here on is a no (MQTT 5.0 section 2.4); paho translates those of 3.1.1."""


class Granted(NamedTuple):
    """What a broker makes of subscriptions."""

    refused: dict[str, str]
    """Filters, and why."""
    weak: list[str]
    """Filters that it grants at QoS 0 only."""


class Taker(Protocol):
    """Who takes what comes."""

    def welcomed(self, connection: Connection, *, session_present: bool) -> None:
        """The broker has us; `session_present` tells whether it knows our session. Called before any message."""
        ...

    def take(self, connection: Connection, message: MQTTMessage) -> None:
        """A message came."""
        ...


class Connection(aiomqtt.Client):
    """One connection, from CONNECT to its end; it is not used again after that. Fulfils `gateway.ingest.ingest.Source`.

    Args:
        config: of the broker.
        client_id: names our session.
        password: to log in with.
        context: made by `context_of`, if the broker has TLS.
        taker: is told what happens.
    """

    def __init__(
        self,
        config: ExternalBrokerConfig,
        client_id: str,
        password: str | None,
        context: ssl.SSLContext | None,
        taker: Taker,
    ) -> None:
        self._v5 = config.version == "5"
        host, port, _ = config.address
        super().__init__(
            host,
            port,
            username=config.username,
            password=password,
            identifier=client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if self._v5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if self._v5 else False,
            clean_start=False if self._v5 else MQTT_CLEAN_START_FIRST_ONLY,  # paho takes nothing else for 3.1.1
            properties=_connect_properties(config) if self._v5 else None,
            timeout=config.connect_timeout_s,
            keepalive=config.keep_alive_s,
            tls_context=context,
        )
        self._client.connect_timeout = config.connect_timeout_s
        self._client.manual_ack_set(True)
        self._where = f"{host}:{port}"
        self._taker = taker
        self._failure: OSError | None = None
        self._end: DeliveryError | None = None
        self._is_open = False
        self._paused = False
        self._received = 0
        self._acknowledged: dict[int, Change] = {}

    # --- life ---

    async def open(self) -> None:
        """Connect and log in.

        Raises:
            DeliveryError: the broker cannot be reached, or will not have us.
        """
        try:
            await self.__aenter__()
        except aiomqtt.MqttError as error:
            self.drop()
            raise self._translated(error) from error
        self._is_open = True
        self._listen()

    async def subscribe_to(self, filters: Sequence[str]) -> Granted:
        """Subscribe at QoS 1.

        Retained messages come for filters that the session does not have yet, and not again (retain handling 1).

        Raises:
            DeliveryError: the connection is gone.
        """
        if not filters:
            return Granted({}, [])
        options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=1)
        wanted: list[Any] = [(each, options if self._v5 else 1) for each in filters]
        try:
            codes = await self.subscribe(wanted)
        except aiomqtt.MqttError as error:
            raise self._translated(error) from error
        answers: dict[str, Any] = dict(zip(filters, codes, strict=False))
        return Granted(
            {each: str(code) for each, code in answers.items() if code.value >= _REFUSED},
            [each for each, code in answers.items() if code.value == 0],
        )

    async def leave_out(self, filters: Sequence[str]) -> None:
        """Unsubscribe.

        Raises:
            DeliveryError: the connection is gone.
        """
        if filters:
            try:
                await self.unsubscribe(list(filters))
            except aiomqtt.MqttError as error:
                raise self._translated(error) from error

    async def prove(self) -> list[Change]:
        """A second later: what the broker has our acknowledgement of, for certain, since this was asked last.

        It answers in order, so the answer to a question that was asked after the acknowledgements is the proof. paho
        tells nobody of a PINGRESP; that a filter is not subscribed to any more is always answered.

        Raises:
            DeliveryError: the connection is gone.
        """
        await asyncio.sleep(_PROOF_INTERVAL_S)
        if not self._acknowledged:
            return []
        asked_after, self._acknowledged = self._acknowledged, {}
        try:
            await self.unsubscribe(_FENCE, timeout=math.inf)
        except aiomqtt.MqttError as error:
            raise self._translated(error) from error
        return list(asked_after.values())

    async def wait_closed(self) -> DeliveryError:
        """Return why the connection is gone as soon as it is."""
        await asyncio.wait((self._disconnected,))
        why: object = self._disconnected.exception() or "closed"
        if isinstance(why, aiomqtt.MqttCodeError) and getattr(why.rc, "value", None) == _REFUSED:
            why = "the broker closed it"  # paho has no name for that
        return self._end or Unreachable(f"connection lost: {why}")

    async def close(self) -> None:
        """Say goodbye and let go; the broker keeps the session. Idempotent."""
        if self._is_open:
            self._is_open = False
            with suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await self.__aexit__(None, None, None)
        self.drop()

    def drop(self) -> None:
        """Let go at once."""
        self._is_open = False
        self._client._sock_close()  # noqa: SLF001 - paho has no other way to let go without waiting for the peer
        if not self._disconnected.done():
            self._disconnected.set_result(None)
        for end in (self._connected, self._disconnected):
            if end.done() and not end.cancelled():
                end.exception()  # seen: whoever waited for it has been told, or nobody waits

    @property
    def paused(self) -> bool:
        """Whether nothing is read."""
        return self._paused

    # --- called by ingest ---

    def committed(self, receipt: bytes | bytearray) -> None:
        """The messages of these packet ids are on disk: acknowledge them."""
        if self._is_open:
            for packet_id, seq in _RECEIPT.iter_unpack(receipt):
                self._client.ack(packet_id, 1)
                self._acknowledged[packet_id] = Change(packet_id, seq)

    def pause(self) -> None:
        """Read no further until `relieve`."""
        socket = self._client.socket()
        if not self._paused and socket is not None:
            self._paused = True
            self._loop.remove_reader(socket.fileno())

    def relieve(self) -> None:
        """There is room again."""
        if self._paused:
            self._paused = False
            self._listen()

    # --- called by the loop, and by paho ---

    def _listen(self) -> None:
        """Read by ourselves: aiomqtt reads one packet each time the loop comes round, and cannot be told to pause."""
        socket = self._client.socket()
        if self._is_open and not self._paused and socket is not None:
            self._loop.add_reader(socket.fileno(), self._read)
            self._loop.call_soon(self._read)  # of what TLS has decrypted already the loop knows nothing

    def _read(self) -> None:
        for _ in range(_PACKETS_AT_A_TIME_MAX):
            before = self._received
            if self._paused or self._client.socket() is None:
                return
            self._client.loop_read()
            if self._received == before:
                break
        socket = self._client.socket()
        if isinstance(socket, ssl.SSLSocket) and socket.pending() and not self._paused:
            self._loop.call_soon(self._read)

    def _on_message(self, client: Any, userdata: Any, message: MQTTMessage) -> None:
        del client, userdata
        self._received += 1
        self._taker.take(self, message)

    def _on_connect(
        self,
        client: Any,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if reason_code.value < _REFUSED and not self._connected.done():
            self._taker.welcomed(self, session_present=flags.session_present)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: Any,
        userdata: Any,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self._is_open = False
        if flags.is_disconnect_packet_from_server and self._end is None:
            farewell = mqtt_reasons.of_disconnect(reason_code.value, "")
            self._end = farewell if isinstance(farewell, DeliveryError) else Unreachable(farewell.reason)
        if not self._connected.done():  # aiomqtt would wait for an answer until its time is up
            self._connected.set_exception(aiomqtt.MqttError("it closed the connection"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _client_connect(self) -> None:
        try:
            super()._client_connect()
        except OSError as error:  # aiomqtt keeps no more of it than its text
            self._failure = error
            raise

    def _translated(self, error: aiomqtt.MqttError) -> DeliveryError:
        if isinstance(error, MqttConnectError):
            code = error.rc if isinstance(error.rc, int) or error.rc is None else error.rc.value
            return mqtt_reasons.of_connack(code or _REFUSED, "") or Unreachable(str(error))
        if isinstance(self._failure, WrongServer):
            return self._failure.refusal
        if self._failure is not None:
            return client_tls.of_error(self._failure, f"no connection to {self._where}")
        return self._end or Unreachable(f"no answer from {self._where}: {error}")


def receipt_of(packet_id: int, seq: int) -> bytes:
    """What `Connection.committed` understands: acknowledge this message, which is stored as event `seq`."""
    return _RECEIPT.pack(packet_id, seq)


def properties_of(message: MQTTMessage) -> bytes | None:
    """The properties of a message as MQTT 5 has them on the wire, without their length; None if there are none."""
    properties = message.properties
    if properties is None or properties.isEmpty():  # type: ignore[no-untyped-call]
        return None
    packed: bytes = properties.pack()  # type: ignore[no-untyped-call]
    at = 0
    while packed[at] & 0x80:
        at += 1
    return packed[at + 1 :]


def _connect_properties(config: ExternalBrokerConfig) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = config.expiry_s
    properties.ReceiveMaximum = config.receive_max
    properties.MaximumPacketSize = config.packet_bytes_max
    return properties


class WrongServer(OSError):  # noqa: N818 - named for whom we have met
    """It has shown a certificate that is not the right one."""

    def __init__(self, refusal: DeliveryError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def context_of(tls: ClientTls) -> ssl.SSLContext:
    """TLS for paho, which knows neither `server_name` nor fingerprints: both are looked at before it sends anything.

    Raises:
        ConfigError: a file of certificates or keys cannot be used.
    """

    class Socket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
            try:
                super().do_handshake(block)
                refusal = tls.examine(self.getpeercert(binary_form=True))
                if refusal is not None:
                    raise WrongServer(refusal)
            except OSError:
                self.close()  # paho would leave it open
                raise

    class Context(ssl.SSLContext):
        sslsocket_class = Socket

        def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
            return super().wrap_socket(*args, **{**options, "server_hostname": tls.server_name})

    return tls.context(Context)
