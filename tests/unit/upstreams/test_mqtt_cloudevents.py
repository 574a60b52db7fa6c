"""CloudEvents in PUBLISH packets: byte for byte what the codec writes, and read by the `cloudevents` package."""

from __future__ import annotations

import json

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import properties
from gateway.event import FLAGGED, Event
from gateway.forward.cloudevents import CloudEvents, came_with
from gateway.forward.content import media_type
from gateway.forward.topic_map import TopicMap
from gateway.upstreams import mqtt_cloudevents
from gateway.upstreams.mqtt_cloudevents import BinaryPublisher, StructuredPublisher
from gateway.upstreams.mqtt_frames import split
from gateway.upstreams.mqtt_v311 import Mqtt311
from tests.site.cloudevents_reader import read_binary, read_structured
from tests.unit.contracts.contracts_of import contracts_of
from tests.unit.forward.test_cloudevents import EVENTS
from tests.unit.forward.test_described import Holder
from tests.unit.upstreams.test_mqtt_publish import Told

TIMES = st.lists(st.tuples(st.integers(0, 10**19), st.sampled_from(["synced", "corrected", "unsynced"])), max_size=4)
MARKS = st.sampled_from([(), (("replay", "7"),), (("historical", "true"),)])
MAPS = st.sampled_from([TopicMap(), TopicMap({"#": "{gateway}/{topic}"}, "site")])


def make_envelope(events: list[Event], times: list[tuple[int, str]], **changes: object) -> CloudEvents:
    told = Told({event.payload: time for event, time in zip(events, times, strict=False)})
    return CloudEvents(**{"gateway_id": "hub", "log_id": "01J", "true_time": told} | changes)


def by_codec(envelope: CloudEvents, event: Event, packet_id: int) -> bytes:
    return mqtt5.PublishPacket(
        envelope.topics.of(event.topic),
        event.payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        retain=event.retain,
        packet_id=packet_id,
        content_type=media_type(event.payload, came_with(event).content_type) or None,
        user_properties=envelope.attributes(event),
    ).write()


@given(st.lists(EVENTS, min_size=1, max_size=4), TIMES, st.integers(1, 65_535), MARKS, MAPS)
def test_binary_packets_are_those_of_the_codec_and_cloudevents(
    events: list[Event], times: list[tuple[int, str]], packet_id: int, marks: tuple[tuple[str, str]], topics: TopicMap
) -> None:
    envelope = make_envelope(events, times, marks=marks, topics=topics)
    write = BinaryPublisher(envelope).write
    for event in events * 2:  # the second time from what is remembered
        written = write(event, packet_id, retain=event.retain)
        assert written == by_codec(envelope, event, packet_id)
        packet, size = mqtt5.read(memoryview(written))
        assert size == len(written)
        read = read_binary(packet.user_properties, packet.content_type, packet.payload)
        assert (read.get_data() or b"") == event.payload
        assert read.get_id() == f"01J.{event.seq}"


@given(st.lists(EVENTS, min_size=1, max_size=3), TIMES, st.integers(1, 65_535), MARKS, MAPS)
def test_structured_packets_hold_a_document_in_either_version(
    events: list[Event], times: list[tuple[int, str]], packet_id: int, marks: tuple[tuple[str, str]], topics: TopicMap
) -> None:
    envelope = make_envelope(events, times, marks=marks, topics=topics, is_binary=False)
    mqtt_5, mqtt_311 = StructuredPublisher(envelope), Mqtt311(topics, envelope.structured)
    for event in events:
        target = topics.of(event.topic)
        packet, _ = mqtt5.read(memoryview(mqtt_5.write(event, packet_id, retain=event.retain)))
        assert (packet.topic, packet.packet_id, packet.retain) == (target, packet_id, event.retain)
        assert (packet.content_type, packet.user_properties) == ("application/cloudevents+json", [])
        (as_311,) = mqtt_311.publish([event], packet_id, retain=True, bytes_max=1)
        ((first, body),), _ = split(as_311, 1 << 20)
        assert first == 0x32 + event.retain
        assert body == len(target.encode()).to_bytes(2) + target.encode() + packet_id.to_bytes(2) + packet.payload
        read = read_structured(packet.payload)
        assert read.get_id() == f"01J.{event.seq}"
        assert dict(marks).items() <= read.get_attributes().items()


def test_topics_beyond_the_limit_of_the_memory_come_out_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_cloudevents, "_FACES_MAX", 3)
    envelope = make_envelope([], [])
    publisher = BinaryPublisher(envelope)
    for seq in range(1, 30):
        event = Event(seq, seq * 10**9, 0, "boot", f"dev{seq % 5}", f"t/{seq % 7}", 1, False, b"x")
        assert publisher.write(event, seq, retain=False) == by_codec(envelope, event, seq)
        assert len(publisher._faces) <= 3


def test_a_device_that_sends_cloudevents_itself_is_not_taken_for_us() -> None:
    theirs = json.dumps({"specversion": "1.0", "id": "1", "source": "/their", "type": "theirs"}).encode()
    declared = b"\x03\x00\x1bapplication/cloudevents+json" + properties.write_user([("source", "/their")])
    event = Event(5, 0, 0, "boot", "dev", "t", 1, False, theirs, properties=declared, verdict=FLAGGED)
    packet, _ = mqtt5.read(memoryview(BinaryPublisher(make_envelope([], [])).write(event, 1, retain=False)))
    assert packet.content_type == "application/json"
    assert dict(packet.user_properties)["source"] == "urn:gateway:hub"


@pytest.mark.parametrize(
    ("changes", "content_type"),
    [
        ({}, "application/cbor"),
        ({"properties": b"\x03\x00\x08text/csv"}, "text/csv"),
        ({"properties": properties.write_user([("a", "b")])}, "application/cbor"),
        ({"verdict": FLAGGED}, "text/plain; charset=utf-8"),
    ],
)
def test_a_contract_tells_how_payloads_are_written_that_fulfil_it(
    changes: dict[str, object], content_type: str
) -> None:
    contracts = contracts_of('[packed]\ntopic = "p"\ncodec = "cbor"\nvalue = "any"')
    event = Event(5, 0, 0, "boot", "dev", "p", 1, False, b"ab")._replace(**changes)
    envelope = make_envelope([], [], contracts=Holder(contracts))
    packet, _ = mqtt5.read(memoryview(BinaryPublisher(envelope).write(event, 1, retain=False)))
    assert packet.content_type == content_type
    structured = read_structured(envelope.structured(event))
    assert structured.get_datacontenttype() == content_type
    assert structured.get_type() == "packed.v1"
    assert structured.get_data() == b"ab"


@pytest.mark.parametrize(
    ("publisher", "wrong"),
    [
        (BinaryPublisher, {"topic": "t" * 65_536}),
        (BinaryPublisher, {"payload": bytes(1 << 28)}),
        (StructuredPublisher, {"topic": "t" * 65_536}),
    ],
)
def test_what_does_not_fit_is_a_value_error(
    publisher: type[BinaryPublisher | StructuredPublisher], wrong: dict[str, object]
) -> None:
    event = Event(1, 0, 0, "boot", "dev", "t", 1, False, b"x")._replace(**wrong)
    with pytest.raises(ValueError, match="limit"):
        publisher(make_envelope([], [])).write(event, 1, retain=False)
