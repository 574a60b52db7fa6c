"""amqtt as the session engine; the only module that knows it.

amqtt 0.12.1 keeps sessions, answers CONNECT with CONNACK, and handles SUBSCRIBE and UNSUBSCRIBE. It never sees a
socket, a password, a will or a PUBLISH: those are dealt with in front of it (see docs/decisions/0001). Its
subscription table and its delivery are replaced by `Delivery`, which is bounded. `tests/unit/broker/test_sessions.py`
fails when amqtt changes what is relied on here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import amqtt.broker
from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.contexts import BrokerConfig as AmqttConfig
from amqtt.contexts import ListenerConfig, ListenerType
from amqtt.errors import AMQTTError, MQTTError, NoDataError

from gateway.broker import packets
from gateway.errors import LogError, TooManySessions

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Container

    from amqtt.mqtt.protocol.broker_handler import UnSubscription
    from amqtt.session import Session

    from gateway.broker.config import BrokerConfig
    from gateway.broker.delivery import Delivery
    from gateway.broker.queues import Queues
    from gateway.eventlog.log import EventLog

_LISTENER = "default"  # amqtt insists on one of this name
_SUBSCRIPTION_FAILED = 0x80
_TEND_INTERVAL_S = 60.0

logger = logging.getLogger(__name__)


class Exchange(ReaderAdapter, WriterAdapter):
    """One request of a client and its answer; amqtt takes it for a connection from CONNECT to its end."""

    def __init__(self, request: bytes, answers: int, send: Callable[[bytes], None]) -> None:
        """Say `request`, pass on the last of so many `answers` to `send`, and hang up."""
        self._bytes = bytearray(request)
        self._answers = answers
        self._send = send
        self._ended = asyncio.Event()

    async def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes; empty at the end."""
        if len(self._bytes) < n:
            await self._ended.wait()
            # amqtt begins to read a moment before it begins to wait for the end, and would miss it
            await asyncio.sleep(0)
        data = bytes(self._bytes[:n])
        del self._bytes[:n]
        return data

    def feed_eof(self) -> None:
        """Hang up."""
        self._ended.set()

    def write(self, data: bytes) -> None:
        """Take a packet of amqtt."""
        self._answers -= 1
        if not self._answers:
            self._send(data)
            self.feed_eof()

    async def drain(self) -> None:
        """Nothing to wait for: what amqtt sends is one answer to one packet."""

    def get_peer_info(self) -> tuple[str, int]:
        """Not told: amqtt would only log it."""
        return ("", 0)

    def get_ssl_info(self) -> ssl.SSLObject | None:
        """None: encryption ends in our listener."""
        return None

    async def close(self) -> None:
        """The connection is closed by its owner."""


