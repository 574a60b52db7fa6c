"""A scripted MQTT server on a real socket: just enough of the protocol to answer a publisher in every wrong way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import mqtt5

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CONNACK_5 = mqtt5.ConnAckPacket().write()
CONNACK_311 = b"\x20\x02\x00\x00"
HANG_UP = b""
"""An answer: close the connection."""


class Publish(NamedTuple):
    """A PUBLISH as the server saw it."""

    packet_id: int
    topic: str
    payload: bytes
    retain: bool
    properties: dict[str, str]


def puback(packet_id: int, code: int = 0, reason: str = "") -> bytes:
    """A PUBACK of MQTT 5 with any code, also one that no codec would write."""
    body = packet_id.to_bytes(2, "big")
    if code or reason:
        text = b"\x1f" + len(reason.encode()).to_bytes(2, "big") + reason.encode() if reason else b""
        body += bytes((code, len(text))) + text
    return bytes((0x40, len(body))) + body


def disconnect(code: int) -> bytes:
    return bytes((0xE0, 1, code))


class ScriptedServer:
    """`welcome` answers CONNECT; `answer` is asked what to say to each PUBLISH, None says nothing."""

    def __init__(self, version: str = "5") -> None:
        self.version = version
        self.welcome: bytes | None = CONNACK_5 if version == "5" else CONNACK_311
        self.answer: Callable[[Publish], bytes | None] = lambda publish: puback(publish.packet_id)
        self.answer_pings = True
        self.connects: list[bytes] = []
        self.publishes: list[Publish] = []
        self.first_bytes: list[int] = []
        self.heard = asyncio.Condition()
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedServer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await server.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.heard:
            await self.heard.wait_for(condition)

    def say(self, data: bytes) -> None:
        self._writers[-1].write(data)

    def hang_up(self) -> None:
        self._writers[-1].transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        await self.talk(reader, writer)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The script of one connection; a test may put its own in its place."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first_byte, body = await _read_packet(reader)
                self.first_bytes.append(first_byte)
                answer = self._respond(first_byte, body)
                if answer:
                    writer.write(answer)
                async with self.heard:
                    self.heard.notify_all()
                if answer == HANG_UP:
                    break
        writer.close()

    def _respond(self, first_byte: int, body: bytes) -> bytes | None:
        kind = first_byte & 0xF0
        if kind == 0x10:
            self.connects.append(body)
            return self.welcome
        if kind == 0x30:
            publish = self._parse(first_byte, body)
            self.publishes.append(publish)
            return self.answer(publish)
        if kind == 0xC0 and self.answer_pings:
            return b"\xd0\x00"
        return None

    def _parse(self, first_byte: int, body: bytes) -> Publish:
        if self.version == "5":
            packet, _ = mqtt5.read(memoryview(bytes((first_byte,)) + _length(len(body)) + body))
            return Publish(packet.packet_id, packet.topic, packet.payload, packet.retain, dict(packet.user_properties))
        end = 2 + int.from_bytes(body[:2], "big")
        packet_id = int.from_bytes(body[end : end + 2], "big")
        return Publish(packet_id, body[2:end].decode(), body[end + 2 :], bool(first_byte & 1), {})


async def _read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first_byte = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return first_byte, await reader.readexactly(length)


def _length(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
