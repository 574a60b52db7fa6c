"""Packets, dialects and configuration of the MQTT upstream; nothing here touches a socket."""

from __future__ import annotations

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gateway.errors import Blocked
from gateway.event import Event
from gateway.forward.envelope import RawEnvelope
from gateway.upstreams.kinds import AnyUpstreamConfig, build
from gateway.upstreams.mqtt import MqttUpstream, MqttUpstreamConfig
from gateway.upstreams.mqtt_frames import read_length, split, write_length
from gateway.upstreams.mqtt_session import Login, Session
from gateway.upstreams.mqtt_v5 import Mqtt5
from gateway.upstreams.mqtt_v311 import Mqtt311

DIALECTS = pytest.mark.parametrize("dialect", [Mqtt5(RawEnvelope(gateway_id="g", log_id="l")), Mqtt311()])


def make_events(count: int) -> list[Event]:
    return [Event(10 + n, 0, 0, "boot", "dev", "t", 1, False, b"x") for n in range(count)]


@given(st.integers(0, (1 << 28) - 1))
def test_lengths_read_back(value: int) -> None:
    encoded = write_length(value)
    assert read_length(b"?" + encoded, 1) == (value, 1 + len(encoded))
    assert read_length(encoded[:-1], 0) is None


def test_a_length_beyond_four_bytes_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="limit"):
        write_length(1 << 28)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=6), st.integers(1, 40))
def test_packets_come_out_whole_however_they_arrive(packets: list[tuple[int, bytes]], step: int) -> None:
    stream = b"".join(bytes((first,)) + write_length(len(body)) + body for first, body in packets)
    found: list[tuple[int, bytes]] = []
    rest = b""
    for at in range(0, len(stream), step):
        whole, rest = split(rest + stream[at : at + step], 1000)
        found += whole
    assert found == packets
    assert rest == b""


@DIALECTS
@given(body=st.binary(max_size=60))
def test_no_bytes_of_a_server_raise_anything_but_value_error(dialect: Mqtt5 | Mqtt311, body: bytes) -> None:
    for read in (dialect.session, dialect.answer, dialect.farewell):
        try:
            read(body)
        except ValueError:
            continue


def test_limits_and_reason_are_read_from_connack() -> None:
    packet = mqtt5.ConnAckPacket(
        receive_max=20,
        max_packet_size=5000,
        retain_available=False,
        server_keep_alive=9,
        assigned_client_id="x",
        topic_alias_max=3,
        user_properties=[("a", "b")],
        reason_str="hello",
    ).write()
    dialect = Mqtt5(RawEnvelope(gateway_id="g", log_id="l"))
    granted = dialect.session(split(packet, 1000)[0][0][1])
    assert granted == Session(inflight_max=20, packet_bytes_max=5000, retain=False, keep_alive_s=9)
    assert Session(inflight_max=5, keep_alive_s=30).within(granted) == Session(5, 5000, False, 9)


def test_refusal_tells_the_servers_words() -> None:
    packet = mqtt5.DisconnectPacket(
        reason_code=mqtt5.DisconnectReasonCode.USE_ANOTHER_SERVER, reason_str="moved", server_reference="b.example"
    ).write()
    error = Mqtt5(RawEnvelope(gateway_id="g", log_id="l")).farewell(packet[2:])
    assert isinstance(error, Blocked)
    assert "use another server (0x9C): moved b.example" in str(error)


@given(st.text(max_size=20).filter(lambda text: "\0" not in text), st.binary(max_size=50), st.booleans())
def test_3_1_1_publish_is_what_the_standard_says(topic: str, payload: bytes, retain: bool) -> None:
    event = make_events(1)[0]._replace(topic=topic, payload=payload, retain=retain)
    (packet,) = Mqtt311().publish([event], 258, retain=True, bytes_max=1)
    ((first, body),), rest = split(packet, 1000)
    assert first == 0x32 + retain
    encoded = topic.encode()
    assert body == len(encoded).to_bytes(2, "big") + encoded + b"\x01\x02" + payload
    assert rest == b""


def test_what_does_not_fit_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="65535"):
        Mqtt311().connect(Login("c" * 65_536, 30))
    with pytest.raises(ValueError, match="65535"):
        Mqtt311().publish([make_events(1)[0]._replace(topic="t" * 65_536)], 1, retain=False, bytes_max=1)


def test_3_1_1_publishes_of_a_run_until_it_is_long_enough() -> None:
    events = [event._replace(retain=True) for event in make_events(3)]
    (first,) = Mqtt311().publish(events[:1], 7, retain=False, bytes_max=1)
    assert Mqtt311().publish(events, 7, retain=False, bytes_max=1) == [first]
    packets = Mqtt311().publish(events, 7, retain=False, bytes_max=len(first) + 1)
    assert packets == [first, *Mqtt311().publish(events[1:2], 8, retain=False, bytes_max=1)]
    assert len(Mqtt311().publish(events, 7, retain=False, bytes_max=10_000)) == 3


@pytest.mark.parametrize(
    ("url", "address", "tls"),
    [
        ("mqtt://cloud.example", ("cloud.example", 1883), False),
        ("mqtts://cloud.example", ("cloud.example", 8883), True),
        ("mqtt://[::1]:99/", ("::1", 99), False),
    ],
)
def test_address_comes_from_the_url(url: str, address: tuple[str, int], tls: bool) -> None:
    config = MqttUpstreamConfig(type="mqtt", url=url)
    assert config.address == address
    assert config.tls is tls


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://cloud.example"},
        {"url": "mqtt://"},
        {"url": "cloud.example:1883"},
        {"url": "mqtt://me:secret@cloud.example"},
        {"url": "mqtt://cloud.example/topic"},
        {"url": "mqtt://cloud.example:99999"},
        {"url": "mqtt://" + "a" * 70 + ".example"},
        {"username": "me", "password": "a", "password_file": "b"},
        {"password": "a"},
        {"ca_file": "ca.pem"},
        {"qos": 0},
        {"version": "4"},
        {"type": "kafka"},
        {"envelope": "avro"},
        {"cloudevents_mode": "structured"},
        {"envelope": "cloudevents", "cloudevents_mode": "binary", "version": "3.1.1"},
        {"topic_map": {"a/#/b": "c"}},
        {"topic_map": {"a/{b}": "{c}"}},
        {"topic_map": {"a": "b/+"}},
    ],
)
def test_wrong_configuration_names_what_is_wrong(wrong: dict[str, object]) -> None:
    keys = {"type": "mqtt", "url": "mqtt://cloud.example"} | wrong
    with pytest.raises(ValidationError):
        TypeAdapter(AnyUpstreamConfig).validate_python(keys)


def test_a_password_is_not_shown() -> None:
    config = MqttUpstreamConfig(type="mqtt", url="mqtt://cloud.example", username="me", password="secret")
    assert "secret" not in repr(config)


def test_what_mqtt_3_1_1_cannot_do_is_told_with_what_to_write() -> None:
    with pytest.raises(ValidationError, match='write cloudevents_mode = "structured", or version = "5"'):
        MqttUpstreamConfig(
            type="mqtt", url="mqtt://x", version="3.1.1", envelope="cloudevents", cloudevents_mode="binary"
        )


def test_build_makes_the_kind_that_is_configured() -> None:
    config = MqttUpstreamConfig(type="mqtt", url="mqtt://cloud.example")
    assert isinstance(build(config, name="cloud", gateway_id="hub", log_id="01J"), MqttUpstream)


def test_every_key_is_described() -> None:
    assert all(field.description for field in MqttUpstreamConfig.model_fields.values())
