"""Plays sessions against a gateway, several at a time, and watches that it stays well."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import uvloop

from gateway.broker import packets
from gateway.errors import ProtocolViolation
from tests.site.raw_client import CONNACK, PUBACK, UNSUBACK, RawClient, connect, packet, publish, string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.fuzz.sessions import Session

PARALLEL = 16
SESSION_TIMEOUT_S = 30.0
WITNESS_TIMEOUT_S = 10.0
_WITNESS_INTERVAL_S = 0.02
_REMEMBERED = 300
"""Sessions; what one of them did shows in the log before so many more have been begun."""
_LINGER_0 = struct.pack("ii", 1, 0)


class Client(asyncio.Protocol):
    """Plays one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._transport: asyncio.Transport | None = None
        self._over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, _: Exception | None) -> None:
        if not self._over.done():  # it is when the playing was given up
            self._over.set_result(None)

    async def play(self) -> None:
        assert self._transport is not None
        for write in self._session.writes:
            if not self._transport.is_closing():
                self._transport.write(write)
                await asyncio.sleep(0)
        if not self._transport.is_closing():
            self._leave(self._transport)
        await self._over

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _leave(self, transport: asyncio.Transport) -> None:
        if self._session.end == "eof":
            with suppress(OSError):  # it is closed from the other side at this moment
                transport.write_eof()
        elif self._session.end == "reset":
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            transport.abort()
        else:
            transport.close()


class Driver:
    """Plays sessions and remembers what they ask the gateway to keep: persistent sessions and retained messages.

    While it plays, a witness publishes at QoS 1 without end, and each message has to be acknowledged; after each one
    `check` is called, which raises if something is wrong.
    """

    def __init__(self, port: int, check: Callable[[], None]) -> None:
        self._port = port
        self._check = check
        self._persistent: set[str] = set()
        self.under_way: dict[int, Session] = {}
        """The last sessions that were begun, and all that are not over, by their number."""
        self.witnessed = 0

    def play(self, numbered: Iterable[tuple[int, Session]], parallel: int = PARALLEL) -> None:
        """Raises a group of errors if a session does not end or the witness is not served."""
        uvloop.run(self._play(iter(numbered), parallel))

    async def _play(self, numbered: Iterator[tuple[int, Session]], parallel: int) -> None:
        async with asyncio.TaskGroup() as group:
            witness = group.create_task(self._witness())
            await asyncio.wait([group.create_task(self._play_all(numbered)) for _ in range(parallel)])
            witness.cancel()
        self._check()

    async def _play_all(self, numbered: Iterator[tuple[int, Session]]) -> None:
        loop = asyncio.get_running_loop()
        for number, session in numbered:
            self.under_way[number] = session
            _, client = await loop.create_connection(lambda s=session: Client(s), "127.0.0.1", self._port)
            try:
                async with asyncio.timeout(SESSION_TIMEOUT_S):
                    await client.play()
            finally:
                client.end()
            self._persistent.update(_persistent_id(b"".join(session.writes)))  # who leaves at once may be let in too
            self.under_way.pop(number - _REMEMBERED, None)

    async def _witness(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(connect("witness"))
            await self._answer(reader, CONNACK)
            while True:
                writer.write(publish("witness", b"all is well", 1, 1))
                await self._answer(reader, PUBACK)
                self.witnessed += 1
                self._check()
                await asyncio.sleep(_WITNESS_INTERVAL_S)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, kind: int) -> None:
        async with asyncio.timeout(WITNESS_TIMEOUT_S):
            answer = await reader.readexactly(4)
        assert answer[0] >> 4 == kind, answer

    def tidy(self) -> None:
        """End the persistent sessions and clear the retained messages that were asked for."""
        for client_id in self._persistent:
            with RawClient(self._port) as client:
                client.send(packet(0x10, string("MQTT") + b"\4\2\0\0" + string(client_id)))
                client.read()
                client.disconnect()
        self._persistent.clear()
        with RawClient(self._port) as client:
            client.join("tidy").publish("tidy", b"")  # what was taken in before it is stored when it is acknowledged
            client.subscribe(("#", 0))
            client.send(packet(0xA2, b"\0\x08" + string("#")))
            topics = set()
            while (got := client.read()) is not None and got.kind != UNSUBACK:
                topics.add(got.body[2 : 2 + int.from_bytes(got.body[:2])])
            for topic in topics:
                client.send(packet(0x33, string(topic) + b"\0\1"))
                client.expect(PUBACK)


def _persistent_id(stream: bytes) -> list[str]:
    """The client id of a CONNECT that begins `stream`, if it can be read and wants a session that stays."""
    with suppress(ProtocolViolation):
        header = packets.read_header(stream, 0, len(stream))
        if header is not None and header.kind == packets.CONNECT and header.end <= len(stream):
            connect = packets.read_connect(stream[header.start : header.end])
            return [] if connect.clean_session or not connect.client_id else [connect.client_id]
    return []
