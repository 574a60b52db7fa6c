"""Events as PUBLISH packets: the writer by hand says what the codec says, byte for byte."""

from __future__ import annotations

from typing import NamedTuple

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import properties
from gateway.event import FLAGGED, Event
from gateway.forward.envelope import RawEnvelope
from gateway.forward.topic_map import TopicMap
from gateway.upstreams import mqtt_publish
from gateway.upstreams.mqtt_publish import Publisher

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20)


class Told(NamedTuple):
    """A clock that says the time of each time of receipt."""

    times: dict[int, tuple[int, str]]

    def of(self, event: Event) -> tuple[int, str]:
        return self.times.get(event.received_ns, (event.received_ns, "synced"))


def write(publisher: Publisher, event: Event, packet_id: int, *, retain: bool) -> bytes:
    (packet,) = publisher.write_run([event], packet_id, retain=retain, bytes_max=1)
    return packet


def by_codec(envelope: RawEnvelope, event: Event, packet_id: int, *, retain: bool) -> bytes:
    came_with = properties.beside(event.properties or b"")
    return mqtt5.PublishPacket(
        envelope.topics.of(event.topic),
        event.payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        retain=retain,
        packet_id=packet_id,
        payload_format_indicator=int(came_with.is_text and is_utf8(event.payload)),
        content_type=came_with.content_type or None,
        user_properties=envelope.properties(event),
    ).write()


def is_utf8(payload: bytes) -> bool:
    return "\ufffd" not in payload.decode(errors="replace") or "\ufffd".encode() in payload


PROPERTIES = st.builds(
    lambda is_text, content_type, user: is_text + content_type + properties.write_user(user),
    st.sampled_from([b"", b"\x01\x01", b"\x01\x00"]),
    st.sampled_from([b"", b"\x03\x00\x08text/csv", b"\x08\x00\x05reply\x02\x00\x00\x00\x09"]),
    st.lists(st.tuples(TEXT | st.sampled_from(["traceparent", "id", "verdict", "replay"]), TEXT), max_size=3),
)
EVENTS = st.builds(
    Event,
    seq=st.integers(1, 2**63 - 1),
    received_ns=st.integers(0, 4_000_000_000 * 10**9),
    mono_ns=st.just(0),
    boot_id=st.just("boot"),
    client_id=TEXT,
    topic=TEXT,
    qos=st.just(1),
    retain=st.booleans(),
    payload=st.binary(max_size=40) | st.sampled_from([100, 127, 128, 16_000, 16_384]).map(bytes),
    properties=st.none() | PROPERTIES | st.binary(max_size=20),
    verdict=st.sampled_from([0, FLAGGED]),
)


@given(
    st.lists(EVENTS, min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 10**19), st.sampled_from(["synced", "corrected", "unsynced"])), max_size=5),
    st.integers(1, 65_535),
    st.tuples(TEXT, TEXT),
    st.lists(st.tuples(TEXT, TEXT), max_size=2),
)
def test_packets_are_those_of_the_codec(
    events: list[Event],
    times: list[tuple[int, str]],
    packet_id: int,
    ids: tuple[str, str],
    marks: list[tuple[str, str]],
) -> None:
    told = Told({event.received_ns: time for event, time in zip(events, times, strict=False)})
    topics = TopicMap({"+": "one/{gateway}/{topic}"}, "g") if len(events) == 1 else TopicMap()
    envelope = RawEnvelope(gateway_id=ids[0], log_id=ids[1], true_time=told, marks=marks, topics=topics)
    publisher = Publisher(envelope)
    for event in events * 2:  # the second time from what is remembered
        expected = by_codec(envelope, event, packet_id, retain=event.retain)
        assert write(publisher, event, packet_id, retain=True) == expected


STAMPS = st.tuples(st.integers(0, 2) | st.just(5 * 10**18), st.integers(0, 2), st.sampled_from(["boot", "before"]))
RUNS = st.lists(
    st.tuples(EVENTS, STAMPS, st.sampled_from(["a", "b"]), st.sampled_from(["dev", "other"])).map(
        lambda of: of[0]._replace(
            received_ns=of[1][0], mono_ns=of[1][1], boot_id=of[1][2], topic=of[2], client_id=of[3]
        )
    ),
    min_size=1,
    max_size=12,
)


