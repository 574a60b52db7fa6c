"""Fakes for the two ports of a `Connection`: a socket in memory, and an owner that lets everybody in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.broker.connection import Connection
from gateway.broker.reading import ReadBuffer
from gateway.broker.rights import Rights

if TYPE_CHECKING:
    from gateway.broker.config import BrokerConfig
    from gateway.broker.outbox import Outbox
    from gateway.broker.packets import Connect
    from gateway.ingest.ingest import Ingest


class MemorySocket(asyncio.Transport):
    """What is written is kept, what would be read or not is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = True
        self.owed = 0
        self.ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 40_000) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.owed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True


class OpenDoor:
    """Fulfils `gateway.broker.owner.Owner`: admits every client, at once or when the test says so."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.connects: list[Connect] = []
        self.controls: list[bytes] = []
        self.outboxes: dict[str, Outbox] = {}
        self.gone: list[Connection] = []
        self.over_limits: list[str] = []

    def arrived(self, connection: Connection) -> None:
        pass

    def over_limit(self, limit: str) -> None:
        self.over_limits.append(limit)

    def connecting(self, connection: Connection, connect: Connect) -> None:
        self.connects.append(connect)
        if self.at_once:
            self.admit(connection)

    def admit(self, connection: Connection) -> None:
        connection.admit(self.connects[-1], self.connects[-1].client_id)

    def control(self, connection: Connection, packet: bytes) -> None:
        self.controls.append(packet)

    def outbox(self, client_id: str) -> Outbox | None:
        return self.outboxes.get(client_id)

    def closed(self, connection: Connection) -> None:
        self.gone.append(connection)


class Now:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def plug(owner: OpenDoor, ingest: Ingest, config: BrokerConfig, now: Now | None = None) -> tuple[Any, MemorySocket]:
    """A connection whose socket is in memory."""
    read_buffer = ReadBuffer(ingest, config.unfinished_bytes_max)
    connection = Connection(owner, ingest, Rights(), config, now or Now(), read_buffer)
    socket = MemorySocket()
    connection.connection_made(socket)
    return connection, socket
