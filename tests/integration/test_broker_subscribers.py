"""Local subscribers: mosquitto_sub gets what devices publish, with the right flags, also over absence and restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.site.mosquitto_clients import Subscriber, publish
from tests.site.raw_client import RawClient
from tests.site.raw_client import publish as publish_packet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess

END = "the end"
"""Published last, to every subscriber: whatever has not come before it does not come."""


@pytest.mark.parametrize("granted", [0, 1, 2])
def test_a_subscriber_gets_each_message_at_the_lower_of_both_qos(
    edge: GatewayProcess, tmp_path: Path, mosquitto_clients: None, granted: int
) -> None:
    topic = f"lower/{granted}"
    with Subscriber(tmp_path, edge.port, "-q", str(granted), "-t", topic) as subscriber:
        for qos in range(3):
            assert publish(edge.port, topic, "-q", str(qos), "-m", f"sent at {qos}").returncode == 0
        lines = subscriber.wait_lines(3)
    assert lines == [f"{min(qos, granted)} 0 {topic} sent at {qos}" for qos in range(3)]


@pytest.mark.parametrize(
    ("topic_filter", "wanted"),
    [
        ("wild/#", ["wild", "wild/a", "wild/a/b", "wild/a/b/c", "wild/ä"]),
        ("wild/+", ["wild/a", "wild/ä"]),
        ("wild/+/b", ["wild/a/b"]),
        ("+/a/#", ["wild/a", "wild/a/b", "wild/a/b/c"]),
        ("wild/a", ["wild/a"]),
        ("wild/+/+/c", ["wild/a/b/c"]),
        ("+/+", ["wild/a", "wild/ä"]),
    ],
)
def test_wildcards_match_what_the_standard_says(edge: GatewayProcess, topic_filter: str, wanted: list[str]) -> None:
    with RawClient(edge.port) as subscriber, RawClient(edge.port) as device:
        assert subscriber.join("wildcards").subscribe((topic_filter, 1), ("ends", 1)) == [1, 1]
        device.join("device")
        for topic in ("wild", "wild/a", "wild/a/b", "wild/a/b/c", "wild/ä", "tame/x/y", "ends"):
            device.publish(topic, b"")
        got = []
        while (delivery := subscriber.delivery()).topic != "ends":
            got.append(delivery.topic)
    assert got == wanted


def test_a_256_kib_payload_is_delivered_unharmed(edge: GatewayProcess) -> None:
    payload = bytes(range(256)) * 1024
    with RawClient(edge.port) as subscriber, RawClient(edge.port) as device:
        subscriber.join("large-reader").subscribe(("large/local", 2))
        device.join("device").publish("large/local", payload)
        assert subscriber.delivery().payload == payload


def test_a_retained_message_comes_with_its_flag_on_subscribing_and_without_it_live(
    edge: GatewayProcess, tmp_path: Path, mosquitto_clients: None
) -> None:
    publish(edge.port, "state/door", "-r", "-q", "1", "-m", "open")
    publish(edge.port, "state/window", "-r", "-q", "1", "-m", "shut")
    publish(edge.port, "state/window", "-q", "1", "-m", "not retained")
    with Subscriber(tmp_path, edge.port, "-q", "1", "-t", "state/+") as subscriber:
        assert sorted(subscriber.wait_lines(2)) == ["1 1 state/door open", "1 1 state/window shut"]
        publish(edge.port, "state/door", "-r", "-q", "1", "-m", "closed")
        assert subscriber.wait_lines(3)[2:] == ["1 0 state/door closed"]


def test_retained_messages_of_other_filters_are_not_sent(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as device:
        device.join("device")
        device.publish("kept/a", b"A", retain=True)
        device.publish("kept/b", b"B", retain=True)
    with RawClient(edge.port) as subscriber, RawClient(edge.port) as device:
        subscriber.join("chooser").subscribe(("kept/a", 1))
        device.join("device").publish("kept/a", END.encode())
        assert [subscriber.delivery().payload for _ in range(2)] == [b"A", END.encode()]
        subscriber.subscribe(("kept/b", 0))
        assert subscriber.delivery()[:4] == ("kept/b", b"B", 0, True)


def test_an_empty_retained_message_withdraws_the_one_before(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as device, RawClient(edge.port) as subscriber:
        device.join("device").publish("withdrawn/x", b"old", retain=True)
        device.publish("withdrawn/x", b"", retain=True)
        subscriber.join("late").subscribe(("withdrawn/#", 1))
        device.publish("withdrawn/x", END.encode())
        assert subscriber.delivery()[:4] == ("withdrawn/x", END.encode(), 1, False)


def test_overlapping_filters_deliver_a_message_once_at_the_highest_qos(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as subscriber, RawClient(edge.port) as device:
        granted = subscriber.join("overlap").subscribe(("over/#", 0), ("over/lap", 2), ("+/lap", 1))
        assert granted == [0, 2, 1]
        device.join("device").send(publish_packet("over/lap", b"once", 2, 1))
        device.expect(5)
        assert subscriber.delivery()[:3] == ("over/lap", b"once", 2)
        device.publish("over/end", END.encode())
        assert subscriber.delivery().payload == END.encode()


def test_unsubscribing_ends_the_deliveries_of_that_filter_only(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as subscriber, RawClient(edge.port) as device:
        subscriber.join("leaving").subscribe(("leave/a", 1), ("leave/b", 1))
        subscriber.unsubscribe("leave/a", "leave/never")
        device.join("device").publish("leave/a", b"unwanted")
        device.publish("leave/b", b"wanted")
        assert subscriber.delivery().payload == b"wanted"


def test_a_device_gets_its_own_messages_if_it_subscribes_to_them(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("narcissus").subscribe(("mirror", 0))
        client.send(publish_packet("mirror", b"me"))
        assert client.delivery().payload == b"me"


def test_a_filter_for_shared_subscriptions_is_refused_and_the_others_beside_it_are_granted(
    edge: GatewayProcess,
) -> None:
    with RawClient(edge.port) as client:
        client.join("sharing")
        assert client.subscribe(("$share/a/b", 1), ("shared", 1)) == [0x80, 1]
        client.send_and_receive("shared", b"still here")


def test_a_persistent_session_gets_what_was_published_while_it_was_away(
    edge: GatewayProcess, tmp_path: Path, mosquitto_clients: None
) -> None:
    session = ["-i", "traveller", "-c", "-q", "1", "-t", "home/#"]
    with Subscriber(tmp_path, edge.port, *session):
        pass
    for n in range(50):
        with RawClient(edge.port) as device:
            device.join("device").publish("home/news", f"news {n}".encode())
    with Subscriber(tmp_path, edge.port, *session) as back:
        assert back.wait_lines(50) == [f"1 0 home/news news {n}" for n in range(50)]


def test_a_clean_session_gets_nothing_of_what_it_missed(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("forgetful", clean=False).subscribe(("missed", 1))
    with RawClient(edge.port) as client:
        assert client.connect("forgetful", clean=True) == (False, 0)
    with RawClient(edge.port) as device, RawClient(edge.port) as client:
        device.join("device").publish("missed", b"x")
        assert client.connect("forgetful", clean=False) == (False, 0)
        client.subscribe(("missed", 1))
        device.publish("missed", END.encode())
        assert client.delivery().payload == END.encode()


def test_a_persistent_session_that_follows_a_clean_one_is_new_and_then_stays(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client:
        client.join("settling", clean=True).subscribe(("settled", 1))
    for session_present in (False, True, True):
        with RawClient(edge.port) as client:
            assert client.connect("settling", clean=False) == (session_present, 0)


def test_an_unacknowledged_delivery_comes_again_with_the_duplicate_flag(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as client, RawClient(edge.port) as device:
        client.join("wavering", clean=False).subscribe(("again", 1))
        device.join("device").publish("again", b"x")
        first = client.delivery(answer=False)
    with RawClient(edge.port) as client:
        assert client.connect("wavering", clean=False) == (True, 0)
        second = client.delivery()
    assert not first.duplicate
    assert second == first._replace(duplicate=True)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_subscriptions_and_retained_messages_survive_a_restart(
    gateway_at: Callable[..., GatewayProcess], end: str
) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as client:
        assert client.connect("resident", clean=False) == (False, 0)
        assert client.subscribe(("live/#", 2), ("dropped/#", 1)) == [2, 1]
        client.unsubscribe("dropped/#")
        client.publish("kept/x", b"first", retain=True)
        client.publish("kept/x", b"second", retain=True)
        client.publish("kept/withdrawn", b"x", retain=True)
        client.publish("kept/withdrawn", b"", retain=True)
    with RawClient(gateway.port) as guest:
        guest.join("guest", clean=True).subscribe(("live/#", 1))
    getattr(gateway, end)()
    gateway.start()
    with RawClient(gateway.port) as client, RawClient(gateway.port) as device:
        assert device.connect("guest", clean=False) == (False, 0)
        device.publish("live/early", b"before it is back")
        assert client.connect("resident", clean=False) == (True, 0)
        device.publish("dropped/x", b"unwanted")
        device.publish("live/late", b"after")
        assert [client.delivery().topic for _ in range(2)] == ["live/early", "live/late"]
        client.subscribe(("kept/#", 1))
        assert client.delivery()[:4] == ("kept/x", b"second", 1, True)
        device.publish("live/end", END.encode())
        assert client.delivery().topic == "live/end"
