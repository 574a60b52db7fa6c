"""What the specification has a server store is there after the gateway has ended and begun again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.site.raw_client import (
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    RawClient,
    acknowledge,
    packet,
    publish,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_sessions_subscriptions_and_retained_messages_survive_a_restart(
    gateway_at: Callable[..., GatewayProcess], end: str
) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as kept, RawClient(gateway.port) as clean, RawClient(gateway.port) as device:
        kept.join("kept", clean=False).subscribe(("t/+", 1), ("gone", 1))
        kept.unsubscribe("gone")
        clean.join("clean").subscribe(("t/+", 1))
        device.join("device").publish("state", b"on", retain=True)
        device.publish("cleared", b"on", retain=True)
        device.publish("cleared", b"", retain=True)
        device.send(publish("t/1", b"half", 2, 9))
        assert device.expect(PUBREC).packet_id == 9
    getattr(gateway, end)()
    gateway.start()
    with RawClient(gateway.port) as kept, RawClient(gateway.port) as clean, RawClient(gateway.port) as device:
        assert kept.connect("kept", clean=False) == (True, 0)
        assert clean.connect("clean", clean=False) == (False, 0)
        device.join("device").publish("gone", b"")
        device.publish("t/2", b"new")
        while (got := kept.delivery()).payload != b"new":  # what was on its way before may come again, before it
            assert (got.topic, got.payload) == ("t/1", b"half")
        assert clean.subscribe(("state", 2), ("cleared", 2)) == [2, 2]
        assert clean.delivery()[:4] == ("state", b"on", 1, True)
        clean.ping()


def test_a_qos_2_message_is_taken_once_across_a_restart(gateway_at: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as device:
        device.join("device", clean=False).send(publish("t", b"x", 2, 9))
        device.expect(PUBREC)
    gateway.kill()
    gateway.start()
    with RawClient(gateway.port) as device:
        device.join("device", clean=False).send(publish("t", b"x", 2, 9, duplicate=True))
        device.expect(PUBREC)
        device.send(acknowledge(6, 9))
        assert device.expect(PUBCOMP).packet_id == 9
        device.send(publish("t", b"next", 1, 9))
        assert device.expect(PUBACK).packet_id == 9
    assert [event.payload for event in gateway.events() if event.topic == "t"] == [b"x", b"next"]


class Got(NamedTuple):
    """What a subscriber was sent: PUBREL, or a message."""

    payload: bytes
    packet_id: int
    duplicate: bool = False


def everything(client: RawClient) -> list[Got]:
    """All that comes before the answer to a PINGREQ; nothing of it is acknowledged."""
    client.send(packet(0xC0))
    found = []
    while (each := client.read()) is not None and each.kind != PINGRESP:
        if each.kind == PUBREL:
            found.append(Got(b"PUBREL", each.packet_id))
            continue
        assert each.kind == PUBLISH
        at = 2 + int.from_bytes(each.body[:2])
        found.append(Got(each.body[at + 2 :], int.from_bytes(each.body[at : at + 2]), bool(each.flags & 8)))
    return found


def come_back(gateway: GatewayProcess, client_id: str) -> list[Got]:
    with RawClient(gateway.port) as client:
        assert client.connect(client_id, clean=False) == (True, 0)
        return everything(client)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_waits_for_an_absent_client_comes_after_a_restart(
    gateway_at: Callable[..., GatewayProcess], end: str
) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as away, RawClient(gateway.port) as device:
        device.join("device").publish("t/early", b"before the subscription", retain=False)
        away.join("away", clean=False).subscribe(("t/+", 1), ("q/#", 2), ("zero", 0))
        away.disconnect()
        for number in range(30):
            device.publish(f"t/{number % 3}", b"%d" % number)
        device.publish("zero", b"is not kept")
        device.publish("other", b"is not asked for")
    getattr(gateway, end)()
    gateway.start()
    with RawClient(gateway.port) as device:
        device.join("device").publish("q/new", b"30")
    assert [each.payload for each in come_back(gateway, "away")] == [b"%d" % number for number in range(31)]
    getattr(gateway, end)()
    gateway.start()
    assert [each.payload for each in come_back(gateway, "away")] == [b"%d" % number for number in range(31)]


def test_after_a_stop_what_was_in_flight_comes_again_and_what_was_acknowledged_does_not(
    gateway_at: Callable[..., GatewayProcess],
) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as sub, RawClient(gateway.port) as device:
        device.join("device").publish("kept", b"kept", retain=True)
        sub.join("sub", clean=False).subscribe(("t/1", 1), ("t/2", 2), ("kept", 1))
        for number, qos in enumerate((1, 1, 2, 2, 1)):
            device.publish(f"t/{qos}", b"%d" % number)
        device.send(publish("t/2", b"5", 2, 9))
        device.expect(PUBREC)
        before = {each.payload: each for each in everything(sub)}
        assert sorted(before) == [b"0", b"1", b"2", b"3", b"4", b"5", b"kept"]
        sub.send(acknowledge(PUBACK, before[b"1"].packet_id))
        sub.send(acknowledge(PUBREC, before[b"5"].packet_id))
        assert everything(sub) == [(b"PUBREL", before[b"5"].packet_id, False)]
    gateway.stop()
    for _ in range(2):
        gateway.start()
        with RawClient(gateway.port) as sub:
            assert sub.connect("sub", clean=False) == (True, 0)
            again = everything(sub)
            wanted = [before[each] for each in (b"kept", b"0", b"2", b"3", b"4")]
            assert again[:5] == [each._replace(duplicate=True) for each in wanted]
            assert again[5:] == [(b"PUBREL", before[b"5"].packet_id, False)]
        gateway.stop()


def test_after_a_kill_nothing_is_lost_that_a_connected_subscriber_has_not_acknowledged(
    gateway_at: Callable[..., GatewayProcess],
) -> None:
    gateway = gateway_at().start()
    owed = []
    with RawClient(gateway.port) as sub, RawClient(gateway.port) as device:
        sub.join("sub", clean=False).subscribe(("t", 1))
        device.join("device")
        for number in range(90):
            device.publish("t", b"%d" % number)
            got = sub.delivery(answer=False)
            if number % 3:
                sub.send(acknowledge(PUBACK, got.packet_id))
            else:
                owed.append(got.payload)
        sub.ping()
        gateway.kill()
    gateway.start()
    again = [each.payload for each in come_back(gateway, "sub")]
    assert [each for each in again if each in owed] == owed
    assert again == sorted(again, key=int)
    assert len(set(again)) == len(again)


def test_a_session_that_is_discarded_is_owed_nothing_after_a_restart(gateway_at: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as sub, RawClient(gateway.port) as device:
        sub.join("sub", clean=False).subscribe(("t", 1))
        sub.disconnect()
        device.join("device").publish("t", b"1")
    with RawClient(gateway.port) as sub:
        sub.join("sub", clean=True).disconnect()
    gateway.stop()
    gateway.start()
    with RawClient(gateway.port) as sub:
        assert sub.connect("sub", clean=False) == (False, 0)
        assert everything(sub) == []
