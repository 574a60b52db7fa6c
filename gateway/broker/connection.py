"""One device's connection: bytes in, events and acknowledgements out.

Its life: waiting for CONNECT, held (what arrives is kept, the socket is not read) until its owner has admitted it,
open, closed. A SUBSCRIBE or UNSUBSCRIBE holds it as well, until it is answered: so packets take effect in the order
they were sent, and a flood of them waits in the socket. A packet that breaks the protocol closes this connection and
nothing after it is read. PUBACK, PUBREC and PUBCOMP are receipts: `Ingest` hands them out after the COMMIT, and only
then are they written.

Backpressure both ways: a PUBLISH that finds the log full, or comes faster than `publish_rate_max`, waits with all that
follows it, and its socket is not read until there is room; who sends no PUBLISH is served meanwhile. A device that does
not read its acknowledgements is not read either.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.broker import packets
from gateway.broker.limits import Pace, over_long
from gateway.broker.link import Link
from gateway.broker.plain import NO_RUN, PlainRun
from gateway.broker.rights import NOBODY, Identity
from gateway.errors import ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.broker.config import BrokerConfig
    from gateway.broker.owner import Owner
    from gateway.broker.packets import Connect, Header
    from gateway.broker.reading import ReadBuffer
    from gateway.broker.rights import Rights
    from gateway.ingest.ingest import Ingest

_CACHED_TOPICS_MAX = 1000
_LOOK_BYTES = 16 * 1024
"""How much is handled between two looks at whether the log has room."""

logger = logging.getLogger(__name__)


class Connection(Link):
    """One network connection. `Wire` for its outbox, `Source` for ingest."""

    __slots__ = (
        "_awaited_bytes",
        "_buffer",
        "_completed",
        "_config",
        "_held",
        "_ingest",
        "_now",
        "_owner",
        "_pace",
        "_policy",
        "_run",
        "_taken",
        "_topics",
        "_waits_for_reader",
        "_waits_for_room",
        "began_s",
        "client_id",
        "connect",
        "heard_s",
        "left_cleanly",
        "rights",
    )

    def __init__(
        self,
        owner: Owner,
        ingest: Ingest,
        rights: Rights,
        config: BrokerConfig,
        now: Callable[[], float],
        read_buffer: ReadBuffer,
    ) -> None:
        super().__init__(read_buffer)
        self._owner = owner
        self._ingest = ingest
        self._policy = rights
        self._config = config
        self._now = now
        self._buffer = bytearray()
        self._awaited_bytes = 0
        self._held = False
        self._waits_for_room = False
        self._waits_for_reader = False
        self._topics: dict[bytes, str] = {}
        self._run = NO_RUN
        self._taken: list[int] = []
        """Packet ids the client has acknowledged with PUBACK in the bytes at hand."""
        self._completed: list[int] = []
        """The same with PUBCOMP."""
        self._pace: Pace | None = None
        self.client_id = ""
        self.connect: Connect | None = None
        """Set when the client has been admitted."""
        self.rights = NOBODY
        """What the client may do; of one that is admitted without them, what a client without a login may."""
        self.left_cleanly = False
        """Whether a DISCONNECT came: no will then."""
        self.began_s = self.heard_s = now()
        """When the connection was made, and when the client last ended a packet (monotonic seconds)."""

    # --- what the socket tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        super().connection_made(transport)
        self._owner.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came: handle every whole packet in them, keep the rest."""
        if self._buffer or self._held or self._waits_for_room:
            self._buffer += data
            if self._held or self._waits_for_room or len(self._buffer) < self._awaited_bytes:
                self._read_buffer.note(self, 0 if self._waits_for_room else len(self._buffer), anew=False)
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        try:
            rest = self._consume(data)
        except ProtocolViolation as violation:
            self.violate(str(violation))
            return
        if rest:
            self.heard_s = self._now()
        if rest < len(data) and not self.closing:
            self._buffer += data[rest:]
        self._read_buffer.note(self, 0 if self._waits_for_room else len(self._buffer), anew=rest > 0)
        self._steer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if exc is not None:
            self.reason = f"connection lost: {exc}"
        self._ingest.forget(self)
        self._buffer.clear()
        self._read_buffer.forget(self)
        self._note_closed()
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """The client does not read what it is sent: do not read what it sends."""
        self._waits_for_reader = True
        self._steer()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._waits_for_reader = False
        self._steer()

    # --- what the gateway tells ---

    def admit(self, connect: Connect, client_id: str) -> None:
        """The client is who it says: handle what it has sent since its CONNECT."""
        self.connect = connect
        self.client_id = client_id
        if self.rights is NOBODY:
            self.rights = self._policy.of(Identity(client_id))
        if self._config.publish_rate_max:
            self._pace = Pace(self._config.publish_rate_max, self._now)
        self._run = PlainRun(client_id, self._topics, self._ingest, self._config.packet_bytes_max, self._pace)
        self._held = False
        self._go_on()

    def answered(self) -> None:
        """The answer to the SUBSCRIBE or UNSUBSCRIBE has been sent: handle what came after it."""
        self._held = False
        self._go_on()

    committed = Link.send
    """A receipt is the acknowledgement to write."""

    def relieve(self) -> None:
        """There is room again: handle what had to wait, then read on."""
        self._waits_for_room = False
        self._go_on()

    @property
    def is_held_up(self) -> bool:
        """Whether the client is not heard because the log is full, or because it brings too much."""
        return self._waits_for_room

    # --- packets ---

    def _go_on(self) -> None:
        self.heard_s = self._now()  # it could not be heard until now
        self._awaited_bytes = 0
        self.data_received(b"")

    def _consume(self, data: bytes) -> int:
        """Handle every whole packet in `data`; returns where the first that has to wait begins."""
        at, size, look_at = 0, len(data), 0
        self._check_first(data)
        receipts = bytearray()
        stamp = self._ingest.now()
        try:
            while at < size and not self._held and not self.closing:
                header = packets.read_header(data, at, self._config.packet_bytes_max)
                if header is None:
                    self._awaited_bytes = size - at + 1
                    break
                kind, _, start, end = header
                if kind == packets.PUBLISH and at >= look_at:
                    if self._must_wait_for_room():
                        break
                    look_at = at + _LOOK_BYTES
                if end > size:
                    self._awaited_bytes = end - at
                    break
                if kind == packets.PUBLISH and self.connect is not None:
                    if self._pace is not None and self._is_too_fast(self._pace):
                        break
                    end = self._take_in(stamp, data, at, header, look_at, receipts)
                elif kind == packets.PUBREL and self.connect is not None:
                    receipts += self._release(data[start:end])
                else:
                    self._handle(kind, data[at:end], data[start:end])
                at = end
        finally:
            if receipts:
                self._ingest.ask_receipt(self, receipts)
            self._settle_taken()
        return at

    def _check_first(self, data: bytes) -> None:
        if self.connect is None and data and data[0] != packets.CONNECT << 4 and not self.closing:
            raise ProtocolViolation("the first packet is not CONNECT")

    def _take_in(
        self, stamp: tuple[int, int], data: bytes, at: int, header: Header, until: int, receipts: bytearray
    ) -> int:
        """Take in the messages from `at` on up to about `until`, at least the first; returns where they end."""
        end = self._run.take(stamp, data, at, until, receipts)
        if end > at:
            return end
        _, flags, start, end = header
        receipts += self._publish(stamp, flags, data, start, end)
        return end

    def _publish(self, stamp: tuple[int, int], flags: int, data: bytes, start: int, end: int) -> bytes:
        """Take a message in; returns the receipt that is due when it is on disk."""
        topic_end = start + 2 + int.from_bytes(data[start : start + 2])
        qos = flags >> 1 & 3
        body = topic_end + 2 if qos else topic_end
        if body > end or end - start < 2 or qos == 3:
            raise ProtocolViolation("PUBLISH is shorter than its fields, or has QoS 3")
        raw = data[start + 2 : topic_end]
        topic = self._topics.get(raw) or self._admit_topic(raw)
        retain = bool(flags & 1)
        if qos == 0:
            if flags & 8:
                raise ProtocolViolation("PUBLISH of QoS 0 marked as a duplicate")
            if not topic:
                return b""
            self._ingest.append(*stamp, self.client_id, topic, 0, retain, data[body:end])
            return b""
        raw_id = data[topic_end:body]
        if raw_id == b"\0\0":
            raise ProtocolViolation("packet identifier 0")
        if not topic:
            return packets.write_ack(packets.PUBACK if qos == 1 else packets.PUBREC, int.from_bytes(raw_id))
        if qos == 1:
            if not (flags & 8 and self._ingest.is_stored(self.client_id, topic, data[body:end])):
                self._ingest.append(*stamp, self.client_id, topic, 1, retain, data[body:end])
            return b"\x40\x02" + raw_id
        packet_id = int.from_bytes(raw_id)
        if not self._ingest.is_repeat(self.client_id, packet_id):
            seq = self._ingest.append(*stamp, self.client_id, topic, 2, retain, data[body:end])
            self._ingest.mark(self.client_id, packet_id, seq)
        return packets.write_ack(packets.PUBREC, packet_id)

    def _release(self, body: bytes) -> bytes:
        packet_id = packets.read_packet_id(body)
        self._ingest.release(self.client_id, packet_id)
        return packets.write_ack(packets.PUBCOMP, packet_id)

    def _admit_topic(self, raw: bytes) -> str:
        """The topic of a PUBLISH, or none if it is refused and the client stays (MQTT 3.1.1 section 3.3.5)."""
        topic = packets.read_topic(raw)
        self._check_length(raw)
        if not self.rights.may_publish(topic):
            reason = self._policy.refusals.note(self.rights, "publish", topic, self.peer[0])
            if self._policy.drops:
                return ""
            raise ProtocolViolation(f"may not publish to {topic[:200]!r}: {reason}")
        if len(self._topics) >= _CACHED_TOPICS_MAX:
            self._topics.clear()
        self._topics[raw] = topic
        return topic

    def _check_length(self, topic: bytes) -> None:
        if why := over_long(topic, self._config):
            self._owner.over_limit(why.limit)
            raise ProtocolViolation(why.reason)

    def _handle(self, kind: int, packet: bytes, body: bytes) -> None:
        if self.connect is None:
            self._held = True
            self._owner.connecting(self, packets.read_connect(body))
        elif kind == packets.PINGREQ:
            packets.expect_empty(body)
            self.send(packets.PINGRESP_PACKET)
        elif kind == packets.PUBACK:
            self._taken.append(packets.read_packet_id(body))
        elif kind == packets.PUBCOMP:
            self._completed.append(packets.read_packet_id(body))
        elif kind == packets.PUBREC:
            self._handle_received(packets.read_packet_id(body))
        elif kind == packets.CONNECT:
            raise ProtocolViolation("a second CONNECT")
        else:
            self._handle_control(kind, packet, body)

    def _handle_received(self, packet_id: int) -> None:
        self._settle_taken()
        outbox = self._owner.outbox(self.client_id)
        if outbox is not None:
            outbox.received(packet_id)
        else:
            self.send(packets.write_ack(packets.PUBREL, packet_id))

    def _settle_taken(self) -> None:
        if not (self._taken or self._completed):
            return
        taken, self._taken = self._taken, []
        completed, self._completed = self._completed, []
        outbox = self._owner.outbox(self.client_id)
        if outbox is not None and taken:
            outbox.acknowledged(*taken)
        if outbox is not None and completed:
            outbox.completed(*completed)

    def _handle_control(self, kind: int, packet: bytes, body: bytes) -> None:
        if kind == packets.SUBSCRIBE:
            for topic_filter, _ in packets.read_subscribe(body):
                self._check_length(topic_filter.encode())
                if not self.rights.may_subscribe(topic_filter):  # the session engine answers so, filter by filter
                    self._policy.refusals.note(self.rights, "subscribe", topic_filter, self.peer[0])
        elif kind == packets.UNSUBSCRIBE:
            packets.read_unsubscribe(body)
        else:
            packets.expect_empty(body)
            self.left_cleanly = True
            self.close("disconnected by the client")
            return
        self._held = True
        self._owner.control(self, packet)

    # --- backpressure ---

    def _must_wait_for_room(self) -> bool:
        """Whether a PUBLISH cannot be taken in now; what is not a PUBLISH is served all the same."""
        if self.connect is None or not self._ingest.congested:
            return False
        self._waits_for_room = True
        self._ingest.wait_for_room(self)
        return True

    def _is_too_fast(self, pace: Pace) -> bool:
        """Whether a PUBLISH comes too early; it is looked at again when there is room for it."""
        wait_s = pace.take()
        if wait_s:
            self._waits_for_room = True
            self._owner.over_limit("publish_rate_max")
            asyncio.get_running_loop().call_later(wait_s, self.relieve)
        return wait_s > 0

    def _steer(self) -> None:
        """Read from the socket or not, by what is full at the moment."""
        self.read_on(not (self._held or self._waits_for_room or self._waits_for_reader))