@given(RUNS, st.integers(1, 60_000), st.booleans(), st.integers(1, 3000))
def test_a_run_is_what_its_events_are_one_by_one_until_it_is_long_enough(
    events: list[Event], packet_id: int, retain: bool, bytes_max: int
) -> None:
    told = Told({0: (10**18, "corrected"), 1: (1, "unsynced")})
    envelope = RawEnvelope(gateway_id="g", log_id="l", true_time=told)
    publisher = Publisher(envelope)
    for _ in range(2):  # the second time from what is remembered
        packets = publisher.write_run(events, packet_id, retain=retain, bytes_max=bytes_max)
        assert packets == [
            by_codec(envelope, event, packet_id + at, retain=event.retain and retain)
            for at, event in enumerate(events[: len(packets)])
        ]
        assert len(b"".join(packets[:-1])) < bytes_max
        assert len(packets) == len(events) or len(b"".join(packets)) >= bytes_max


def test_an_event_that_is_sent_again_may_carry_a_better_time() -> None:
    event = Event(1, 5 * 10**9, 0, "boot", "dev", "t", 1, False, b"x")
    times: dict[int, tuple[int, str]] = {}
    envelope = RawEnvelope(gateway_id="g", log_id="l", true_time=Told(times))
    publisher = Publisher(envelope)
    packets = set()
    for times[5 * 10**9] in ((5 * 10**9, "synced"), (5 * 10**9, "unsynced"), (10**18, "corrected")):
        packet = write(publisher, event, 1, retain=False)
        assert packet == by_codec(envelope, event, 1, retain=False)
        packets.add(packet)
    assert len(packets) == 3


def test_topics_beyond_the_limit_of_the_memory_come_out_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_publish, "_FACES_MAX", 3)
    envelope = RawEnvelope(gateway_id="g", log_id="l")
    publisher = Publisher(envelope)
    for seq in range(1, 30):
        event = Event(seq, seq * 10**9, 0, "boot", f"dev{seq % 5}", f"t/{seq % 7}", 1, False, b"x")
        assert write(publisher, event, seq, retain=False) == by_codec(envelope, event, seq, retain=False)
        assert len(publisher._faces) <= 3


def test_what_an_event_came_with_goes_on_beside_what_names_it() -> None:
    user = [("traceparent", "00-1-2-01"), ("Unit", "Cel"), ("id", "forged"), ("replay", "forged"), ("Unit", "again")]
    came_with = b"\x01\x01\x03\x00\x08text/csv\x08\x00\x05reply" + properties.write_user(user)
    event = Event(7, 0, 0, "boot", "dev", "a/b", 1, False, b"1;2", properties=came_with, verdict=FLAGGED)
    topics = TopicMap({"a/{x}": "plant/{x}"})
    envelope = RawEnvelope(gateway_id="g", log_id="l", topics=topics, marks=[("historical", "true")])
    packet, _ = mqtt5.read(memoryview(write(Publisher(envelope), event, 1, retain=False)))
    assert (packet.topic, packet.payload) == ("plant/b", b"1;2")
    assert (packet.payload_format_indicator, packet.content_type, packet.response_topic) == (1, "text/csv", None)
    assert packet.user_properties == [
        ("id", "l.7"),
        ("time", "1970-01-01T00:00:00.000000Z"),
        ("source", "urn:gateway:g"),
        ("device", "dev"),
        ("clockquality", "synced"),
        ("topic", "a/b"),
        ("historical", "true"),
        ("verdict", "flagged"),
        ("traceparent", "00-1-2-01"),
        ("Unit", "Cel"),
        ("Unit", "again"),
    ]


@pytest.mark.parametrize("wrong", [{"topic": "t" * 65_536}, {"payload": bytes(1 << 28)}])
def test_what_does_not_fit_is_a_value_error(wrong: dict[str, object]) -> None:
    event = Event(1, 0, 0, "boot", "dev", "t", 1, False, b"x")._replace(**wrong)
    with pytest.raises(ValueError, match="limit"):
        write(Publisher(RawEnvelope(gateway_id="g", log_id="l")), event, 1, retain=False)
