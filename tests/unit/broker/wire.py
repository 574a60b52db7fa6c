"""MQTT 3.1.1 bytes as a device makes and reads them, written down apart from the code under test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from tests.site.raw_client import (
    CONNACK,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
    Packet,
    connect_body,
    packet,
    string,
)
from tests.site.raw_client import acknowledge as ack

if TYPE_CHECKING:
    import socket

PINGREQ_PACKET, DISCONNECT_PACKET = b"\xc0\x00", b"\xe0\x00"
TIMEOUT_S = 10

__all__ = [
    "CONNACK",
    "DISCONNECT_PACKET",
    "PINGREQ_PACKET",
    "PINGRESP",
    "PUBACK",
    "PUBCOMP",
    "PUBLISH",
    "PUBREC",
    "PUBREL",
    "SUBACK",
    "TIMEOUT_S",
    "UNSUBACK",
    "Delivered",
    "Device",
    "Packet",
    "ack",
    "connect",
    "connect_body",
    "delivered",
    "packet",
    "publish",
    "split",
    "string",
    "subscribe",
    "unsubscribe",
]


def connect(client_id: str = "dev", **options: object) -> bytes:
    return packet(0x10, connect_body(client_id, **options))  # type: ignore[arg-type]


def publish(topic: str, payload: bytes = b"", qos: int = 0, packet_id: int = 0, flags: int = 0) -> bytes:
    identifier = packet_id.to_bytes(2) if qos else b""
    return packet(0x30 | qos << 1 | flags, string(topic) + identifier + payload)


def subscribe(packet_id: int, *filters: tuple[str, int]) -> bytes:
    return packet(0x82, packet_id.to_bytes(2) + b"".join(string(name) + bytes([qos]) for name, qos in filters))


def unsubscribe(packet_id: int, *filters: str) -> bytes:
    return packet(0xA2, packet_id.to_bytes(2) + b"".join(string(name) for name in filters))


class Delivered(NamedTuple):
    """A PUBLISH from the broker, taken apart."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    retain: bool
    duplicate: bool


def delivered(taken: Packet) -> Delivered:
    assert taken.kind == PUBLISH, taken
    qos = taken.flags >> 1 & 3
    end = 2 + int.from_bytes(taken.body[:2])
    start = end + 2 if qos else end
    packet_id = int.from_bytes(taken.body[end:start])
    topic = taken.body[2:end].decode()
    return Delivered(topic, taken.body[start:], qos, packet_id, bool(taken.flags & 1), bool(taken.flags & 8))


def split(stream: bytes) -> list[Packet]:
    """Every packet in bytes that end with a whole one."""
    found, at = [], 0
    while at < len(stream):
        length, shift, position = 0, 0, at + 1
        while True:
            byte = stream[position]
            length |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                break
        found.append(Packet(stream[at] >> 4, stream[at] & 15, stream[position : position + length]))
        at = position + length
    assert at == len(stream)
    return found


class Device:
    """A raw client: it sends exactly the bytes it is told to, and waits for packets with a limit."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def dial(cls, port: int) -> Device:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @classmethod
    async def on(cls, connected: socket.socket) -> Device:
        return cls(*await asyncio.open_connection(sock=connected))

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def next(self) -> Packet:
        async with asyncio.timeout(TIMEOUT_S):
            first = (await self.reader.readexactly(1))[0]
            length = shift = 0
            while True:
                byte = (await self.reader.readexactly(1))[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            return Packet(first >> 4, first & 15, await self.reader.readexactly(length))

    async def delivery(self) -> Delivered:
        return delivered(await self.next())

    async def ping(self) -> None:
        """Everything sent before is handled, and nothing was answered that has not been read."""
        self.send(PINGREQ_PACKET)
        assert (await self.next()).kind == PINGRESP

    async def subscribe(self, *filters: tuple[str, int], packet_id: int = 1) -> bytes:
        """Returns the return codes."""
        self.send(subscribe(packet_id, *filters))
        taken = await self.next()
        assert (taken.kind, taken.packet_id) == (SUBACK, packet_id)
        return taken.body[2:]

    async def rest(self) -> bytes:
        """What comes until the broker closes the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        """End the connection without DISCONNECT."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return

    def abort(self) -> None:
        self.writer.transport.abort()
