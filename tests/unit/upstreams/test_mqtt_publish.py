"""Events as PUBLISH packets: the writer by hand says what the codec says, byte for byte."""

from __future__ import annotations

from typing import NamedTuple

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.event import Event
from gateway.forward.envelope import RawEnvelope
from gateway.upstreams import mqtt_publish
from gateway.upstreams.mqtt_publish import Publisher

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20)


class Told(NamedTuple):
    """A clock that says what the payload of an event begins with."""

    times: dict[bytes, tuple[int, str]]

    def of(self, event: Event) -> tuple[int, str]:
        return self.times.get(event.payload, (event.received_ns, "synced"))


def by_codec(envelope: RawEnvelope, event: Event, packet_id: int, *, retain: bool) -> bytes:
    return mqtt5.PublishPacket(
        event.topic,
        event.payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        retain=retain,
        packet_id=packet_id,
        user_properties=envelope.properties(event),
    ).write()


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
    told = Told({event.payload: time for event, time in zip(events, times, strict=False)})
    envelope = RawEnvelope(gateway_id=ids[0], log_id=ids[1], true_time=told, marks=marks)
    write = Publisher(envelope).write
    for event in events * 2:  # the second time from what is remembered
        expected = by_codec(envelope, event, packet_id, retain=event.retain)
        assert write(event, packet_id, retain=event.retain) == expected


def test_an_event_that_is_sent_again_may_carry_a_better_time() -> None:
    event = Event(1, 5 * 10**9, 0, "boot", "dev", "t", 1, False, b"x")
    times: dict[bytes, tuple[int, str]] = {}
    envelope = RawEnvelope(gateway_id="g", log_id="l", true_time=Told(times))
    write = Publisher(envelope).write
    packets = set()
    for times[b"x"] in ((5 * 10**9, "synced"), (5 * 10**9, "unsynced"), (10**18, "corrected")):
        packet = write(event, 1, retain=False)
        assert packet == by_codec(envelope, event, 1, retain=False)
        packets.add(packet)
    assert len(packets) == 3


def test_topics_beyond_the_limit_of_the_memory_come_out_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_publish, "_FACES_MAX", 3)
    envelope = RawEnvelope(gateway_id="g", log_id="l")
    publisher = Publisher(envelope)
    for seq in range(1, 30):
        event = Event(seq, seq * 10**9, 0, "boot", f"dev{seq % 5}", f"t/{seq % 7}", 1, False, b"x")
        assert publisher.write(event, seq, retain=False) == by_codec(envelope, event, seq, retain=False)
        assert len(publisher._faces) <= 3


@pytest.mark.parametrize("wrong", [{"topic": "t" * 65_536}, {"payload": bytes(1 << 28)}])
def test_what_does_not_fit_is_a_value_error(wrong: dict[str, object]) -> None:
    event = Event(1, 0, 0, "boot", "dev", "t", 1, False, b"x")._replace(**wrong)
    with pytest.raises(ValueError, match="limit"):
        Publisher(RawEnvelope(gateway_id="g", log_id="l")).write(event, 1, retain=False)
