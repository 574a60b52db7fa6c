"""QoS 2 from a device: stored once however often it is sent, whatever happens between its four packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.site.raw_client import PUBCOMP, PUBREC, PUBREL, RawClient, acknowledge, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess


def send(client: RawClient, topic: str, payload: bytes, packet_id: int, *, duplicate: bool = False) -> None:
    client.send(publish(topic, payload, 2, packet_id, duplicate=duplicate))
    assert client.expect(PUBREC).packet_id == packet_id


def release(client: RawClient, packet_id: int) -> None:
    client.send(acknowledge(PUBREL, packet_id))
    assert client.expect(PUBCOMP).packet_id == packet_id


def payloads(gateway: GatewayProcess, topic: str) -> list[bytes]:
    return [event.payload for event in gateway.events() if event.topic == topic]


def test_a_message_sent_twice_before_its_release_is_stored_once(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("double", clean=False)
        send(client, "qos2/double", b"x", 5)
        send(client, "qos2/double", b"x", 5, duplicate=True)
        release(client, 5)
    assert payloads(edge, "qos2/double") == [b"x"]


def test_a_released_id_is_used_again_for_a_new_message(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("frugal", clean=False)
        for n in range(5):
            send(client, "qos2/frugal", str(n).encode(), 1)
            release(client, 1)
    assert payloads(edge, "qos2/frugal") == [b"0", b"1", b"2", b"3", b"4"]


def test_a_release_is_answered_also_when_the_id_is_unknown(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("insistent", clean=False)
        send(client, "qos2/insistent", b"x", 9)
        release(client, 9)
        release(client, 9)
        release(client, 1234)
        client.ping()


def test_many_messages_may_be_open_at_a_time_and_released_in_any_order(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("juggler", clean=False)
        ids = range(1, 201)
        client.send(b"".join(publish("qos2/juggler", b"%d" % n, 2, n) for n in ids))
        assert [client.expect(PUBREC).packet_id for _ in ids] == list(ids)
        client.send(b"".join(acknowledge(PUBREL, n) for n in reversed(ids)))
        assert [client.expect(PUBCOMP).packet_id for _ in ids] == list(reversed(ids))
    assert payloads(edge, "qos2/juggler") == [b"%d" % n for n in ids]


def test_the_same_id_of_two_devices_means_two_messages(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as one, RawClient(edge.port) as two:
        send(one.join("one"), "qos2/two", b"1", 7)
        send(two.join("two"), "qos2/two", b"2", 7)
    assert payloads(edge, "qos2/two") == [b"1", b"2"]


def test_an_open_id_survives_a_lost_connection_of_a_persistent_session(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("roaming", clean=False)
        send(client, "qos2/roaming", b"x", 3)
        client.reset()
    with RawClient(edge.port) as client:
        assert client.connect("roaming", clean=False) == (True, 0)
        send(client, "qos2/roaming", b"x", 3, duplicate=True)
        release(client, 3)
        send(client, "qos2/roaming", b"y", 3)
        release(client, 3)
    assert payloads(edge, "qos2/roaming") == [b"x", b"y"]


def test_an_open_id_ends_with_a_clean_session(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        send(client.join("fresh", clean=True), "qos2/fresh", b"x", 3)
    with RawClient(edge.port) as client:
        send(client.join("fresh", clean=True), "qos2/fresh", b"y", 3)
    assert payloads(edge, "qos2/fresh") == [b"x", b"y"]


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_an_open_id_survives_the_end_of_the_gateway(gateway_at: Callable[..., GatewayProcess], end: str) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as client:
        client.join("careful", clean=False)
        send(client, "qos2/careful", b"open", 1)
        send(client, "qos2/careful", b"released", 2)
        release(client, 2)
        getattr(gateway, end)()
    gateway.start()
    with RawClient(gateway.port) as client:
        assert client.connect("careful", clean=False) == (True, 0)
        send(client, "qos2/careful", b"open", 1, duplicate=True)
        release(client, 1)
        send(client, "qos2/careful", b"new under 2", 2)
        send(client, "qos2/careful", b"new under 1", 1)
        release(client, 2)
        release(client, 1)
    assert payloads(gateway, "qos2/careful") == [b"open", b"released", b"new under 2", b"new under 1"]


def test_an_open_id_is_carried_over_into_the_next_segment(gateway_at: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_at(config="[log]\nsegment_bytes_max = 65536\n").start()
    with RawClient(gateway.port) as client:
        client.join("patient", clean=False)
        send(client, "qos2/patient", b"open", 1)
        for _ in range(10):
            client.publish("filling", bytes(20_000), 2)
        assert gateway.status()["log"]["segments"] > 2
        gateway.kill()
    gateway.start()
    with RawClient(gateway.port) as client:
        client.join("patient", clean=False)
        send(client, "qos2/patient", b"open", 1, duplicate=True)
        release(client, 1)
    assert payloads(gateway, "qos2/patient") == [b"open"]
