"""Bytes in, events and acknowledgements out: one connection over a socket in memory, with a real event log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.broker.config import BrokerConfig
from gateway.clock import SystemClock
from gateway.ingest.ingest import Ingest
from tests.unit.broker import wire
from tests.unit.broker.ports import MemorySocket, Now, OpenDoor, plug
from tests.unit.broker.site import open_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.broker.connection import Connection
    from gateway.eventlog.log import EventLog

CONFIG = BrokerConfig()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    log = open_log(tmp_path)
    yield log
    await log.close(5)


@pytest.fixture
def ingest(log: EventLog) -> Ingest:
    return Ingest(log, SystemClock())


def joined(ingest: Ingest, front: OpenDoor | None = None) -> tuple[Connection, MemorySocket, OpenDoor]:
    """A connection whose client has been admitted."""
    front = front or OpenDoor()
    connection, socket = plug(front, ingest, CONFIG)
    connection.data_received(wire.connect("dev", will=("gone", b"", 0, False)))
    return connection, socket, front


def test_events_do_not_depend_on_how_their_bytes_arrive(tmp_path: Path) -> None:
    """The framing is the same for a byte at a time as for everything at once."""
    stream = b"".join(
        [
            wire.connect("dev"),
            wire.publish("a", b"zero"),
            wire.publish("a/b", b"one" * 60, 1, 7),
            wire.publish("a/b/c", b"two", 2, 8, flags=1),
            wire.PINGREQ_PACKET,
            wire.ack(wire.PUBREL, 8),
            wire.publish("a", b"", 1, 9, flags=8),
            wire.subscribe(10, ("x/#", 1)),
        ]
    )
    before = 0

    with asyncio.Runner() as runner:

        async def opened() -> tuple[EventLog, Ingest]:
            log = open_log(tmp_path)
            return log, Ingest(log, SystemClock())

        log, ingest = runner.run(opened())

        @settings(max_examples=60, deadline=None)
        @given(st.lists(st.integers(1, len(stream) - 1), max_size=40, unique=True))
        def check(cuts: list[int]) -> None:
            runner.run(feed(sorted(cuts)))

        async def feed(cuts: list[int]) -> None:
            nonlocal before
            front = OpenDoor()
            connection, socket = plug(front, ingest, CONFIG)
            for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
                connection.data_received(stream[begin:end])
                await asyncio.sleep(0)
            await log.intake.settled()
            events = await log.read(before, 100)
            before = log.head
            assert [(each.client_id, each.topic, each.qos, each.retain, each.payload) for each in events] == [
                ("dev", "a", 0, False, b"zero"),
                ("dev", "a/b", 1, False, b"one" * 60),
                ("dev", "a/b/c", 2, True, b"two"),
                ("dev", "a", 1, False, b""),
            ]
            answers = wire.split(bytes(socket.written))
            receipts = [(each.kind, each.packet_id) for each in answers if each.kind != wire.PINGRESP]
            assert receipts == [(wire.PUBACK, 7), (wire.PUBREC, 8), (wire.PUBCOMP, 8), (wire.PUBACK, 9)]
            assert len(answers) == 5
            assert front.controls == [wire.subscribe(10, ("x/#", 1))]
            assert not connection.closing

        try:
            check()
        finally:
            runner.run(log.close(5))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=30), max_size=8))
def test_any_bytes_close_the_connection_or_wait_for_more_and_nothing_else(chunks: list[bytes]) -> None:
    class Nothing:
        """Fulfils what a connection asks of ingest before anybody is admitted."""

        congested = False

        def now(self) -> tuple[int, int]:
            return 0, 0

        def forget(self, _: object) -> None:
            return None

    connection, socket = plug(OpenDoor(at_once=False), Nothing(), CONFIG)  # type: ignore[arg-type]
    for chunk in chunks:
        if not connection.closing:
            connection.data_received(chunk)
    assert socket.written == b""
    connection.connection_lost(None)
    assert connection.is_closed


AFTER_CONNECT = {
    "a second CONNECT": wire.connect("again"),
    "QoS 3": wire.publish("a", b"x", 3, 1),
    "a QoS 0 publish marked as a duplicate": wire.publish("a", b"x", flags=8),
    "packet id 0 at QoS 1": wire.publish("a", b"x", 1, 0),
    "packet id 0 at QoS 2": wire.publish("a", b"x", 2, 0),
    "an empty PUBLISH": wire.packet(0x30),
    "a PUBLISH of one byte": wire.packet(0x30, b"\x00"),
    "a topic shorter than it says": wire.packet(0x30, b"\x00\x05a"),
    "no room for the packet id": wire.packet(0x32, wire.string("a") + b"\x00"),
    "an empty topic": wire.publish("", b"x"),
    "a topic with #": wire.publish("a/#", b"x"),
    "a topic with +": wire.publish("+", b"x"),
    "a topic with U+0000": wire.publish("a\0", b"x"),
    "a topic with a surrogate": wire.packet(0x30, wire.string(b"\xed\xa0\x80")),
    "a topic of the gateway": wire.publish("$SYS/uptime", b"x"),
    "PINGREQ with a body": wire.packet(0xC0, b"x"),
    "DISCONNECT with a body": wire.packet(0xE0, b"x"),
    "PUBREL with three bytes": wire.packet(0x62, b"\x00\x01\x00"),
    "PUBREL of packet id 0": wire.ack(wire.PUBREL, 0),
    "PUBACK of packet id 0": wire.ack(wire.PUBACK, 0),
    "PUBCOMP with one byte": wire.packet(0x70, b"\x01"),
    "SUBSCRIBE without a filter": wire.packet(0x82, b"\x00\x01"),
    "UNSUBSCRIBE without a filter": wire.packet(0xA2, b"\x00\x01"),
    "a reserved packet type": b"\xf0\x00",
}


@pytest.mark.parametrize("wrong", AFTER_CONNECT.values(), ids=AFTER_CONNECT)
async def test_a_violation_closes_the_connection_and_nothing_after_it_is_read(
    ingest: Ingest, log: EventLog, wrong: bytes
) -> None:
    connection, socket, front = joined(ingest)
    connection.data_received(wire.publish("before", b"", 1, 1) + wrong + wire.publish("after", b"", 1, 2))
    assert connection.closing
    assert connection.violation
    assert not connection.left_cleanly
    await log.intake.settled()
    assert [event.topic for event in await log.read(0, 10)] == ["before"]
    assert socket.written == b""
    assert front.controls == []


@pytest.mark.parametrize("first", [wire.PINGREQ_PACKET, wire.publish("a"), wire.DISCONNECT_PACKET, b"GET / HTTP/1.1"])
async def test_the_first_packet_must_be_connect(ingest: Ingest, first: bytes) -> None:
    connection, socket = plug(OpenDoor(), ingest, CONFIG)
    connection.data_received(first)
    assert (connection.closing, bytes(socket.written)) == (True, b"")


async def test_what_is_sent_right_after_connect_is_handled_only_when_the_client_is_admitted(
    ingest: Ingest, log: EventLog
) -> None:
    front = OpenDoor(at_once=False)
    connection, socket = plug(front, ingest, CONFIG)
    connection.data_received(wire.connect("dev") + wire.publish("a", b"early", 1, 1))
    connection.data_received(wire.publish("a", b"later", 1, 2))
    assert not socket.reading
    await log.intake.settled()
    assert (log.head, bytes(socket.written)) == (0, b"")
    front.admit(connection)
    assert socket.reading
    await log.intake.settled()
    assert [event.payload for event in await log.read(0, 10)] == [b"early", b"later"]
    assert bytes(socket.written) == wire.ack(wire.PUBACK, 1) + wire.ack(wire.PUBACK, 2)


async def test_a_short_packet_after_a_connect_in_two_pieces_is_answered(ingest: Ingest) -> None:
    """The length that the connection waited for belonged to the CONNECT, not to what follows."""
    front = OpenDoor(at_once=False)
    connection, socket = plug(front, ingest, CONFIG)
    stream = wire.connect("a-device-with-a-long-name") + wire.PINGREQ_PACKET
    connection.data_received(stream[:10])
    connection.data_received(stream[10:])
    front.admit(connection)
    assert bytes(socket.written) == b"\xd0\x00"
    assert socket.reading


async def test_a_packet_above_the_limit_is_refused_at_its_header(ingest: Ingest) -> None:
    connection, _, _ = joined(ingest)
    connection.data_received(b"\x30\xff\xff\xff\x7f")
    assert connection.closing
    assert "larger than broker.packet_bytes_max" in connection.violation


async def test_disconnect_is_a_clean_end_and_what_follows_it_is_not_read(ingest: Ingest, log: EventLog) -> None:
    connection, _, front = joined(ingest)
    connection.data_received(wire.DISCONNECT_PACKET + wire.publish("after", b""))
    assert (connection.left_cleanly, connection.closing) == (True, True)
    assert front.controls == []
    await log.intake.settled()
    assert log.head == 0


async def test_the_outbox_is_told_of_acknowledgements_and_one_without_deliveries_is_harmless(ingest: Ingest) -> None:
    connection, _, front = joined(ingest)
    told = []

    class Told:
        def received(self, packet_id: int) -> None:
            told.append(("received", packet_id))

        def acknowledged(self, *packet_ids: int) -> None:
            told.append(("acknowledged", *packet_ids))

        def completed(self, *packet_ids: int) -> None:
            told.append(("completed", *packet_ids))

    connection.data_received(wire.ack(wire.PUBACK, 1))
    front.outboxes["dev"] = Told()  # type: ignore[assignment]
    connection.data_received(wire.ack(wire.PUBREC, 2) + wire.ack(wire.PUBCOMP, 2) + wire.ack(wire.PUBACK, 3))
    assert told == [("received", 2), ("acknowledged", 3), ("completed", 2)]
    assert not connection.closing


async def test_a_connection_without_a_peer_address_is_a_connection_all_the_same(ingest: Ingest) -> None:
    class Anonymous(MemorySocket):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return default

    connection, _ = plug(OpenDoor(), ingest, CONFIG)
    connection.connection_made(Anonymous())
    assert connection.peer == ("", 0)
    connection.data_received(wire.connect("dev"))
    assert connection.connect is not None


async def test_the_time_of_the_last_packet_is_known_and_its_end_has_a_reason(ingest: Ingest) -> None:
    now = Now()
    connection, _ = plug(OpenDoor(), ingest, CONFIG, now)
    now.seconds += 7
    connection.data_received(wire.connect("dev") + wire.PINGREQ_PACKET[:1])
    now.seconds += 7
    connection.data_received(wire.PINGREQ_PACKET[1:])
    assert (connection.began_s, connection.heard_s) == (1000.0, 1014.0)
    now.seconds += 7
    connection.data_received(b"\x30\x7f part of a packet")
    assert connection.heard_s == 1014.0
    connection.connection_lost(ConnectionResetError("reset by peer"))
    assert connection.reason == "connection lost: reset by peer"


async def test_a_topic_is_judged_once_and_remembered_within_a_limit(
    ingest: Ingest, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.broker.connection._CACHED_TOPICS_MAX", 3)
    connection, _, _ = joined(ingest)
    for number in range(10):
        connection.data_received(wire.publish(f"t/{number % 5}", b"") * 2)
        assert len(connection._topics) <= 3
    await log.intake.settled()
    assert log.head == 20


async def test_nothing_is_written_to_a_connection_that_is_gone(ingest: Ingest, log: EventLog) -> None:
    connection, socket, front = joined(ingest)
    connection.data_received(wire.publish("a", b"", 1, 1))
    socket.abort()
    connection.connection_lost(None)
    await log.intake.settled()
    assert log.head == 1
    assert front.gone == [connection]
    connection.close("again")
    connection.relieve()
    connection.pause_writing()
    assert socket.written == b""
