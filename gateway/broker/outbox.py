"""What one local subscriber is still owed: sent and not acknowledged, or waiting.

Delivery follows MQTT 3.1.1 section 4.3: QoS 1 and 2 are sent again, with the DUP flag, when the client comes back to
its session. Everything is bounded: a window of messages in flight, a queue in events and bytes from which the oldest
goes when it is full, and a limit on what the socket owes, beyond which QoS 0 is dropped and all but one message of
QoS 1 and 2 wait: its acknowledgement tells that the client reads. What is dropped is counted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.broker import packets

if TYPE_CHECKING:
    from gateway.broker.config import BrokerConfig


class Wire(Protocol):
    """The subscriber's connection."""

    def send(self, data: bytes) -> None:
        """Write to the socket."""
        ...

    def owed_bytes(self) -> int:
        """Bytes written and not yet taken by the network."""
        ...


class Message(NamedTuple):
    """One delivery."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Outbox:
    """Deliveries to one client id; it outlives the connection if the session does."""

    def __init__(self, client_id: str, config: BrokerConfig) -> None:
        self.client_id = client_id
        self.dropped = 0
        """Deliveries given up because a limit was reached."""
        self._config = config
        self._wire: Wire | None = None
        self._frames: list[bytes] = []
        self._frames_bytes = 0
        self._queue: deque[Message] = deque()
        self._queue_bytes = 0
        self._inflight: dict[int, Message | None] = {}
        """By packet id, in the order sent; None when the client has received it and PUBREL is out (QoS 2)."""
        self._last_packet_id = 0

    @property
    def waiting(self) -> int:
        """Deliveries not yet acknowledged, in flight or queued."""
        return len(self._queue) + len(self._inflight)

    def attach(self, wire: Wire) -> None:
        """The client is here: send again what it has not acknowledged, then what waits."""
        self._wire = wire
        for packet_id, message in self._inflight.items():
            if message is None:
                self._put(packets.write_ack(packets.PUBREL, packet_id))
            else:
                self._put(_frame(message, packet_id, duplicate=True))
        self.flush()

    def detach(self) -> None:
        """The client has gone; QoS 0 is not kept for it (section 3.1.2.4)."""
        self._wire = None
        self._frames.clear()
        self._frames_bytes = 0

    def add(self, message: Message) -> None:
        """Deliver, now or later; `flush` writes what may go out now."""
        if message.qos == 0:
            if self._wire is None:
                return
            if self._owes_too_much(self._wire):
                self.dropped += 1
                return
            self._put(_frame(message, 0))
            return
        self._queue.append(message)
        self._queue_bytes += len(message.payload)
        while (
            len(self._queue) > self._config.subscriber_queue_events_max
            or self._queue_bytes > self._config.subscriber_queue_bytes_max
        ) and len(self._queue) > 1:
            if self._wire is not None and self._may_send(self._wire):
                self._fill_window(self._wire)
                continue
            self._queue_bytes -= len(self._queue.popleft().payload)
            self.dropped += 1

    def flush(self) -> None:
        """Write everything that may go out now, in one piece."""
        if self._wire is None:
            return
        self._fill_window(self._wire)
        self._write(self._wire)

    def acknowledged(self, *packet_ids: int) -> None:
        """PUBACK or PUBCOMP: the client has them. The window is filled once for all of them."""
        for packet_id in packet_ids:
            self._inflight.pop(packet_id, None)
        self.flush()

    def received(self, packet_id: int) -> None:
        """PUBREC: never send the message again; ask the client to release the id."""
        if packet_id in self._inflight:
            self._inflight[packet_id] = None
        self._put(packets.write_ack(packets.PUBREL, packet_id))
        self.flush()

    def _put(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._frames_bytes += len(frame)

    def _write(self, wire: Wire) -> None:
        if self._frames:
            wire.send(b"".join(self._frames))
            self._frames.clear()
            self._frames_bytes = 0

    def _owes_too_much(self, wire: Wire) -> bool:
        if self._frames_bytes > self._config.subscriber_buffer_bytes_max:
            self._write(wire)  # the network takes some of it at once, or all
        return wire.owed_bytes() + self._frames_bytes > self._config.subscriber_buffer_bytes_max

    def _may_send(self, wire: Wire) -> bool:
        if not self._inflight:
            return True
        return len(self._inflight) < self._config.subscriber_inflight_max and not self._owes_too_much(wire)

    def _fill_window(self, wire: Wire) -> None:
        while self._queue and self._may_send(wire):
            message = self._queue.popleft()
            self._queue_bytes -= len(message.payload)
            packet_id = self._free_packet_id()
            self._inflight[packet_id] = message
            self._put(_frame(message, packet_id))

    def _free_packet_id(self) -> int:
        while True:  # ends: fewer than 65,535 are in flight
            self._last_packet_id = self._last_packet_id % 65_535 + 1
            if self._last_packet_id not in self._inflight:
                return self._last_packet_id


def _frame(message: Message, packet_id: int, *, duplicate: bool = False) -> bytes:
    return packets.write_publish(
        message.topic, message.payload, message.qos, packet_id, retain=message.retain, duplicate=duplicate
    )
