"""Events as CloudEvents: whatever they are, the `cloudevents` package reads what is made of them."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import properties
from gateway.event import FLAGGED, Event
from gateway.forward import cloudevents
from gateway.forward.cloudevents import CloudEvents
from gateway.forward.content import media_type, names_json
from gateway.forward.topic_map import TopicMap
from tests.site.cloudevents_reader import read_binary, read_structured
from tests.unit.forward.forward_fakes import make_event

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TOPIC = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20)
NAME = TEXT.filter(bool) | st.sampled_from(["traceparent", "tracestate", "original", "id", "data", "time", "subject"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PAYLOADS = st.binary(max_size=40) | JSON_VALUES.map(lambda value: json.dumps(value).encode()) | TEXT.map(str.encode)
CAME_WITH = st.none() | st.binary(max_size=30) | st.lists(st.tuples(NAME, TEXT), max_size=4).map(properties.write_user)
EVENTS = st.builds(
    Event,
    seq=st.integers(1, 2**63 - 1),
    received_ns=st.integers(0, 4_000_000_000 * 10**9),
    mono_ns=st.just(0),
    boot_id=st.just("boot"),
    client_id=TEXT,
    topic=TOPIC,
    qos=st.just(1),
    retain=st.booleans(),
    payload=PAYLOADS,
    properties=CAME_WITH,
    verdict=st.sampled_from([0, FLAGGED]),
)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def make_envelope(**changes: object) -> CloudEvents:
    return CloudEvents(**{"gateway_id": "greenhouse-7", "log_id": "01J"} | changes)


def binary_of(envelope: CloudEvents, event: Event) -> CloudEvent:
    declared = cloudevents.came_with(event).content_type
    return read_binary(envelope.attributes(event), media_type(event.payload, declared) or None, event.payload)


def assert_is(read: CloudEvent, event: Event) -> None:
    """Whether the attributes are those of `event`, and hold no more than attributes may."""
    attributes = read.get_attributes()
    assert read.get_id() == f"01J.{event.seq}"
    assert read.get_source() == "urn:gateway:greenhouse-7"
    assert int(read.get_time().timestamp()) == event.received_ns // 10**9
    assert int(read.get_extension("sequence")) == event.seq
    assert len(read.get_extension("sequence")) == 20
    assert read.get_extension("partitionkey") == read.get_subject()
    assert (read.get_subject() is None) == (event.client_id == "")
    assert read.get_extension("verdict") == ("flagged" if event.verdict else None)
    for name, value in attributes.items():
        assert re.fullmatch(r"[a-z0-9]+", name)
        if isinstance(value, str):
            assert value
            assert not any(unicodedata.category(each) in {"Cc", "Cs"} for each in value)
            assert not any(ord(each) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(each) <= 0xFDEF for each in value)


@given(EVENTS)
def test_every_event_is_a_cloudevent_in_binary_mode(event: Event) -> None:
    read = binary_of(make_envelope(), event)
    assert_is(read, event)
    assert (read.get_data() or b"") == event.payload


@given(st.lists(EVENTS, min_size=1, max_size=3))
@example([make_event(1, payload=b"[" * 150 + b"]" * 150)])
@example([make_event(1, payload=b"[" * 5000 + b"]" * 5000)])
@example([make_event(1, payload=b"NaN"), make_event(2, payload=b"1e999"), make_event(3, payload=b"")])
@example([make_event(1, payload=b'"\\ud800"'), make_event(2, payload=b"\xef\xbb\xbf1"), make_event(3, payload=b"1 ")])
def test_every_event_is_a_cloudevent_in_structured_mode(events: list[Event]) -> None:
    envelope = make_envelope()
    for event in events * 2:  # the second time from what is remembered
        document = envelope.structured(event)
        read = read_structured(document)
        assert_is(read, event)
        members = json.loads(document)
        if not event.payload:
            assert not members.keys() & {"data", "data_base64"}
        elif "data" in members:
            assert names_json(read.get_datacontenttype())
            assert document.endswith(b',"data":' + event.payload + b"}"), "the payload is not as it came"
        else:
            assert read.get_data() == event.payload
        data, _ = read.get_attributes(), members.pop("data", None)
        assert data == binary_of(envelope, event).get_attributes()


def test_an_event_says_what_it_is() -> None:
    assert make_envelope().attributes(make_event(42)) == [
        ("specversion", "1.0"),
        ("id", "01J.42"),
        ("time", "2023-11-14T22:13:20.000000Z"),
        ("recordedtime", "2023-11-14T22:13:20.000000Z"),
        ("sequence", "00000000000000000042"),
        ("source", "urn:gateway:greenhouse-7"),
        ("type", "gateway.message"),
        ("subject", "dev"),
        ("partitionkey", "dev"),
        ("clockquality", "synced"),
        ("topic", "dev/1/t"),
    ]


def test_what_an_event_came_with_goes_on_under_names_that_attributes_may_have() -> None:
    user = [
        ("traceparent", TRACE),
        ("tracestate", "a=1"),
        ("original", "01J.7"),
        ("Upper", "x"),
        ("with-dash", "x"),
        ("id", "forged"),
        ("verdict", "forged"),
        ("replay", "forged"),
        ("data", "x"),
        ("empty", ""),
        ("twice", "first"),
        ("twice", "second"),
        ("control", "a\nb"),
    ]
    event = make_event(1)._replace(properties=properties.write_user(user), verdict=FLAGGED)
    envelope = make_envelope(marks=[("historical", "true")])
    own = envelope.attributes(event)[-7:]
    assert own == [
        ("historical", "true"),
        ("verdict", "flagged"),
        ("traceparent", TRACE),
        ("tracestate", "a=1"),
        ("original", "01J.7"),
        ("twice", "first"),
        ("control", "a\ufffdb"),
    ]
    assert read_structured(envelope.structured(event)).get_extension("traceparent") == TRACE


def test_the_topic_is_kept_as_it_came_where_it_is_mapped() -> None:
    envelope = make_envelope(topics=TopicMap({"dev/{d}/t": "plant/{d}"}))
    assert ("topic", "dev/1/t") in envelope.attributes(make_event(1))


def test_what_is_remembered_of_topics_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudevents, "_FACES_MAX", 3)
    envelope = make_envelope()
    for seq in range(1, 20):
        read = read_structured(envelope.structured(make_event(seq, f"t/{seq % 7}")))
        assert read.get_extension("topic") == f"t/{seq % 7}"
        assert len(envelope._faces) <= 3


@pytest.mark.parametrize(
    ("payload", "declared", "found"),
    [
        (b'{"a": 1}', "", "application/json"),
        (b" [1]\n", "", "application/json"),
        (b"21.5", "", "application/json"),
        (b"true", "", "application/json"),
        (b"ON", "", "text/plain; charset=utf-8"),
        (b"{not json", "", "text/plain; charset=utf-8"),
        ("é\r\n".encode(), "", "text/plain; charset=utf-8"),
        (b"\x01\x02", "", "application/octet-stream"),
        (b"\xff", "", "application/octet-stream"),
        (b"NaN", "", "text/plain; charset=utf-8"),
        (b"", "", ""),
        (b"1", "text/csv", "text/csv"),
        (b"1", 'text/csv; header="present"', 'text/csv; header="present"'),
        (b"1", "no media type", "application/json"),
        (b"1", "text/csv; \n", "application/json"),
        (b"{}", "application/cloudevents+json", "application/json"),
        (b"{}", "Application/CloudEvents+json; charset=utf-8", "application/json"),
        (b"x", "application/cloudevents", "text/plain; charset=utf-8"),
    ],
)
def test_the_type_of_a_payload_is_told(payload: bytes, declared: str, found: str) -> None:
    assert media_type(payload, declared) == found


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        ("application/json", True),
        ("text/JSON", True),
        ("application/senml+json; charset=utf-8", True),
        ("application/jsonl", False),
        ("text/plain; x=/json", False),
        ("json", False),
    ],
)
def test_json_is_known_by_its_name(content_type: str, is_json: bool) -> None:
    assert names_json(content_type) is is_json
