"""The broker: listens, admits clients, and joins connections, sessions, deliveries and ingest.

A client changes nothing before it is admitted: its CONNECT is read and its login checked while its socket is held,
then an older connection of the same client id is closed, and only then does the session engine hear of it. A will is
published through ingest like any other message.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.broker import packets
from gateway.broker.admission import Admission
from gateway.broker.connection import Connection
from gateway.broker.delivery import Delivery
from gateway.broker.descriptors import make_room
from gateway.broker.handshake import Handshakes, TlsServer
from gateway.broker.limits import House
from gateway.broker.listening import BACKLOG, listen
from gateway.broker.queues import Queues
from gateway.broker.reading import BufferedReader, ReadBuffer
from gateway.broker.registry import Registry
from gateway.broker.rights import Rights
from gateway.broker.sessions import Sessions
from gateway.broker.status import BrokerStatus
from gateway.broker.websocket import WebSocketServer
from gateway.errors import LogError, TooManySessions

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine

    from gateway.broker.config import BrokerConfig, Listen
    from gateway.broker.outbox import Outbox
    from gateway.broker.packets import Connect, Will
    from gateway.broker.rights import Identity
    from gateway.eventlog.log import EventLog
    from gateway.health.keptsockets import KeptSockets
    from gateway.ingest.ingest import Ingest

_SWEEP_INTERVAL_S = 1.0
_CLOSE_TIMEOUT_S = 2.0
_KEEP_ALIVE_FACTOR = 1.5
"""MQTT 3.1.1 section 3.1.2.10."""

logger = logging.getLogger(__name__)
security = logging.getLogger("gateway.security")


class Broker:
    """The embedded broker. `open` it, `run` it in the TaskGroup, `close` it."""

    def __init__(self, config: BrokerConfig, log: EventLog, ingest: Ingest, rights: Rights | None = None) -> None:
        """Build its parts; without `rights`, those of an empty configuration."""
        self._config = config
        self._ingest = ingest
        self._rights = rights or Rights(is_local=config.is_local())
        self._read_buffer = ReadBuffer(ingest, max(config.unfinished_bytes_max, config.packet_bytes_max + 5))
        self._delivery = Delivery(config, log.retained)
        self._queues = Queues(log, self._delivery)
        self._sessions = Sessions(log, self._delivery, self._queues, config)
        self.registry = Registry(config.users, log.devices, config.devices_max)
        """Who may log in."""
        self.registry.on_change, self.registry.connected = self._expel, self._connected
        self._admission = Admission(config, self.registry, self._rights, self._owner, time.monotonic)
        self._house = House(config.connections_max, config.connections_per_address_max)
        self._over_limits: Counter[str] = Counter()
        self._connections: set[Connection] = set()
        self._clients: dict[str, Connection] = {}
        self._serving: dict[Connection, asyncio.Task[None]] = {}
        self._servers: list[asyncio.Server] = []
        self.handshakes = Handshakes(config, time.monotonic, self._house)
        """TLS of the listeners that have it."""
        self.addresses: list[Listen] = []
        """Where it listens; a port 0 in the configuration is replaced by the port the system chose."""
        self._stopping = False
        self._accepted = self._violations = 0
        self._wills_dropped = self._wills_bytes = 0

    # --- life ---

    async def open(self, kept: KeptSockets | None = None) -> None:
        """Start the session engine and listen, on sockets that were `kept` where there are any.

        Raises:
            ConfigError: an address cannot be listened on, or a kept socket is none of them.
        """
        make_room(self._config.connections_max)
        await self._sessions.open()
        self._ingest.on_committed(self._delivery.deliver)
        for address, listening in await listen(self._config.addresses(), kept):
            self._servers.append(await self._listen(address, listening))

    async def run(self) -> None:
        """Close connections that are silent for too long, until cancelled."""
        turned_away = 0
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL_S)
            self._sweep(time.monotonic())
            for client_id in await self._sessions.tend(time.monotonic(), self._clients):
                self._ingest.discard(client_id)
            if self._house.turned_away > turned_away:
                turned_away = self._house.turned_away
                logger.warning("connections beyond connections_max are closed", extra={"since_start": turned_away})

    async def close(self) -> None:
        """Stop listening and close every connection; no will is published, because the devices did not disappear.

        Idempotent.
        """
        if self._stopping:
            return
        self._stopping = True
        for server in self._servers:
            server.close()
        self.handshakes.close()
        for connection in list(self._connections):
            connection.close("the gateway stops")
        if self._serving:
            await asyncio.wait(self._serving.values(), timeout=_CLOSE_TIMEOUT_S)
        for connection in list(self._connections):
            connection.abort("the gateway stops")
        for task in list(self._serving.values()):
            task.cancel()
        self._admission.login.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._sessions.close()

    def status(self) -> BrokerStatus:
        """A look at the broker."""
        drops = self._delivery.allowance
        refused = self._rights.refusals
        return BrokerStatus(
            [str(address) for address in self.addresses],
            len(self._connections),
            len(self._clients),
            self._accepted,
            self._house.turned_away,
            self._admission.refused_logins,
            self._violations,
            self._read_buffer.closed,
            self._ingest.waiting,
            len(self._queues),
            self._sessions.refused,
            self._sessions.expired,
            self._wills_dropped,
            drops.dropped,
            drops.unread,
            drops.overflowed,
            drops.disconnected,
            refused.counts["publish"] + refused.counts["will"],
            refused.counts["subscribe"],
            refused.counts["connect"],
            [each._asdict() for each in refused.newest()],
            self.handshakes.status(),
            self._admission.login.pending,
            self._admission.logins,
            self._count_over_limits(),
        )

    def _count_over_limits(self) -> dict[str, int]:
        login = self._admission.login
        return {
            "connections_max": self._house.made_room,
            "connections_per_address_max": self._house.over_address,
            "login_failures_per_minute_max": login.throttled,
            "logins_pending_max": login.crowded_out,
            "subscriptions_per_client_max": self._delivery.surplus_filters,
            **self._over_limits,
        }

    # --- what connections tell ---

    def arrived(self, connection: Connection) -> None:
        """A socket is open: it may stay, or is one too many."""
        if why := self._house.enter(connection, connection.peer[0]):
            connection.abort(why)
            return
        self._accepted += 1
        self._connections.add(connection)

    def over_limit(self, limit: str) -> None:
        """A client is slowed or closed, because it is over this limit."""
        self._over_limits[limit] += 1

    def connecting(self, connection: Connection, connect: Connect) -> None:
        """A CONNECT came: admit the client, or turn it away."""
        if (connect.protocol, connect.level) != ("MQTT", 4):
            connection.send(packets.write_connack(packets.BAD_PROTOCOL_LEVEL))
            connection.close(f"protocol {connect.protocol!r} level {connect.level}; this broker speaks MQTT 3.1.1")
            return
        if not connect.client_id and not connect.clean_session:
            connection.send(packets.write_connack(packets.BAD_CLIENT_ID))
            connection.close("no client identifier and no clean session")
            return
        client_id = connect.client_id or f"auto-{secrets.token_hex(8)}"
        self._serve(connection, client_id, self._begin(connection, connect, client_id))

    def control(self, connection: Connection, packet: bytes) -> None:
        """A packet for the session engine came."""
        self._serve(connection, connection.client_id, self._ask(connection, packet))

    def outbox(self, client_id: str) -> Outbox | None:
        """Deliveries of a client, if it ever subscribed."""
        return self._delivery.known_outbox(client_id)

    def closed(self, connection: Connection) -> None:
        """A connection is gone: its will is published, and with a clean session all that was kept for it goes."""
        self._connections.discard(connection)
        self._house.leave(connection)
        if connection.violation:
            self._violations += 1
            security.warning(
                "a client broke the protocol; its connection is closed",
                extra={
                    "event": "violation",
                    "source": connection.peer[0],
                    "user": connection.rights.identity.username,
                    "client_id": connection.client_id,
                    "reason": connection.violation,
                },
            )
        self._release(connection)
        connect, client_id = connection.connect, connection.client_id
        if connect is None:
            return
        self._delivery.detach(client_id)
        if connect.clean_session:
            self._delivery.forget(client_id)
            self._ingest.discard(client_id)
        will = connect.will
        if will is not None and not connection.left_cleanly and not self._stopping:
            self._publish(client_id, will)

    def _publish(self, client_id: str, will: Will) -> None:
        """Take a will in; if the log is full, only as far as wills have room beside it."""
        if not self._ingest.congested:
            self._wills_bytes = 0
        elif self._wills_bytes > self._config.wills_bytes_max:
            self._wills_dropped += 1
            self._ingest.refuse(will.qos)
            logger.warning("a will is dropped, because the log is full", extra={"client_id": client_id})
            return
        self._wills_bytes += len(will.payload) + len(will.topic)
        self._ingest.accept(client_id, will.topic, will.qos, will.payload, retain=will.retain)

    # --- admitting ---

    def _connected(self) -> Counter[str]:
        """How many connections each user name has."""
        return Counter(each.rights.identity.username or "" for each in self._connections)

    def _expel(self, name: str) -> None:
        """The login of this name has changed: whoever is connected by it has to log in again."""
        self._admission.login.forget(name)
        for connection in list(self._connections):
            if connection.rights.identity.username == name:
                connection.close("its login has changed")

    def _serve(self, connection: Connection, client_id: str, work: Coroutine[None, None, None]) -> None:
        supervised = self._supervise(connection, client_id, work)
        task = self._serving[connection] = asyncio.get_running_loop().create_task(supervised)
        task.add_done_callback(lambda _: self._served(connection, task))

    def _served(self, connection: Connection, task: asyncio.Task[None]) -> None:
        if self._serving.get(connection) is task:
            del self._serving[connection]
            self._release(connection)

    def _release(self, connection: Connection) -> None:
        """Free a client id once its socket is closed and the session engine has let go of it."""
        over = connection.is_closed and connection not in self._serving
        if over and self._clients.get(connection.client_id) is connection:
            del self._clients[connection.client_id]

    async def _supervise(self, connection: Connection, client_id: str, work: Coroutine[None, None, None]) -> None:
        """The one supervisor: whatever goes wrong in here ends one connection and nothing else."""
        try:
            await work
        except (LogError, TooManySessions) as error:
            connection.send(packets.write_connack(packets.UNAVAILABLE))
            connection.close(str(error))
        except Exception:
            logger.exception("a session failed; its connection is closed", extra={"client_id": client_id})
            connection.abort("an error in the gateway")

    async def _begin(self, connection: Connection, request: Connect, client_id: str) -> None:
        connect = await self._admit(connection, request, client_id)
        if connect is None:
            return
        if connect.clean_session:
            self._ingest.discard(client_id)
        owner = connection.rights.identity.username
        connack = await self._sessions.begin(client_id, clean_session=connect.clean_session, owner=owner)
        if connection.closing:
            return
        connection.send(connack)
        self._delivery.attach(client_id, connection, connection.rights)
        self._house.admit(connection)
        connection.admit(connect._replace(password=None), client_id)

    async def _ask(self, connection: Connection, packet: bytes) -> None:
        try:
            await self._sessions.ask(connection.client_id, packet, connection.send)
        finally:
            if connection.is_closed and connection.connect is not None and connection.connect.clean_session:
                self._delivery.forget(connection.client_id)  # once more: it subscribed with its last packet
        connection.answered()

    async def _admit(self, connection: Connection, connect: Connect, client_id: str) -> Connect | None:
        """Check the login and the rights; the CONNECT to go on with, None if the client is turned away."""
        admitted = await self._admission.examine(connection, connect, client_id)
        if admitted is None:
            return None
        await self._take_over(client_id, connection.peer[0])
        if connection.closing:
            return None
        self._clients[client_id] = connection
        connection.client_id = client_id
        return admitted

    def _owner(self, client_id: str) -> Identity | None:
        """Who has the session under a client identifier; None if nobody has, or whoever has it never proved a name."""
        older = self._clients.get(client_id)
        rights = older.rights if older is not None else self._delivery.rights(client_id)
        return self._queues.owner(client_id) if rights is None else rights.identity

    async def _take_over(self, client_id: str, source: str) -> None:
        """Close an older connection of the same client (section 3.1.4); the new one is from `source`."""
        while (older := self._clients.get(client_id)) is not None:
            if not older.closing:
                security.info(
                    "a newer connection takes over a client",
                    extra={
                        "event": "takeover",
                        "source": source,
                        "user": older.rights.identity.username,
                        "client_id": client_id,
                        "reason": f"it was connected from {older.peer[0]}",
                    },
                )
            older.close("another connection with the same client identifier took over")
            serving = self._serving.get(older)
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await older.wait_closed()
            except TimeoutError:
                older.abort(older.reason)
                await older.wait_closed()
            if serving is not None:  # the session engine must have let go of the older one
                _, stuck = await asyncio.wait([serving], timeout=_CLOSE_TIMEOUT_S)
                for task in stuck:
                    task.cancel()

    # --- sockets ---

    async def _listen(self, address: Listen, listening: socket.socket) -> asyncio.Server:
        def accept() -> asyncio.BaseProtocol:
            return TlsServer(self.handshakes, make, self._read_buffer) if address.has_tls else make()

        def make() -> BufferedReader:
            connection = Connection(self, self._ingest, self._rights, self._config, time.monotonic, self._read_buffer)
            if address.is_websocket:
                return WebSocketServer(connection, self._config.packet_bytes_max + 5, self._read_buffer)
            return connection

        server = await asyncio.get_running_loop().create_server(accept, sock=listening, backlog=BACKLOG)
        told = address._replace(port=listening.getsockname()[1])
        if told not in self.addresses:
            self.addresses.append(told)
        return server

    def _sweep(self, now_s: float) -> None:
        self.handshakes.sweep()
        for connection in list(self._connections):
            silent_s = now_s - connection.heard_s
            if connection.closing:
                if silent_s > _CLOSE_TIMEOUT_S:  # it does not take what it is owed
                    connection.abort(connection.reason)
            elif connection.connect is None:
                if now_s - connection.began_s > self._config.connect_timeout_s:
                    connection.abort("not admitted in time")
            elif connection.is_held_up:
                # It may have spoken: we do not listen until the log has room. But a device that has given up and come
                # back must not leave a dead connection behind each time.
                if silent_s > self._patience_s(connection.connect) and connection.is_abandoned:
                    connection.abort("the client has gone while the log was full")
            elif 0 < connection.connect.keep_alive_s * _KEEP_ALIVE_FACTOR < silent_s:
                connection.abort("nothing heard for one and a half times its keep-alive")

    def _patience_s(self, connect: Connect) -> float:
        return connect.keep_alive_s * _KEEP_ALIVE_FACTOR or self._config.connect_timeout_s
