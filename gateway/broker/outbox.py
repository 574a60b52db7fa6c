"""What one local subscriber is still owed: sent and not acknowledged, or waiting.

Delivery follows MQTT 3.1.1 section 4.3: QoS 1 and 2 are sent again, with the DUP flag, when the client comes back to
its session. Everything is bounded: a window of messages in flight, a queue in events and bytes, and a limit on what the
socket owes, beyond which QoS 0 is dropped and all but one message of QoS 1 and 2 wait: its acknowledgement tells that
the client reads. What goes when the queue is full is the operator's choice; it is counted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.broker import packets
from gateway.broker.allowance import MESSAGE_OVERHEAD_BYTES
from gateway.eventlog.queue import Flight, Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.broker.allowance import Allowance
    from gateway.broker.config import BrokerConfig

_PACKET_IDS_STEP = 4096
"""So coarsely the last packet id is stored; a row for every message would wear the card."""


class Wire(Protocol):
    """The subscriber's connection."""

    def send(self, data: bytes) -> None:
        """Write to the socket."""
        ...

    def owed_bytes(self) -> int:
        """Bytes written and not yet taken by the network."""
        ...

    def abort(self, reason: str) -> None:
        """Close at once, whatever is still to be written."""
        ...


class Message(NamedTuple):
    """One delivery."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    seq: int = 0
    """The event that it was."""


class Scan:
    """A look through the log for what some outboxes are owed from before the start."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        """Up to where it has looked."""


class Behind(NamedTuple):
    """An outbox that is not up to date: new messages are not added, the scan will come to them."""

    scan: Scan
    after_seq: int
    """What is before this one is not owed."""


class Outbox:
    """Deliveries to one client id; it outlives the connection if the session does."""

    __slots__ = (
        "_allowance",
        "_changed",
        "_config",
        "_frames",
        "_frames_bytes",
        "_inflight",
        "_inflight_bytes",
        "_last_packet_id",
        "_queue",
        "_queue_bytes",
        "_wire",
        "behind",
        "client_id",
    )

    def __init__(
        self, client_id: str, config: BrokerConfig, allowance: Allowance, changed: set[str] | None = None
    ) -> None:
        """Begin empty; the client id goes into `changed` whenever something changes that `queue` tells."""
        self.client_id = client_id
        self._changed = set() if changed is None else changed
        self.behind: Behind | None = None
        """Nothing that waits is sent while it is set."""
        self._config = config
        self._allowance = allowance
        self._wire: Wire | None = None
        self._frames: list[bytes] = []
        self._frames_bytes = 0
        self._queue: deque[Message] = deque()
        self._queue_bytes = 0
        self._inflight: dict[int, Message | None] = {}
        """By packet id, in the order sent; None when the client has received it and PUBREL is out (QoS 2)."""
        self._inflight_bytes = 0
        self._last_packet_id = 0

    @property
    def waiting(self) -> int:
        """Deliveries not yet acknowledged, in flight or queued."""
        return len(self._queue) + len(self._inflight)

    def attach(self, wire: Wire) -> None:
        """The client is here: send again what it has not acknowledged, then what waits."""
        self._wire = wire
        if self.behind is None:
            self._send_again()
        self.flush()

    def catch_up(self) -> None:
        """Everything from before the start is in it: send again what was not acknowledged, then what waits."""
        self.behind = None
        if self._wire is not None:
            self._send_again()
        self.flush()

    def _send_again(self) -> None:
        for packet_id, message in self._inflight.items():
            if message is None:
                self._put(packets.write_ack(packets.PUBREL, packet_id))
            else:
                self._put(_frame(message, packet_id, duplicate=True))

    def withdraw(self, may_receive: Callable[[str], bool]) -> None:
        """Give up what the client has no right to any more; its packet ids are free again."""
        before = self._held_bytes
        self._queue = deque(message for message in self._queue if may_receive(message.topic))
        self._inflight = {
            packet_id: message
            for packet_id, message in self._inflight.items()
            if message is None or not message.topic or may_receive(message.topic)
        }
        self._queue_bytes = sum(map(_size, self._queue))
        self._inflight_bytes = sum(_size(message) for message in self._inflight.values() if message is not None)
        self._account(before)

    def detach(self) -> None:
        """The client has gone; QoS 0 is not kept for it (section 3.1.2.4)."""
        self._wire = None
        self._frames.clear()
        self._frames_bytes = 0

    def empty(self) -> None:
        """The session is over: nothing waits any more."""
        self.detach()
        self._queue.clear()
        self._inflight.clear()
        before = self._held_bytes
        self._queue_bytes = self._inflight_bytes = 0
        self._account(before)

    def add(self, message: Message, *, late: bool = False) -> None:
        """Deliver, now or later; `flush` writes what may go out now. `late`: it is from before the start."""
        if message.qos == 0:
            self.add_frame(_frame(message, 0))
            return
        if self.behind is not None and not (late or message.retain):
            return
        size = len(message.payload) + MESSAGE_OVERHEAD_BYTES  # spelled out: this is the way of every delivery
        allowance = self._allowance
        if not self._queue_bytes and not self._inflight_bytes:
            allowance.holders += 1
        allowance.waiting_bytes += size
        self._queue.append(message)
        self._queue_bytes += size
        if (
            len(self._queue) > self._config.subscriber_queue_events_max
            or self._queue_bytes > self._config.subscriber_queue_bytes_max
            or allowance.is_exceeded
        ):
            self._make_room()

    def add_frame(self, frame: bytes) -> None:
        """Deliver a PUBLISH of QoS 0, now or not at all."""
        if self._wire is None:
            return
        if self._owes_too_much(self._wire):
            self._allowance.unread += 1
            if self._config.subscriber_overflow == "disconnect":
                self._disconnect(self._wire)
            return
        self._put(frame)

    def flush(self) -> None:
        """Write everything that may go out now, in one piece."""
        if self._queue or self._inflight:
            self._changed.add(self.client_id)
        if self._wire is None:
            return
        self._fill_window(self._wire)
        self._write(self._wire)

    def acknowledged(self, *packet_ids: int) -> None:
        """PUBACK: the client has them; does not count for QoS 2. The window is filled once for all of them."""
        before = self._held_bytes
        for packet_id in packet_ids:
            message = self._inflight.get(packet_id)
            if message is not None and message.qos == 1:
                del self._inflight[packet_id]
                self._inflight_bytes -= len(message.payload) + MESSAGE_OVERHEAD_BYTES
        self._account(before)
        self._changed.add(self.client_id)
        self.flush()

    def completed(self, *packet_ids: int) -> None:
        """PUBCOMP: the ids are free again, as far as PUBREL was sent."""
        for packet_id in packet_ids:
            if self._inflight.get(packet_id, self) is None:
                del self._inflight[packet_id]
        self._changed.add(self.client_id)
        self.flush()

    def received(self, packet_id: int) -> None:
        """PUBREC: never send the message again; ask the client to release the id. Does not count for QoS 1."""
        message = self._inflight.get(packet_id)
        if message is not None:
            if message.qos == 1:
                return
            before = self._held_bytes
            self._inflight[packet_id] = None
            self._inflight_bytes -= _size(message)
            self._account(before)
        self._put(packets.write_ack(packets.PUBREL, packet_id))
        self.flush()

    def owed_bytes(self) -> int:
        """What the subscriber's socket owes."""
        return 0 if self._wire is None else self._wire.owed_bytes()

    # --- kept over a restart ---

    def queue(self, caught_up: int | None) -> Queue:
        """What is owed, to be stored; `caught_up` is noted as the place in the log if no event waits."""
        first = next((message.seq for message in self._queue if not message.retain), None)
        return Queue(
            caught_up if first is None else first - 1,
            tuple(
                Flight(packet_id, 0, 2) if message is None else _flight(packet_id, message)
                for packet_id, message in self._inflight.items()
            ),
            tuple(_flight(0, message) for message in self._queue if message.retain),
            self._last_packet_id // _PACKET_IDS_STEP,
        )

    def restore(self, queue: Queue) -> None:
        """Take up what was in flight when it was stored; the messages have still to be supplied.

        Packet ids go on far away from those that can have been in use since: a client that still waits for a PUBREL
        would take another message under the same id for a duplicate.
        """
        self._last_packet_id = (queue.packet_ids * _PACKET_IDS_STEP + 32_768) % 65_535
        before = self._held_bytes
        for each in queue.inflight:
            message = Message("", b"", each.qos, bool(each.topic), each.seq) if each.seq else None
            self._inflight[each.packet_id] = message
            self._inflight_bytes += 0 if message is None else _size(message)
        self._account(before)

    def supply(self, packet_id: int, seq: int, message: Message | None) -> None:
        """The message of the event `seq`, which was in flight; None: it is gone, which is counted."""
        missing = self._inflight.get(packet_id)
        if missing is None or missing.topic or missing.seq != seq:  # it was acknowledged meanwhile
            return
        before = self._held_bytes
        self._inflight_bytes -= _size(missing)
        if message is None:
            del self._inflight[packet_id]
            self._allowance.overflowed += 1
        else:
            self._inflight[packet_id] = message
            self._inflight_bytes += _size(message)
        self._account(before)

    # --- limits ---

    @property
    def _held_bytes(self) -> int:
        return self._queue_bytes + self._inflight_bytes

    def _account(self, before: int) -> None:
        held = self._held_bytes
        self._allowance.waiting_bytes += held - before
        self._allowance.holders += bool(held) - bool(before)

    def _make_room(self) -> None:
        while self._queue and self._is_full():
            if self._wire is not None and self._may_send(self._wire):
                self._fill_window(self._wire)
            else:
                self._give_up_one()

    def _is_full(self) -> bool:
        config = self._config
        if len(self._queue) > config.subscriber_queue_events_max or not self._allowance.allows(self._held_bytes):
            return True
        return self._queue_bytes > config.subscriber_queue_bytes_max and len(self._queue) > 1

    def _give_up_one(self) -> None:
        overflow = self._config.subscriber_overflow
        if overflow == "disconnect" and self._wire is not None and self.behind is None:
            self._disconnect(self._wire)
        before = self._held_bytes
        message = self._queue.pop() if overflow == "drop_newest" else self._queue.popleft()
        self._queue_bytes -= _size(message)
        self._account(before)
        self._allowance.overflowed += 1

    def _disconnect(self, wire: Wire) -> None:
        wire.abort("it is too slow for what it subscribes to")
        self._allowance.disconnected += 1
        self.detach()

    def _owes_too_much(self, wire: Wire) -> bool:
        limit = self._config.subscriber_buffer_bytes_max
        if self._frames_bytes > limit:
            self._write(wire)  # the network takes some of it at once, or all
        owed = wire.owed_bytes() + self._frames_bytes
        return owed > limit or (self._allowance.is_exceeded and not self._allowance.allows(owed))

    def _may_send(self, wire: Wire) -> bool:
        if self.behind is not None:
            return False
        if not self._inflight:
            return True
        return (
            len(self._inflight) < self._config.subscriber_inflight_max
            and self._inflight_bytes < self._config.subscriber_queue_bytes_max
            and not self._owes_too_much(wire)
        )

    # --- frames ---

    def _put(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._frames_bytes += len(frame)

    def _write(self, wire: Wire) -> None:
        if self._frames:
            wire.send(b"".join(self._frames))
            self._frames.clear()
            self._frames_bytes = 0

    def _fill_window(self, wire: Wire) -> None:
        queue, inflight = self._queue, self._inflight
        while queue and self._may_send(wire):
            message = queue.popleft()
            size = len(message.payload) + MESSAGE_OVERHEAD_BYTES
            self._queue_bytes -= size
            self._inflight_bytes += size
            packet_id = self._free_packet_id()
            inflight[packet_id] = message
            topic, payload, qos, retain, _ = message
            frame = packets.write_publish(topic, payload, qos, packet_id, retain=retain)
            self._frames.append(frame)
            self._frames_bytes += len(frame)

    def _free_packet_id(self) -> int:
        while True:  # ends: fewer than 65,535 are in flight
            self._last_packet_id = self._last_packet_id % 65_535 + 1
            if self._last_packet_id not in self._inflight:
                return self._last_packet_id


def _flight(packet_id: int, message: Message) -> Flight:
    return Flight(packet_id, message.seq, message.qos, message.topic if message.retain else "")


def _size(message: Message) -> int:
    return len(message.payload) + MESSAGE_OVERHEAD_BYTES


def _frame(message: Message, packet_id: int, *, duplicate: bool = False) -> bytes:
    return packets.write_publish(
        message.topic, message.payload, message.qos, packet_id, retain=message.retain, duplicate=duplicate
    )
