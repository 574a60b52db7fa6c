"""A pipelined MQTT publisher on one connection: as many publishes in flight as the server allows.

It keeps nothing beyond what is in flight and the batch at hand, and sends nothing again by itself. A refused publish
stops the flow: what is in flight is awaited, then `publish` raises.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from gateway.client_tls import of_error
from gateway.errors import Unreachable
from gateway.mqtt_reasons import Poison
from gateway.upstreams.mqtt_answers import take_run
from gateway.upstreams.mqtt_flight import Flight
from gateway.upstreams.mqtt_frames import split
from gateway.upstreams.mqtt_session import (
    CONNACK,
    DISCONNECT,
    DISCONNECT_PACKET,
    INCOMING_BYTES_MAX,
    INFLIGHT_MAX,
    PINGREQ_PACKET,
    PINGRESP,
    PUBACK,
    Session,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.errors import DeliveryError
    from gateway.event import Event
    from gateway.upstreams.mqtt_session import Dialect

    Examine = Callable[[bytes | None], DeliveryError | None]

_WRITE_BYTES = 64 * 1024
"""Packets are joined up to about this size before they are written."""
_CLOSE_TIMEOUT_S = 1.0
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux has it."""
_CROWD_EVENTS = 32
"""With more than this in flight, answers are gathered before they are read."""
_GATHER_S = 0.001
_EXPECTED = frozenset((CONNACK, PUBACK, PINGRESP, DISCONNECT))


