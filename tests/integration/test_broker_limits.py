"""Limits of the broker in time and number, each set low by its name in the configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.site.gateway_process import GatewayProcess
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient, connect, packet, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = """
allow_anonymous = true
connections_max = 20
connect_timeout_s = 0.5
packet_bytes_max = 2048
subscriber_inflight_max = 10
subscriber_queue_events_max = 30
"""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path_factory.mktemp("limited"), "limited", broker=LIMITS).start()
    yield process
    process.kill()


def test_a_connection_that_says_nothing_is_closed_after_connect_timeout_s(limited: GatewayProcess) -> None:
    with RawClient(limited.port) as silent, RawClient(limited.port) as talking:
        talking.join("talking")
        assert silent.is_closed()
        talking.ping()


def test_a_connection_that_trickles_its_connect_is_closed_after_connect_timeout_s(limited: GatewayProcess) -> None:
    """Every byte proves life, none proves who it is: the time counts from the beginning."""
    with RawClient(limited.port) as slow:
        slow.socket.settimeout(0.1)
        deadline = time.monotonic() + 20
        for byte in connect("x" * 2000):
            assert time.monotonic() < deadline
            try:
                slow.send(bytes([byte]))
                if not slow.socket.recv(1):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("it was allowed to take as long as it liked")


def test_a_client_silent_for_one_and_a_half_keep_alives_is_gone_and_its_will_published(
    limited: GatewayProcess,
) -> None:
    with RawClient(limited.port) as silent, RawClient(limited.port) as pinging:
        began = time.monotonic()
        silent.join("silent", keep_alive_s=1, will=("will/silent", b"", 0, False))
        pinging.join("pinging", keep_alive_s=1)
        silent.socket.settimeout(0.25)
        while True:
            pinging.ping()
            try:
                assert silent.is_closed()
                break
            except TimeoutError:
                continue
        assert time.monotonic() - began >= 1.5
        pinging.ping()
    assert limited.events_on("will/silent")[0].client_id == "silent"


def test_a_packet_sent_byte_by_byte_is_no_sign_of_life(limited: GatewayProcess) -> None:
    with RawClient(limited.port) as client:
        client.join("dribbling", keep_alive_s=1)
        client.send(b"\x30\xff\x7f")
        client.socket.settimeout(0.1)

        def is_closed() -> bool:
            try:
                return client.is_closed()
            except TimeoutError:
                client.send(b"\0")
            return False

        wait_for(is_closed, what="the end of a connection with a packet that never ends")


def test_a_keep_alive_of_0_is_never_enforced(limited: GatewayProcess) -> None:
    with RawClient(limited.port) as quiet, RawClient(limited.port) as silent:
        quiet.join("quiet", keep_alive_s=0)
        silent.join("silent-2", keep_alive_s=1)
        assert silent.is_closed()
        quiet.ping()


def test_connections_beyond_connections_max_are_closed_at_once(limited: GatewayProcess) -> None:
    clients = [RawClient(limited.port).join(f"one-of-many-{n}") for n in range(20)]
    try:
        for _ in range(3):
            with RawClient(limited.port) as surplus:
                surplus.send(connect("one-too-many"))
                assert surplus.is_closed()
        assert limited.status()["broker"]["turned_away"] == 3
        for client in clients:
            client.ping()
        clients.pop().disconnect()
        wait_for(lambda: limited.status()["broker"]["connections"] < 20, what="room for one more")
        with RawClient(limited.port) as next_one:
            next_one.join("next").ping()
    finally:
        for client in clients:
            client.socket.close()
    wait_for(lambda: limited.status()["broker"]["connections"] == 0, what="all gone")


def test_a_packet_larger_than_packet_bytes_max_is_refused_at_its_header(limited: GatewayProcess) -> None:
    with RawClient(limited.port) as client:
        client.join("large").publish("size/right", b"x" * 2000)
        client.send(publish("size/wrong", b"x" * 2048, 1, 2)[:4])
        assert client.is_closed()
    assert not [event for event in limited.events() if event.topic == "size/wrong"]


def test_a_subscriber_that_never_acknowledges_costs_a_bounded_queue_and_the_oldest_go(limited: GatewayProcess) -> None:
    with RawClient(limited.port) as lazy, RawClient(limited.port) as device:
        lazy.join("lazy", clean=False).subscribe(("flood", 1))
        device.join("device")
        for n in range(100):
            device.publish("flood", str(n).encode())
        dropped = limited.status()["broker"]["deliveries_dropped"]
        assert dropped == 100 - 10 - 30
        device.ping()
    with RawClient(limited.port) as back:
        assert back.connect("lazy", clean=False) == (True, 0)
        got = [int(back.delivery().payload) for _ in range(40)]
        assert got == [*range(10), *range(70, 100)]


def test_a_window_full_of_deliveries_opens_again_when_they_are_acknowledged_after_an_unsubscribe(
    limited: GatewayProcess,
) -> None:
    with RawClient(limited.port) as client, RawClient(limited.port) as device:
        client.join("changing").subscribe(("window/old", 1))
        device.join("device")
        for n in range(10):
            device.publish("window/old", str(n).encode())
        unanswered = [client.delivery(answer=False) for _ in range(10)]
        client.unsubscribe("window/old")
        for delivery in unanswered:
            client.send(packet(0x40, delivery.packet_id.to_bytes(2)))
        client.subscribe(("window/new", 1))
        device.publish("window/new", b"fresh")
        assert client.delivery().payload == b"fresh"


def test_a_qos_2_delivery_is_completed_after_an_unsubscribe(limited: GatewayProcess) -> None:
    with RawClient(limited.port) as client, RawClient(limited.port) as device:
        client.join("changing-2").subscribe(("late/release", 2))
        device.join("device")
        device.send(publish("late/release", b"x", 2, 1))
        delivery = client.delivery(answer=False)
        client.unsubscribe("late/release")
        client.send(packet(0x50, delivery.packet_id.to_bytes(2)))
        assert client.expect(6).packet_id == delivery.packet_id
