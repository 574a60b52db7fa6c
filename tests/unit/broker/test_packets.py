"""Reading and writing MQTT 3.1.1 packets: what is right is read exactly, what is forbidden is a violation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.broker import packets
from gateway.broker.packets import Connect, Will
from gateway.errors import ProtocolViolation
from gateway.topics import is_valid_topic
from tests.unit.broker.wire import connect_body, delivered, packet, split, string

if TYPE_CHECKING:
    from collections.abc import Callable

BYTES_MAX = 268_435_455

WRONG_HEADERS = {
    "reserved type 0": b"\x00\x00",
    "reserved type 15": b"\xf0\x00",
    "CONNACK from a client": b"\x20\x02",
    "SUBACK from a client": b"\x90\x03",
    "UNSUBACK from a client": b"\xb0\x02",
    "PINGRESP from a client": b"\xd0\x00",
    "CONNECT with flags": b"\x11\x0c",
    "PUBACK with flags": b"\x42\x02",
    "PUBREC with flags": b"\x51\x02",
    "PUBREL without its flag": b"\x60\x02",
    "PUBREL with other flags": b"\x63\x02",
    "PUBCOMP with flags": b"\x78\x02",
    "SUBSCRIBE without its flag": b"\x80\x06",
    "UNSUBSCRIBE without its flag": b"\xa0\x05",
    "PINGREQ with flags": b"\xc2\x00",
    "DISCONNECT with flags": b"\xe1\x00",
    "a remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "a fourth length byte that says more follow": b"\x30\x80\x80\x80\x80",
}


@pytest.mark.parametrize("data", WRONG_HEADERS.values(), ids=WRONG_HEADERS)
def test_a_forbidden_fixed_header_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        packets.read_header(data, 0, BYTES_MAX)


@pytest.mark.parametrize(
    ("first_byte", "kind", "flags"),
    [
        (0x10, packets.CONNECT, 0),
        (0x30, packets.PUBLISH, 0),
        (0x3F, packets.PUBLISH, 15),
        (0x40, packets.PUBACK, 0),
        (0x50, packets.PUBREC, 0),
        (0x62, packets.PUBREL, 2),
        (0x70, packets.PUBCOMP, 0),
        (0x82, packets.SUBSCRIBE, 2),
        (0xA2, packets.UNSUBSCRIBE, 2),
        (0xC0, packets.PINGREQ, 0),
        (0xE0, packets.DISCONNECT, 0),
    ],
)
def test_a_header_tells_type_flags_and_where_the_body_is(first_byte: int, kind: int, flags: int) -> None:
    data = b"skipped" + packet(first_byte, b"x" * 200)
    assert packets.read_header(data, 7, BYTES_MAX) == (kind, flags, 10, 210)


@pytest.mark.parametrize(
    ("encoded", "length"),
    [
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\x80\x01", 128),
        (b"\xff\x7f", 16_383),
        (b"\x80\x80\x01", 16_384),
        (b"\xff\xff\x7f", 2_097_151),
        (b"\x80\x80\x80\x01", 2_097_152),
        (b"\xff\xff\xff\x7f", 268_435_455),
    ],
)
def test_a_remaining_length_is_read_as_table_2_4_of_the_specification_says(encoded: bytes, length: int) -> None:
    header = packets.read_header(b"\x30" + encoded, 0, BYTES_MAX)
    assert header is not None
    assert header.end - header.start == length
    assert packets._length(length) == encoded


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x80", b"\x30\xff\xff\xff"])
def test_a_header_that_has_not_all_come_yet_is_waited_for(data: bytes) -> None:
    assert packets.read_header(data, 0, BYTES_MAX) is None


def test_a_packet_may_be_as_large_as_its_limit_and_no_larger() -> None:
    assert packets.read_header(b"\x30\x80\x08", 0, 1024) is not None
    with pytest.raises(ProtocolViolation, match=r"1025 bytes is larger than broker\.packet_bytes_max"):
        packets.read_header(b"\x30\x81\x08", 0, 1024)


@given(st.binary(max_size=12), st.integers(0, 12), st.integers(0, BYTES_MAX))
def test_any_bytes_are_a_header_or_the_beginning_of_one_or_a_violation(data: bytes, at: int, bytes_max: int) -> None:
    try:
        header = packets.read_header(data, at, bytes_max)
    except ProtocolViolation:
        return
    if header is not None:
        assert at + 2 <= header.start <= at + 5
        assert 0 <= header.end - header.start <= bytes_max


TOPICS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(is_valid_topic)


@given(TOPICS, st.binary(max_size=300), st.integers(0, 2), st.integers(1, 65_535), st.booleans(), st.booleans())
def test_a_written_publish_is_read_back(
    topic: str, payload: bytes, qos: int, packet_id: int, retain: bool, duplicate: bool
) -> None:
    written = packets.write_publish(topic, payload, qos, packet_id, retain=retain, duplicate=duplicate)
    header = packets.read_header(written, 0, BYTES_MAX)
    assert header is not None
    assert (header.kind, header.end) == (packets.PUBLISH, len(written))
    (taken,) = split(written)
    assert delivered(taken) == (topic, payload, qos, packet_id if qos else 0, retain, duplicate)
    assert packets.read_topic(topic.encode()) == topic


def test_packets_are_written_as_the_specification_draws_them() -> None:
    assert packets.write_publish("a/b", b"hi") == b"\x30\x07\x00\x03a/bhi"
    assert packets.write_publish("a", b"", 1, 10, retain=True) == b"\x33\x05\x00\x01a\x00\x0a"
    assert packets.write_publish("a", b"!", 2, 10, duplicate=True) == b"\x3c\x06\x00\x01a\x00\x0a!"
    assert packets.write_ack(packets.PUBACK, 258) == b"\x40\x02\x01\x02"
    assert packets.write_ack(packets.PUBREC, 1) == b"\x50\x02\x00\x01"
    assert packets.write_ack(packets.PUBREL, 1) == b"\x62\x02\x00\x01"
    assert packets.write_ack(packets.PUBCOMP, 65_535) == b"\x70\x02\xff\xff"
    assert packets.write_connack(packets.BAD_LOGIN) == b"\x20\x02\x00\x04"
    assert packets.PINGRESP_PACKET == b"\xd0\x00"


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("client_id", ["a", "Gewächshaus-7", "x" * 300])
def test_the_connect_that_the_session_engine_is_told_can_be_read(client_id: str, clean: bool) -> None:
    written = packets.write_connect(client_id, clean_session=clean)
    header = packets.read_header(written, 0, BYTES_MAX)
    assert header is not None
    assert packets.read_connect(written[header.start :]) == Connect("MQTT", 4, client_id, clean, 0, None, None, None)


BAD_STRINGS = {
    "a byte that is not UTF-8": b"\xff",
    "an overlong form": b"\xc0\xaf",
    "a sequence cut short": b"\xe2\x82",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "U+0000": b"a\x00b",
}
BAD_TOPICS = {"empty": b"", "with #": b"a/#", "with +": b"+/b", "with + in a level": b"a+"} | BAD_STRINGS


@pytest.mark.parametrize("raw", BAD_TOPICS.values(), ids=BAD_TOPICS)
def test_a_bad_topic_is_a_violation(raw: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        packets.read_topic(raw)


def test_a_byte_order_mark_is_a_character_of_a_topic_like_any_other() -> None:
    assert packets.read_topic(b"\xef\xbb\xbfa") == "\ufeffa"


READERS: dict[str, Callable[[bytes], object]] = {
    "acknowledgement": packets.read_packet_id,
    "SUBSCRIBE": packets.read_subscribe,
    "UNSUBSCRIBE": packets.read_unsubscribe,
    "CONNECT": packets.read_connect,
}


def _connect(flags: int, rest: bytes = b"", protocol: bytes = b"MQTT", level: int = 4) -> bytes:
    return string(protocol) + bytes([level, flags, 0, 60]) + string("id") + rest


WRONG_BODIES: list[tuple[str, str, bytes]] = [
    ("acknowledgement", "empty", b""),
    ("acknowledgement", "one byte", b"\x01"),
    ("acknowledgement", "three bytes", b"\x00\x01\x00"),
    ("acknowledgement", "packet id 0", b"\x00\x00"),
    ("SUBSCRIBE", "empty", b""),
    ("SUBSCRIBE", "half a packet id", b"\x00"),
    ("SUBSCRIBE", "packet id 0", b"\x00\x00" + string("a") + b"\x00"),
    ("SUBSCRIBE", "no filter", b"\x00\x01"),
    ("SUBSCRIBE", "filter without QoS", b"\x00\x01" + string("a")),
    ("SUBSCRIBE", "filter shorter than it says", b"\x00\x01\x00\x05a\x00"),
    ("SUBSCRIBE", "QoS 3", b"\x00\x01" + string("a") + b"\x03"),
    ("SUBSCRIBE", "reserved bits beside the QoS", b"\x00\x01" + string("a") + b"\x81"),
    ("SUBSCRIBE", "empty filter", b"\x00\x01" + string("") + b"\x00"),
    ("SUBSCRIBE", "# that is not last", b"\x00\x01" + string("#/a") + b"\x00"),
    ("SUBSCRIBE", "# within a level", b"\x00\x01" + string("a#") + b"\x00"),
    ("SUBSCRIBE", "+ within a level", b"\x00\x01" + string("a+/b") + b"\x00"),
    ("SUBSCRIBE", "a second filter cut short", b"\x00\x01" + string("a") + b"\x00" + b"\x00"),
    ("UNSUBSCRIBE", "empty", b""),
    ("UNSUBSCRIBE", "packet id 0", b"\x00\x00" + string("a")),
    ("UNSUBSCRIBE", "no filter", b"\x00\x01"),
    ("UNSUBSCRIBE", "filter shorter than it says", b"\x00\x01\x00\x05a"),
    ("UNSUBSCRIBE", "empty filter", b"\x00\x01" + string("")),
    ("UNSUBSCRIBE", "+ within a level", b"\x00\x01" + string("a+")),
    ("CONNECT", "empty", b""),
    ("CONNECT", "protocol name shorter than it says", b"\x00\x04MQ"),
    ("CONNECT", "no level", string("MQTT")),
    ("CONNECT", "no flags", string("MQTT") + b"\x04"),
    ("CONNECT", "no keep-alive", string("MQTT") + b"\x04\x02\x00"),
    ("CONNECT", "no client id", string("MQTT") + b"\x04\x02\x00\x3c"),
    ("CONNECT", "reserved flag", _connect(0x03)),
    ("CONNECT", "will of QoS 3", _connect(0x1E, string("t") + string("m"))),
    ("CONNECT", "will QoS and no will", _connect(0x0A)),
    ("CONNECT", "will retain and no will", _connect(0x22)),
    ("CONNECT", "will without topic", _connect(0x06)),
    ("CONNECT", "will without message", _connect(0x06, string("t"))),
    ("CONNECT", "will with an empty topic", _connect(0x06, string("") + string("m"))),
    ("CONNECT", "will with a wildcard", _connect(0x06, string("a/+") + string("m"))),
    ("CONNECT", "password and no user name", _connect(0x42, string("secret"))),
    ("CONNECT", "user name missing", _connect(0x82)),
    ("CONNECT", "password missing", _connect(0xC2, string("user"))),
    ("CONNECT", "bytes after its end", _connect(0x02, b"x")),
]
for _what, _raw in BAD_STRINGS.items():
    WRONG_BODIES += [
        ("CONNECT", f"client id with {_what}", connect_body(_raw)),
        ("CONNECT", f"user name with {_what}", _connect(0x82, string(_raw))),
        ("SUBSCRIBE", _what, b"\x00\x01" + string(_raw) + b"\x00"),
        ("UNSUBSCRIBE", _what, b"\x00\x01" + string(_raw)),
    ]


@pytest.mark.parametrize(
    ("reader", "body"), [(name, body) for name, _, body in WRONG_BODIES], ids=[f"{n}: {w}" for n, w, _ in WRONG_BODIES]
)
def test_a_malformed_body_is_a_violation(reader: str, body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        READERS[reader](body)


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=40))
def test_a_reader_of_any_bytes_raises_nothing_but_a_violation(name: str, body: bytes) -> None:
    try:
        READERS[name](body)
    except ProtocolViolation:
        return


@given(st.data())
def test_a_body_that_is_cut_anywhere_is_never_taken_for_the_whole(data: st.DataObject) -> None:
    body = connect_body("id", username="user", password=b"secret", will=("t", b"gone", 1, True))
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(ProtocolViolation):
        packets.read_connect(body[:cut])


def test_every_field_of_a_connect_is_read() -> None:
    body = connect_body(
        "dev-1", clean=False, keep_alive_s=600, username="üser", password=b"\x00\xff", will=("bye", b"\x00", 2, True)
    )
    will = Will("bye", b"\x00", 2, True)
    assert packets.read_connect(body) == Connect("MQTT", 4, "dev-1", False, 600, "üser", b"\x00\xff", will)


def test_a_user_name_needs_no_password_and_a_client_id_may_be_empty() -> None:
    assert packets.read_connect(connect_body("", username="u")) == Connect("MQTT", 4, "", True, 0, "u", None, None)


@pytest.mark.parametrize(("protocol", "level"), [("MQTT", 5), ("MQTT", 3), ("MQIsdp", 3), ("mqtt", 4), ("AMQP", 4)])
def test_a_connect_for_another_protocol_is_read_up_to_its_level(protocol: str, level: int) -> None:
    body = string(protocol) + bytes([level]) + b"\xff whatever that protocol says here"
    assert packets.read_connect(body)[:2] == (protocol, level)


def test_filters_are_read_in_their_order() -> None:
    body = b"\x00\x07" + string("a/#") + b"\x02" + string("+/ä") + b"\x00" + string("#") + b"\x01"
    assert packets.read_subscribe(body) == [("a/#", 2), ("+/ä", 0), ("#", 1)]
    assert packets.read_unsubscribe(b"\x00\x07" + string("a/#") + string("+")) == ["a/#", "+"]
    assert packets.read_packet_id(b"\xff\xfe") == 65_534
