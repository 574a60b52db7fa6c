"""A broker that is there already, as the source of events: subscribes, takes in, and acknowledges after the commit.

It promises that a message is acknowledged to the broker only when its event is on disk, that what the broker sends
again and marks as a repeat is not stored twice, also across a restart, and that it reconnects for ever. While the log
takes nothing it reads nothing, so that the broker keeps the rest. It does not promise what the broker does before: the
acknowledgement a device gets is the broker's.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway import backoff, client_tls
from gateway.client_tls import ClientTls
from gateway.errors import Blocked, Busy, ConfigError, DeliveryError, LogError
from gateway.event import LOCAL
from gateway.external.client import Connection, context_of, properties_of, receipt_of
from gateway.external.device import by_topic
from gateway.external.session import KeptSession
from gateway.external.status import SourceStatus
from gateway.secret import read_secret
from gateway.topics import is_valid_topic

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from paho.mqtt.client import MQTTMessage

    from gateway.certificates import Certificate
    from gateway.clock import Clock
    from gateway.eventlog.log import EventLog
    from gateway.external.config import ExternalBrokerConfig
    from gateway.external.status import State
    from gateway.ingest.ingest import Ingest

_SETTLE_TIMEOUT_S = 1.0
"""At the stop, for what was read to reach the disk and be acknowledged."""
_SECTION = "broker"
_STATES: dict[type[Exception], State] = {Busy: "busy", Blocked: "blocked"}

logger = logging.getLogger(__name__)


class ExternalBroker:
    """The source. `run` it in the TaskGroup, `close` it.

    Args:
        config: its section.
        log: keeps events, and what is known of our session.
        ingest: takes messages in.
        clock: its monotonic time stamps state changes.
        gateway_id: names our session, if the configuration does not.
        randomness: numbers from 0 to 1, for the jitter of waits.
    """

    def __init__(
        self,
        config: ExternalBrokerConfig,
        log: EventLog,
        ingest: Ingest,
        clock: Clock,
        gateway_id: str,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._log = log
        self._ingest = ingest
        self._clock = clock
        self._randomness = randomness
        client_id = config.client_id or f"{gateway_id}-source"
        host, port, has_tls = config.address
        self._kept = KeptSession(log, f"{client_id}@{host}:{port}")
        self._tls = ClientTls(config, _SECTION, host) if has_tls else None
        self._device_of = by_topic(config.device_patterns)
        self._status = SourceStatus(config.url, client_id, list(config.topics), since_mono_ns=clock.mono_ns())
        self._connection: Connection | None = None
        self._loaded = self._opened = self._stopping = False
        self._failures = 0

    @property
    def certificates(self) -> list[Certificate]:
        """The certificates of the last connection, the broker's among them; none without TLS."""
        return [] if self._tls is None else self._tls.certificates

    def status(self) -> SourceStatus:
        """A look at it."""
        self._status.held_up = self._connection is not None and self._connection.paused
        return self._status

    # --- life ---

    async def run(self) -> None:
        """Take events from the broker until it is closed or cancelled, whatever happens to the broker."""
        while not self._stopping:  # not only until cancelled: a library may swallow that
            try:
                await self._serve()
            except (DeliveryError, LogError) as error:
                if self._is_over():
                    return
                self._failures = 1 if self._has_lasted() else self._failures + 1
                self._enter(_STATES.get(type(error), "unreachable"), str(error))
                await asyncio.sleep(self._wait_s(error))

    async def close(self) -> None:
        """Read no more, acknowledge what is on disk within a second, and leave; the broker keeps our session.

        Idempotent.
        """
        if self._stopping:
            return
        self._stopping = True
        connection = self._connection
        if connection is not None:
            connection.pause()
            with suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE_TIMEOUT_S):
                    await self._log.intake.settled()
            await connection.close()
        self._enter("stopped", "")

    def _is_over(self) -> bool:
        return self._stopping

    async def _serve(self) -> None:
        """One connection, from its beginning to its end.

        Raises:
            DeliveryError: the end of it.
            LogError: the disk refuses to tell, or to keep, what our session is.
        """
        if not self._loaded:
            await self._kept.load()
            self._loaded = True
        connection = self._connection = await self._prepare()
        try:
            await connection.open()
            await self._subscribe(connection)
            end = await self._until_closed(connection)
        finally:
            self._ingest.forget(connection)
            connection.drop()
        if not self._stopping:
            raise end

    async def _until_closed(self, connection: Connection) -> DeliveryError:
        proving = asyncio.create_task(self._forget_what_is_proved(connection), name="source")
        try:
            return await connection.wait_closed()
        finally:
            proving.cancel()
            await asyncio.wait((proving,))

    async def _forget_what_is_proved(self, connection: Connection) -> None:
        with suppress(DeliveryError):  # `wait_closed` tells
            while True:
                self._kept.prove(await connection.prove())

    async def _prepare(self) -> Connection:
        """Read password and trust, anew for each connection, so that a file can be replaced while we run."""
        try:
            password, context = await asyncio.to_thread(self._read_files)
        except ConfigError as error:
            raise client_tls.unusable(error) from error
        except OSError as error:
            raise Blocked(f"cannot read password_file: {error}") from error
        return Connection(self._config, self._status.client_id, password, context, self)

    def _read_files(self) -> tuple[str | None, ssl.SSLContext | None]:
        file, tls = self._config.password_file, self._tls
        try:
            password = None if file is None else read_secret(file).decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"broker.password_file: {file} is not text in UTF-8") from error
        return password, None if tls is None else context_of(tls)

    async def _subscribe(self, connection: Connection) -> None:
        wanted = self._config.topics
        new, gone = self._kept.changes(wanted)
        await connection.leave_out(gone)
        granted = await connection.subscribe_to(new)
        if len(granted.refused) == len(wanted):
            raise Blocked(f"the broker refuses every subscription: {_named(granted.refused)}")
        await self._kept.keep([each for each in wanted if each not in granted.refused])
        trouble = [f"the broker refuses subscriptions: {_named(granted.refused)}"] if granted.refused else []
        if granted.weak:
            trouble.append(f"the broker sends without waiting for us (QoS 0): {', '.join(granted.weak)}")
        self._enter("connected", "; ".join(trouble))

    # --- what connections tell ---

    def welcomed(self, connection: Connection, *, session_present: bool) -> None:
        """The broker has us. Without our session there, whatever waited in it is gone."""
        del connection
        if self._opened:
            self._status.reconnects += 1
        self._opened = True
        if not session_present and self._kept.lost():
            self._status.sessions_lost += 1
            logger.warning("the external broker does not know our session any more: what waited in it is lost")

    def take(self, connection: Connection, message: MQTTMessage) -> None:
        """A message becomes an event, unless it is a repeat of one."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        payload, seq = bytes(message.payload), None
        if not is_valid_topic(topic):
            self._status.invalid += 1
            seq = 0
        elif message.qos and message.dup:
            seq = self._kept.find(message.mid, topic, payload)
            self._status.repeats += seq is not None
        if seq is None:
            seq = self._store(message, topic, payload)
        if message.qos:
            self._ingest.ask_receipt(connection, receipt_of(message.mid, seq))
        if self._ingest.congested:
            connection.pause()
            self._ingest.wait_for_room(connection)

    def _store(self, message: MQTTMessage, topic: str, payload: bytes) -> int:
        self._status.messages += 1
        received_ns, mono_ns = self._ingest.now()
        device, properties = self._device_of(topic), properties_of(message)
        seq = self._ingest.append(
            received_ns, mono_ns, device, topic, message.qos, message.retain, payload, LOCAL, properties
        )
        if message.qos and seq:  # without a number its contract has it rejected: it is, if it comes again
            self._kept.mark(message.mid, seq, topic, payload)
        return seq

    # --- between connections ---

    def _has_lasted(self) -> bool:
        """Whether the connection was no mere attempt: two gateways under one client id push each other out for ever."""
        connected_s = (self._clock.mono_ns() - self._status.since_mono_ns) / 1e9
        return self._status.state == "connected" and connected_s > self._config.backoff_max_s

    def _wait_s(self, error: Exception) -> float:
        config = self._config
        if isinstance(error, Blocked):
            return config.blocked_retry_s
        if isinstance(error, Busy) and error.wait_s is not None:
            return error.wait_s
        return backoff.wait_s(
            self._failures,
            initial_s=config.backoff_initial_s,
            max_s=config.backoff_max_s,
            randomness=self._randomness(),
        )

    def _enter(self, state: State, reason: str) -> None:
        status = self._status
        if (state, reason) == (status.state, status.reason):
            return
        if state != status.state:
            status.state, status.since_mono_ns = state, self._clock.mono_ns()
        status.reason = reason
        fields = {"url": status.url, "state": state, "reason": reason}
        if reason:
            logger.warning("not all is well with the external broker", extra=fields)
        else:
            logger.info("the external broker has us" if state == "connected" else "we left the broker", extra=fields)


def _named(refused: Mapping[str, str]) -> str:
    return ", ".join(f"{topic_filter} ({why})" for topic_filter, why in refused.items())
