"""Runs of plain messages are taken in as every other message is, and end where anything else begins."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.broker.limits import Pace
from gateway.broker.plain import NO_RUN, PlainRun
from tests.unit.broker.ports import Now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ingest.ingest import Message

TOPIC = b"devices/a/t"
TOPICS = {TOPIC: "devices/a/t"}
STAMP = (5, 6)


def publish(packet_id: int, payload: bytes = b"21.5", *, first: int = 0x32, topic: bytes = TOPIC) -> bytes:
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", packet_id) + payload
    length, digits = len(body), bytearray()
    while True:
        digits.append(length & 0x7F | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return bytes([first, *digits]) + body


class Intake:
    def __init__(self) -> None:
        self.taken: list[tuple[object, ...]] = []

    def append_run(self, received_ns: int, mono_ns: int, client_id: str, messages: Sequence[Message]) -> None:
        self.taken += [(received_ns, mono_ns, client_id, topic, retain, payload) for topic, retain, payload in messages]


def take(
    data: bytes, *, until: int = 1 << 20, packet_bytes_max: int = 1 << 18
) -> tuple[int, list[tuple[object, ...]], bytes]:
    intake, receipts = Intake(), bytearray()
    end = PlainRun("a", TOPICS, intake, packet_bytes_max).take(STAMP, data, 0, until, receipts)
    return end, intake.taken, bytes(receipts)


def test_a_run_is_taken_with_its_receipts_in_order() -> None:
    data = publish(1, b"one") + publish(0x0203, b"", first=0x33) + publish(3, bytes(300))
    end, taken, receipts = take(data)
    assert end == len(data)
    assert taken == [
        (*STAMP, "a", "devices/a/t", False, b"one"),
        (*STAMP, "a", "devices/a/t", True, b""),
        (*STAMP, "a", "devices/a/t", False, bytes(300)),
    ]
    assert receipts == b"\x40\x02\x00\x01\x40\x02\x02\x03\x40\x02\x00\x03"


@pytest.mark.parametrize(
    "other",
    [
        publish(2, first=0x3A),  # a duplicate
        publish(2, first=0x30),
        publish(2, first=0x34),
        publish(2, first=0x36),
        publish(0),
        publish(2, topic=b"devices/b/t"),
        publish(2, topic=b""),
        publish(2, bytes(20_000)),
        publish(2)[:-1],
        b"\xc0\x00",
        b"\x32",
        b"\x32\x03\x00\x00\x00",
        b"\x32\xff\xff\xff\xff\x01",
        b"\x32\x10\xff\xff" + bytes(14),
    ],
)
def test_a_run_ends_before_whatever_is_not_plain(other: bytes) -> None:
    first = publish(1)
    end, taken, receipts = take(first + other)
    assert end == len(first)
    assert len(taken) == 1
    assert receipts == b"\x40\x02\x00\x01"


def test_a_run_of_like_messages_is_told_apart_from_what_only_begins_like_them() -> None:
    data = publish(1, b"one") + publish(2, b"two") + publish(3, b"four") + publish(4, b"five") + publish(5, b"one")
    end, taken, receipts = take(data + publish(6, b"one")[:-1])
    assert end == len(data)
    assert [payload for *_, payload in taken] == [b"one", b"two", b"four", b"five", b"one"]
    assert receipts == b"".join(b"\x40\x02\x00" + bytes([packet_id]) for packet_id in range(1, 6))
    assert take(publish(1) + publish(0))[0] == len(publish(1))


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([TOPIC, b"t"]), st.binary(max_size=3)), max_size=12))
def test_a_run_takes_what_its_packets_say_one_by_one(messages: list[tuple[int, bytes, bytes]]) -> None:
    packets = [publish(7, payload, first=0x32 + (kind == 1), topic=topic) for kind, topic, payload in messages]
    end, taken, receipts = take(b"".join(packets))
    each = [take(packet) for packet in packets]
    plain = next((at for at, one in enumerate(each) if not one[0]), len(each))
    assert end == len(b"".join(packets[:plain]))
    assert taken == [message for one in each[:plain] for message in one[1]]
    assert receipts == b"".join(one[2] for one in each[:plain])


def test_a_run_ends_at_its_limits() -> None:
    data = publish(1) * 10
    assert take(data, until=len(data) // 2)[0] == len(data) // 2
    assert take(data, packet_bytes_max=10)[0] == 0
    assert NO_RUN.take(STAMP, data, 0, 1 << 20, bytearray()) == 0


@given(st.integers(1, 50), st.lists(st.binary(max_size=20), min_size=1, max_size=40))
def test_a_run_keeps_to_the_pace_of_its_client(rate: int, payloads: list[bytes]) -> None:
    pace, intake, receipts = Pace(rate, Now()), Intake(), bytearray()
    data = b"".join(publish(1, payload, topic=b"t") for payload in payloads)
    end = PlainRun("a", {b"t": "t"}, intake, 1 << 18, pace).take(STAMP, data, 0, 1 << 20, receipts)
    assert len(intake.taken) <= rate
    assert pace.room == rate - len(intake.taken)
    assert (end == len(data)) == (len(intake.taken) == len(payloads))


@given(st.binary(max_size=60))
def test_no_bytes_whatsoever_raise_or_lead_beyond_their_end(data: bytes) -> None:
    end, taken, receipts = take(publish(7) + data)
    assert len(publish(7)) <= end <= len(publish(7) + data)
    assert len(receipts) == 4 * len(taken)


def test_messages_are_judged_by_contracts_that_came_after_their_client() -> None:
    intake, judged = Intake(), Intake()
    run = PlainRun("a", TOPICS, intake, 1 << 18)
    run.take(STAMP, publish(1), 0, 1 << 20, bytearray())
    intake.append_run = judged.append_run  # type: ignore[method-assign]
    run.take(STAMP, publish(2), 0, 1 << 20, bytearray())
    assert len(intake.taken) == len(judged.taken) == 1
