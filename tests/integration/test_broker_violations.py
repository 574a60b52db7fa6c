"""Packets that MQTT 3.1.1 forbids: their connection is closed, nothing after them is read, all others stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.site.ports import wait_for
from tests.site.raw_client import PUBREL, RawClient, acknowledge, connect, packet, publish, string

if TYPE_CHECKING:
    from tests.site.gateway_process import GatewayProcess

FIRST = {
    "something else than CONNECT": packet(0xC0),
    "PUBLISH before CONNECT": publish("early/topic", b"x"),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "CONNECT with its reserved flag": packet(0x10, string("MQTT") + b"\4\3\0\0" + string("x")),
    "CONNECT with header flags": packet(0x11, string("MQTT") + b"\4\2\0\0" + string("x")),
    "CONNECT cut short": packet(0x10, string("MQTT") + b"\4\2\0\0\0\x20x"),
    "CONNECT with bytes after its end": packet(0x10, string("MQTT") + b"\4\2\0\0" + string("x") + b"y"),
    "CONNECT with a will of QoS 3": packet(
        0x10, string("MQTT") + b"\4\x1e\0\0" + string("x") + string("t") + string("")
    ),
    "CONNECT with a password and no name": packet(0x10, string("MQTT") + b"\4\x42\0\0" + string("x") + string("p")),
    "client id that is not UTF-8": packet(0x10, string("MQTT") + b"\4\2\0\0" + string(b"\xff")),
    "will topic with a wildcard": connect("x", will=("a/#", b"", 0, False)),
}
LATER = {
    "a second CONNECT": connect("again"),
    "packet type 0": packet(0x00),
    "packet type 15": packet(0xF0),
    "a packet only servers send": packet(0x20, b"\0\0"),
    "remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "packet above packet_bytes_max": b"\x30\xff\xff\xff\x7f",
    "QoS 3": packet(0x36, string("t") + b"\0\1x"),
    "packet id 0": publish("t", b"x", 1, 0),
    "PUBLISH shorter than its topic": packet(0x30, b"\0\x10t"),
    "PUBLISH without room for its packet id": packet(0x32, string("t") + b"\0"),
    "empty topic": publish("", b"x"),
    "topic with a wildcard": publish("a/+/b", b"x"),
    "topic with U+0000": publish("a\0b", b"x"),
    "topic that is not UTF-8": packet(0x30, string(b"\xc3\x28") + b"x"),
    "topic with a surrogate": packet(0x30, string(b"\xed\xa0\x80") + b"x"),
    "PUBREL with wrong flags": packet(0x60, b"\0\1"),
    "PUBREL of packet id 0": acknowledge(PUBREL, 0),
    "PUBACK of three bytes": packet(0x40, b"\0\1\0"),
    "SUBSCRIBE with wrong flags": packet(0x80, b"\0\1" + string("a") + b"\0"),
    "SUBSCRIBE without a filter": packet(0x82, b"\0\1"),
    "SUBSCRIBE with QoS 3": packet(0x82, b"\0\1" + string("a") + b"\3"),
    "SUBSCRIBE with a bad filter": packet(0x82, b"\0\1" + string("a/#/b") + b"\0"),
    "SUBSCRIBE with packet id 0": packet(0x82, b"\0\0" + string("a") + b"\0"),
    "UNSUBSCRIBE without a filter": packet(0xA2, b"\0\1"),
    "UNSUBSCRIBE with an empty filter": packet(0xA2, b"\0\1" + string("")),
    "PINGREQ with a body": packet(0xC0, b"x"),
    "DISCONNECT with a body": packet(0xE0, b"x"),
    "DISCONNECT with flags": packet(0xE1),
}


def _violations(edge: GatewayProcess) -> int:
    return int(edge.status()["broker"]["violations"])


def _wait_counted(edge: GatewayProcess, before: int) -> None:
    """The client may see the end of its connection a moment before the broker has dealt with it."""
    wait_for(lambda: _violations(edge) > before, what="a violation counted")
    assert _violations(edge) == before + 1


@pytest.mark.parametrize("garbage", FIRST.values(), ids=FIRST.keys())
def test_a_malformed_beginning_closes_the_connection_without_an_answer(edge: GatewayProcess, garbage: bytes) -> None:
    before = _violations(edge)
    with RawClient(edge.port) as client:
        client.send(garbage)
        assert client.is_closed()
    _wait_counted(edge, before)


@pytest.mark.parametrize("garbage", LATER.values(), ids=LATER.keys())
def test_a_malformed_packet_closes_its_connection_and_no_other(edge: GatewayProcess, garbage: bytes) -> None:
    before = _violations(edge)
    head = edge.status()["log"]["head"]
    with RawClient(edge.port) as bystander, RawClient(edge.port) as client:
        bystander.join("bystander")
        client.join("clumsy")
        client.send(garbage + publish("after/garbage", b"x"))
        assert client.is_closed()
        bystander.ping()
    _wait_counted(edge, before)
    assert edge.status()["log"]["head"] == head


def test_the_will_of_a_device_that_broke_the_protocol_is_published(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("clumsy", will=("will/clumsy", b"gone", 1, False)).send(packet(0xF0))
        assert client.is_closed()
    assert edge.events_on("will/clumsy")[0].payload == b"gone"


def test_what_came_before_a_malformed_packet_is_stored(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("half-clumsy").send(publish("before/garbage", b"x", 1, 9) + packet(0xF0))
        assert client.is_closed() or client.is_closed()  # the acknowledgement may or may not get through
    assert edge.events_on("before/garbage")[0].payload == b"x"


def test_a_connect_and_what_follows_may_be_cut_anywhere(edge: GatewayProcess) -> None:
    stream = connect("cut") + packet(0xC0)
    for at in range(1, len(stream)):
        with RawClient(edge.port) as client:
            client.send(stream[:at])
            edge.status()  # goes through the same event loop: what was sent so far is read by now
            client.send(stream[at:-1])
            assert client.expect(2).body == b"\0\0"
            client.send(stream[-1:])
            client.expect(13)


def test_packets_that_arrive_byte_by_byte_are_put_together(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        for byte in connect("trickle") + publish("trickle/topic", b"drop by drop", 1, 3):
            client.send(bytes([byte]))
        assert client.expect(2).body == b"\0\0"
        assert client.expect(4).packet_id == 3
    assert edge.events_on("trickle/topic")[0].payload == b"drop by drop"
