"""What the gateway told devices and its upstream, and what it was told, by position: read off the wire in the trace.

Nothing here comes from the gateway's own files, nor from the clock or the memory of the test.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

import mqtt5

from tests.powercut.trace import Kind
from tests.site.raw_client import PUBACK, PUBLISH, PUBREC

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.powercut.trace import Record


class Message(NamedTuple):
    """What an event is known by: the load gives every event a payload of its own."""

    topic: str
    payload: bytes


class Acknowledged(NamedTuple):
    """A PUBACK or PUBREC that went out to a device."""

    position: int
    message: Message


class Forwarded(NamedTuple):
    """A PUBLISH that went out to the upstream."""

    position: int
    seq: int
    message: Message
    log_id: str


class Taken(NamedTuple):
    """A PUBACK that came from the upstream."""

    position: int
    seq: int


class Ledger:
    """The wire of a trace; each list is in order of position, the index of the record that completed the packet."""

    def __init__(
        self, records: Sequence[Record], device_port: int, upstream_port: int, cursor_at_start: int = 0
    ) -> None:
        self.cursor_at_start = cursor_at_start
        self.acknowledged: list[Acknowledged] = []
        self.forwarded: list[Forwarded] = []
        self.taken: list[Taken] = []
        self.exactly_once: set[Message] = set()
        """What devices published at QoS 2."""
        self.retained: dict[str, list[bytes]] = {}
        """What devices published to be retained: payloads by topic, in order, some perhaps twice."""
        self._of_packet: dict[tuple[int, int], Message] = {}
        self._seq_of_packet: dict[tuple[int, int], int] = {}
        streams: dict[tuple[Kind, int, int], bytearray] = {}
        for position, record in enumerate(records):
            if record.kind not in (Kind.SENT, Kind.RECEIVED):
                continue
            stream = streams.setdefault((record.kind, record.local_port, record.peer_port), bytearray())
            stream += record.data
            from_device = record.kind is Kind.RECEIVED
            for packet in _packets(stream):
                if record.local_port == device_port:
                    self._of_device(position, record.peer_port, packet, from_device=from_device)
                elif record.peer_port == upstream_port:
                    self._of_upstream(position, record.local_port, packet)

    def acknowledged_before(self, position: int) -> Sequence[Acknowledged]:
        return self.acknowledged[: bisect_left(self.acknowledged, (position,))]

    def forwarded_before(self, position: int) -> Sequence[Forwarded]:
        return self.forwarded[: bisect_left(self.forwarded, (position,))]

    def taken_before(self, position: int) -> Sequence[Taken]:
        return self.taken[: bisect_left(self.taken, (position,))]

    def _of_device(self, position: int, connection: int, packet: bytes, *, from_device: bool) -> None:
        kind, body = packet[0] >> 4, _body(packet)
        if from_device and kind == PUBLISH and packet[0] >> 1 & 3:
            end = 2 + int.from_bytes(body[:2])
            message = Message(body[2:end].decode(), bytes(body[end + 2 :]))
            self._of_packet[connection, int.from_bytes(body[end : end + 2])] = message
            if packet[0] >> 1 & 3 == 2:
                self.exactly_once.add(message)
            if packet[0] & 1:
                self.retained.setdefault(message.topic, []).append(message.payload)
        elif not from_device and kind in {PUBACK, PUBREC}:
            message = self._of_packet.pop((connection, int.from_bytes(body)))
            self.acknowledged.append(Acknowledged(position, message))

    def _of_upstream(self, position: int, connection: int, packet: bytes) -> None:
        if packet[0] >> 4 == PUBLISH:
            publish, _ = mqtt5.read(memoryview(packet))
            assert isinstance(publish, mqtt5.PublishPacket)
            log_id, seq = dict(publish.user_properties)["id"].split(".")
            message = Message(publish.topic, bytes(publish.payload or b""))
            self._seq_of_packet[connection, publish.packet_id or 0] = int(seq)
            self.forwarded.append(Forwarded(position, int(seq), message, log_id))
        elif packet[0] >> 4 == PUBACK:
            packet_id = int.from_bytes(_body(packet)[:2])
            self.taken.append(Taken(position, self._seq_of_packet[connection, packet_id]))


def _packets(stream: bytearray) -> Iterator[bytes]:
    """Take whole MQTT packets off the front of a stream."""
    at = 0
    while (end := _end(stream, at)) is not None and end <= len(stream):
        yield bytes(stream[at:end])
        at = end
    del stream[:at]


def _end(stream: bytearray | bytes, at: int) -> int | None:
    length = shift = 0
    for index in range(at + 1, min(at + 5, len(stream))):
        length |= (stream[index] & 0x7F) << shift
        shift += 7
        if stream[index] < 0x80:
            return index + 1 + length
    return None


def _body(packet: bytes) -> bytes:
    at = 1
    while packet[at] & 0x80:
        at += 1
    return packet[at + 1 :]