class MqttConnection(asyncio.Protocol):
    """One connection, from CONNECT to its end; it is not used again after that.

    Args:
        dialect: version of the protocol.
        connect: the CONNECT packet.
        limits: ours, in force where the server's are wider.
        examine: looks at the server's certificate (DER) before we log in, with TLS.
    """

    def __init__(self, dialect: Dialect, connect: bytes, limits: Session, examine: Examine | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._dialect = dialect
        self._connect = connect
        self._session = limits
        self._examine = examine
        self.ready: asyncio.Future[DeliveryError | None] = loop.create_future()
        """Done when the server has answered; None: it has us."""
        self.closed: asyncio.Future[DeliveryError] = loop.create_future()
        """Done when the connection is gone, with the reason."""
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._end: DeliveryError | None = None
        self._rest = b""
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._pinged = self._sent_something = self._heard_something = False
        self._flight = Flight()
        self._acknowledged_before = 0
        """Events that were acknowledged before `_flight` began."""
        self._awaited: Callable[[], bool] = self._flight.is_over
        self._waiter: asyncio.Future[None] | None = None

    @property
    def acknowledged(self) -> int:
        """How many events the server has, of all that were published, in order."""
        return self._acknowledged_before + self._flight.acknowledged

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish `events` and return when they are on their way; with none, when everything is answered.

        Raises:
            DeliveryError: as the port says.
        """
        flight = self._flight
        flight.give(events)
        self._awaited = flight.is_under_way if events else flight.is_over
        self._fill()
        while self._end is None and not (self._awaited() or flight.is_over()):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._end is not None or flight.is_stopped():
            self._flight = Flight()
            try:
                flight.conclude(self._end)
            finally:
                self._acknowledged_before += flight.acknowledged

    async def close(self) -> None:
        """Say goodbye and let go, within a second; idempotent."""
        if self._transport is None or self.closed.done():
            return
        self._end = self._end or Unreachable("closed")
        self._transport.write(DISCONNECT_PACKET)
        self._transport.close()
        await asyncio.wait((self.closed,), timeout=_CLOSE_TIMEOUT_S)
        if not self.closed.done():  # the peer takes nothing more, not even the goodbye
            self._transport.abort()
            await asyncio.wait((self.closed,), timeout=_CLOSE_TIMEOUT_S / 2)

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log in, unless it is the wrong server."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")
        tls = transport.get_extra_info("ssl_object")
        refusal = self._examine(tls.getpeercert(binary_form=True)) if self._examine and tls else None
        if refusal is not None:
            self._fail(refusal)
            return
        self._transport.write(self._connect)

    def data_received(self, data: bytes) -> None:
        """Read what the server says and send what it now has room for."""
        self._heard_something = True
        if self._rest:
            data = self._rest + data
        try:
            data = data[take_run(self._flight, data) :]
            for first_byte, body in self._split(data):
                self._read(first_byte, body)
        except ValueError as error:
            self._fail(Unreachable(f"the server does not speak MQTT as agreed: {error}"))
            return
        if not self._fill():
            self._acknowledge()
        if self._flight.in_flight > _CROWD_EVENTS:
            self._gather_answers()

    def _gather_answers(self) -> None:
        """Read on in a millisecond: a server that writes each PUBACK by itself would wake us for each of them."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(_GATHER_S, self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _acknowledge(self) -> None:
        """Have the kernel acknowledge what was read without delay (tcp(7)); it forgets this soon, so say it each time.

        A server that gathers small packets (Nagle) sends its next PUBACKs only when the ones before are acknowledged,
        and a kernel with nothing to send back waits 40 ms with that: 25 rounds a second at the most. With something to
        send it needs no such word: the acknowledgement travels with it, and the server's kernel is spared one more.
        """
        if self._socket is not None and _QUICK_ACK is not None and self._end is None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes more again."""
        self._paused = False
        self._fill()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        if self._end is None:
            closed = Unreachable("the server closed the connection")
            self._end = closed if exc is None else of_error(exc, "connection lost")
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(self._end)
        if not self.ready.done():
            self.ready.set_result(self._end)
        self._wake()

    # --- sending ---

    def _fill(self) -> bool:
        """Send while there is room in the window and in the socket; tell who waits for that. Whether any was sent."""
        flight, inflight_max = self._flight, self._session.inflight_max
        has_sent = False
        while not (self._paused or self._end or flight.is_stopped()):
            packet_id, events = flight.next(inflight_max)
            if not events:
                break
            self._write_some(flight, packet_id, events)
            has_sent = True
        if self._waiter is not None and (self._awaited() or flight.is_over()):
            self._wake()
        return has_sent

    def _write_some(self, flight: Flight, packet_id: int, events: Sequence[Event]) -> None:
        """Send of `events` as many as make one good write."""
        events = events[: INFLIGHT_MAX + 1 - packet_id]
        try:
            packets = self._publish(events, packet_id)
        except ValueError:
            packets = []
        if packets and max(map(len, packets)) <= self._session.packet_bytes_max:
            flight.sent(len(packets))
        else:
            packets = self._write_each(flight, packet_id, events)
        if packets and self._transport is not None:
            self._sent_something = True
            self._transport.write(b"".join(packets))

    def _write_each(self, flight: Flight, packet_id: int, events: Sequence[Event]) -> list[bytes]:
        """The same, where something is wrong with one of them: that one is refused, the others are sent."""
        packets: list[bytes] = []
        refused: dict[int, Poison] = {}
        size = count = 0
        for event in events:
            try:
                (packet,) = self._publish((event,), packet_id + count)
            except ValueError as error:
                refused[packet_id + count] = Poison(f"no MQTT packet can be made of it: {error}")
            else:
                if len(packet) > (bytes_max := self._session.packet_bytes_max):
                    reason = f"packet of {len(packet)} bytes, {bytes_max} are the limit"
                    refused[packet_id + count] = Poison(reason)
                else:
                    packets.append(packet)
                    size += len(packet)
            count += 1
            if size >= _WRITE_BYTES:
                break
        flight.sent(count)
        for refused_id, poison in refused.items():
            flight.refused(refused_id, poison)
        return packets

    def _publish(self, events: Sequence[Event], packet_id: int) -> list[bytes]:
        return self._dialect.publish(events, packet_id, retain=self._session.retain, bytes_max=_WRITE_BYTES)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- receiving ---

    def _split(self, data: bytes) -> list[tuple[int, bytes]]:
        packets, self._rest = split(data, INCOMING_BYTES_MAX)
        if self._rest and self._rest[0] not in _EXPECTED:  # do not wait for the rest of what is no packet
            raise ValueError(f"packet of type {self._rest[0] >> 4}")
        return packets

    def _read(self, first_byte: int, body: bytes) -> None:
        if first_byte == PUBACK:
            self._read_answer(body)
        elif first_byte == CONNACK and not self.ready.done():
            self._read_welcome(body)
        elif first_byte == DISCONNECT:
            self._read_farewell(body)
        elif first_byte != PINGRESP:
            raise ValueError(f"packet of type {first_byte >> 4}")

    def _read_answer(self, body: bytes) -> None:
        packet_id, refusal = self._dialect.answer(body)
        if refusal is None:
            self._flight.taken(packet_id)
        else:
            self._flight.refused(packet_id, refusal)

    def _read_welcome(self, body: bytes) -> None:
        granted = self._dialect.session(body)
        if not isinstance(granted, Session):
            self._fail(granted)
            return
        self._session = self._session.within(granted)
        self.ready.set_result(None)
        self._keep_alive()

    def _read_farewell(self, body: bytes) -> None:
        error = self._dialect.farewell(body)
        if isinstance(error, Poison):
            self._flight.refuse_only(error)
            error = Unreachable(error.reason)
        self._fail(error)

    # --- the end ---

    def _keep_alive(self) -> None:
        """Every half interval: ping if there was silence, give up if the last ping is not answered.

        Half of it, because the server counts from the last packet it got (section 3.1.2.10).
        """
        interval_s = self._session.keep_alive_s
        if not interval_s or self._transport is None:
            return
        if self._pinged and not self._heard_something:
            self._fail(Unreachable(f"no answer to a ping for {interval_s / 2:g} s"))
            return
        self._pinged = not (self._sent_something and self._heard_something)
        if self._pinged:
            self._transport.write(PINGREQ_PACKET)
        self._sent_something = self._heard_something = False
        self._timer = asyncio.get_running_loop().call_later(interval_s / 2, self._keep_alive)

    def _fail(self, error: DeliveryError) -> None:
        if self._end is None:
            self._end = error
        if self._transport is not None:
            self._transport.abort()