class Sessions(amqtt.broker.Broker):
    """Sessions of admitted clients, persistent ones kept in `state.db`."""

    def __init__(self, log: EventLog, delivery: Delivery, queues: Queues, config: BrokerConfig) -> None:
        for noisy in ("amqtt", "transitions"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        listener = ListenerConfig(type=ListenerType.EXTERNAL)
        super().__init__(AmqttConfig(listeners={_LISTENER: listener}, plugins={}))
        self._log = log
        self._delivery = delivery
        self._queues = queues
        self._sessions_max, self._expiry_s = config.sessions_max, config.session_expiry_s
        self._tended_s = time.monotonic()
        self.refused = self.expired = 0
        """Sessions not begun because there were too many, and ended because their clients were away for too long."""

    async def open(self) -> None:
        """Start amqtt and bring back the persistent sessions of the last run, with most of what they are owed."""
        await self.start()
        self._queues.open()
        await self._queues.refill()

    async def close(self) -> None:
        """Stop amqtt; persistent sessions stay in `state.db`."""
        self._queues.close()
        await self.shutdown()

    async def begin(self, client_id: str, *, clean_session: bool, owner: str | None = None) -> bytes:
        """Begin a client's session for the user `owner`, or go on with it; returns the CONNACK.

        Raises:
            LogError: the disk did not take the change; the client must be turned away.
            TooManySessions: so must it if there are `sessions_max` already.
        """
        if clean_session:
            self._delivery.forget(client_id)
            if client_id in self._queues:
                await self._log.sessions.drop(client_id)
                self._queues.end(client_id)
            return packets.write_connack(packets.ACCEPTED)
        answer: list[bytes] = []
        await self._exchange(client_id, b"", 1, answer.append)
        if client_id not in self._queues:
            if len(self._queues) >= self._sessions_max:
                self.refused += 1
                raise TooManySessions(self._sessions_max)
            self._queues.begin(client_id, owner or "")
            try:
                await self._log.sessions.begin(client_id, owner or "")
            except LogError:
                self._queues.end(client_id)
                raise
        return b"".join(answer)

    async def tend(self, now_s: float, coming: Container[str]) -> list[str]:
        """End the sessions of clients that have been away for too long, but not of those that are `coming` back.

        Returns:
            Whose sessions have ended. It is cheap, and does something once a minute.

        Raises:
            Exception: whatever unexpected has ended the look through the log; a bug.
        """
        self._queues.check()
        passed_s = now_s - self._tended_s
        if passed_s < _TEND_INTERVAL_S:
            return []
        self._tended_s = now_s
        self._queues.age(passed_s)
        away = self._queues.away_for(self._expiry_s) if self._expiry_s else []
        expired = [client_id for client_id in away if client_id not in coming]
        self.expired += len(expired)
        for client_id in expired:
            self._delivery.forget(client_id)
            self._queues.end(client_id)
            logger.info("a session has expired", extra={"client_id": client_id})
        for client_id in expired:
            await self._drop(client_id)
        return expired

    async def _drop(self, client_id: str) -> None:
        if client_id in self._queues:  # it has begun anew meanwhile
            return
        try:
            await self._log.sessions.drop(client_id)
        except LogError as error:  # it is there again after a restart
            logger.error("an expired session is still on disk", extra={"reason": str(error)})  # noqa: TRY400

    async def ask(self, client_id: str, request: bytes, send: Callable[[bytes], None]) -> None:
        """Have a SUBSCRIBE or UNSUBSCRIBE of a client answered; `send` gets SUBACK or UNSUBACK.

        Retained messages that a new subscription matches are on their way when this returns.
        """
        await self._exchange(client_id, request, 2, send)

    async def _exchange(self, client_id: str, request: bytes, answers: int, send: Callable[[bytes], None]) -> None:
        """Engage amqtt for one request. Between requests it knows nothing of the client, which then costs nothing."""
        kept = client_id in self._queues
        if kept:
            handler, session = self.create_offline_session(client_id)
            self._sessions[client_id] = (session, handler)
        exchange = Exchange(packets.write_connect(client_id, clean_session=not kept) + request, answers, send)
        try:
            await self.external_connected(exchange, exchange, _LISTENER)
        except (AMQTTError, MQTTError, NoDataError) as error:
            logger.warning("a session ended with an error", extra={"client_id": client_id, "reason": str(error)})
        finally:
            exchange.feed_eof()
            self._sessions.pop(client_id, None)

    # --- what replaces parts of amqtt; the names are amqtt's ---

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        """The client was authenticated before amqtt heard of it."""
        return session.client_id is not None

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """Grant a subscription and keep it; a persistent session's is on disk before SUBACK."""
        topic_filter, qos = subscription
        client_id = session.client_id
        if not self._delivery.may_subscribe(client_id, topic_filter):
            return _SUBSCRIPTION_FAILED
        before = self._delivery.subscriptions(client_id).get(topic_filter)
        self._delivery.subscribe(client_id, topic_filter, qos, self._since(client_id, topic_filter))
        if await self._keep(session):
            return qos
        if before is None:
            self._delivery.unsubscribe(client_id, topic_filter)
        else:
            self._delivery.subscribe(client_id, topic_filter, before)
        return _SUBSCRIPTION_FAILED

    def _since(self, client_id: str, topic_filter: str) -> int | None:
        """The last event that a subscription made now does not get, not even from the log; None: nobody will ask."""
        if client_id not in self._queues:
            return None
        if self._delivery.subscriptions(client_id).get(topic_filter):
            return self._delivery.since(client_id).get(topic_filter, 0)
        return self._log.head

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
        """They outlive the exchange; `begin` and whoever sees a clean session end forget them."""

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
        if client_id not in self._queues:
            return True
        try:
            filters, since = self._delivery.subscriptions(client_id), self._delivery.since(client_id)
            await self._log.sessions.keep(client_id, filters, since)
        except LogError as error:
            logger.error("a subscription is not on disk", extra={"client_id": client_id, "reason": str(error)})  # noqa: TRY400
            return False
        return True
