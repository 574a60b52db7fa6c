"""amqtt as the session engine; the only module that knows it.

amqtt 0.12.1 keeps sessions, answers CONNECT with CONNACK, and handles SUBSCRIBE and UNSUBSCRIBE. It never sees a
socket, a password, a will or a PUBLISH: those are dealt with in front of it (see docs/decisions/0001). Its
subscription table and its delivery are replaced by `Delivery`, which is bounded. `tests/unit/broker/test_sessions.py`
fails when amqtt changes what is relied on here.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import amqtt.broker
from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.contexts import BrokerConfig as AmqttConfig
from amqtt.contexts import ListenerConfig, ListenerType
from amqtt.errors import AMQTTError, MQTTError, NoDataError

from gateway.broker import packets
from gateway.errors import LogError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from amqtt.mqtt.protocol.broker_handler import UnSubscription
    from amqtt.session import Session

    from gateway.broker.delivery import Delivery
    from gateway.eventlog.log import EventLog

_LISTENER = "default"  # amqtt insists on one of this name
_SUBSCRIPTION_FAILED = 0x80

logger = logging.getLogger(__name__)


class Pipe(ReaderAdapter):
    """Bytes on their way from our connection to amqtt."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ended = False
        self._more = asyncio.Event()

    def feed(self, data: bytes) -> None:
        """Hand over one whole packet."""
        self._bytes += data
        self._more.set()

    def feed_eof(self) -> None:
        """The client is gone."""
        self._ended = True
        self._more.set()

    async def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes; empty at the end."""
        while len(self._bytes) < n and not self._ended:
            self._more.clear()
            await self._more.wait()
        if self._ended:  # amqtt begins to read a moment before it begins to wait for the end, and would miss it
            await asyncio.sleep(0)
        data = bytes(self._bytes[:n])
        del self._bytes[:n]
        return data


class Answer(WriterAdapter):
    """Bytes on their way from amqtt to our connection."""

    def __init__(self, send: Callable[[bytes], None], peer: tuple[str, int]) -> None:
        self._send = send
        self._peer = peer

    def write(self, data: bytes) -> None:
        """Hand bytes to the connection."""
        self._send(data)

    async def drain(self) -> None:
        """Nothing to wait for: what amqtt sends is one answer to one packet."""

    def get_peer_info(self) -> tuple[str, int]:
        """Address and port of the client."""
        return self._peer

    def get_ssl_info(self) -> ssl.SSLObject | None:
        """None: encryption ends in our listener."""
        return None

    async def close(self) -> None:
        """The connection is closed by its owner when `Sessions.serve` returns."""


class ConnectionState:
    """Whether a session's client is connected: in place of amqtt's state machine, which takes 17 KB a session."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = "new"

    def connect(self) -> None:
        """The client has come.

        Raises:
            ValueError: it is here already, as far as is known; amqtt then takes over.
        """
        if self.is_connected():
            raise ValueError("connected already")
        self.state = "connected"

    def disconnect(self) -> None:
        """The client has gone."""
        self.state = "disconnected"

    def is_connected(self) -> bool:
        """Whether it is here."""
        return self.state == "connected"


class Sessions(amqtt.broker.Broker):
    """Sessions of admitted clients, persistent ones kept in `state.db`."""

    def __init__(self, log: EventLog, delivery: Delivery) -> None:
        for noisy in ("amqtt", "transitions"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        listener = ListenerConfig(type=ListenerType.EXTERNAL)
        super().__init__(AmqttConfig(listeners={_LISTENER: listener}, plugins={}))
        self._log = log
        self._delivery = delivery
        self._kept: set[str] = set()

    async def open(self) -> None:
        """Start amqtt and bring back the persistent sessions of the last run."""
        await self.start()
        for client_id, subscriptions in self._log.sessions().items():
            handler, session = self.create_offline_session(client_id)
            session.transitions = ConnectionState()
            session.clean_session = False
            self._sessions[client_id] = (session, handler)
            self._kept.add(client_id)
            for topic_filter, qos in subscriptions.items():
                self._delivery.subscribe(client_id, topic_filter, qos)

    async def close(self) -> None:
        """Stop amqtt; persistent sessions stay in `state.db`."""
        await self.shutdown()

    async def begin(self, client_id: str, *, clean_session: bool) -> None:
        """Prepare a client's session, before amqtt is told of the client.

        Raises:
            LogError: the disk did not take the change; the client must be turned away.
        """
        if clean_session:
            self._delivery.forget(client_id)
            if client_id in self._kept:
                await self._log.drop_session(client_id)
                self._kept.discard(client_id)
        elif client_id not in self._kept:
            await self._log.keep_session(client_id, {})
            self._kept.add(client_id)

    async def serve(self, client_id: str, pipe: Pipe, answer: Answer, *, clean_session: bool) -> None:
        """Keep an admitted client's session until it disconnects; the first answer is the CONNACK."""
        pipe.feed(packets.write_connect(client_id, clean_session=clean_session))
        try:
            await self.external_connected(pipe, answer, _LISTENER)
        except (AMQTTError, MQTTError, NoDataError) as error:
            logger.warning("a session ended with an error", extra={"client_id": client_id, "reason": str(error)})
        finally:
            if clean_session:  # amqtt would keep it for a while, and pass it off as a persistent one
                await self._delete_session(client_id)

    # --- what replaces parts of amqtt; the names are amqtt's ---

    async def _initialize_client_session(
        self, reader: Pipe, writer: Answer, remote_address: str, remote_port: int
    ) -> tuple[object, Session]:
        handler, session = await super()._initialize_client_session(reader, writer, remote_address, remote_port)
        if not isinstance(session.transitions, ConnectionState):
            session.transitions = ConnectionState()
        return handler, session

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        """The client was authenticated before amqtt heard of it."""
        return session.client_id is not None

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """Grant a subscription and keep it; a persistent session's is on disk before SUBACK."""
        topic_filter, qos = subscription
        client_id = session.client_id
        before = self._delivery.subscriptions(client_id).get(topic_filter)
        self._delivery.subscribe(client_id, topic_filter, qos)
        if await self._keep(session):
            return qos
        if before is None:
            self._delivery.unsubscribe(client_id, topic_filter)
        else:
            self._delivery.subscribe(client_id, topic_filter, before)
        return _SUBSCRIPTION_FAILED

    def _del_subscription(self, a_filter: str, session: Session) -> int:
        return int(self._delivery.unsubscribe(session.client_id, a_filter))

    async def _handle_unsubscription(
        self, client_session: Session, handler: object, waiter: asyncio.Future[UnSubscription]
    ) -> None:
        for topic_filter in waiter.result().topics:
            self._del_subscription(topic_filter, client_session)
        await self._keep(client_session)  # before UNSUBACK, which amqtt sends now
        await super()._handle_unsubscription(client_session, handler, waiter)

    async def _del_all_subscriptions(self, session: Session) -> None:
        """Done in `begin`, and for clean sessions when the connection ends."""

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        topic_filter, qos = subscription
        granted = self._delivery.subscriptions(session.client_id).get(topic_filter)
        if granted is not None:
            self._delivery.send_retained(session.client_id, topic_filter, min(qos, granted))

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """The outbox does this."""

    async def _keep(self, session: Session) -> bool:
        client_id = session.client_id
        if client_id not in self._kept:
            return True
        try:
            await self._log.keep_session(client_id, self._delivery.subscriptions(client_id))
        except LogError as error:
            logger.error("a subscription is not on disk", extra={"client_id": client_id, "reason": str(error)})  # noqa: TRY400
            return False
        return True
