"""What the specification has a server store is there after the gateway has ended and begun again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.site.raw_client import PUBACK, PUBCOMP, PUBREC, RawClient, acknowledge, publish

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
