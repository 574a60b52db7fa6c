"""Devices that speak MQTT 3.1.1, with mosquitto_pub and mosquitto_sub as the devices: what they send is in the log."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.site.mosquitto_clients import Subscriber, publish
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess

pytestmark = pytest.mark.usefixtures("mosquitto_clients")


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_a_message_is_stored_as_the_device_sent_it(edge: GatewayProcess, qos: int, retain: bool) -> None:
    topic = f"plain/{qos}/{retain}"
    flags = ["-r"] if retain else []
    done = publish(edge.port, topic, "-i", "thermometer", "-q", str(qos), "-m", "21.5", *flags)
    assert done.returncode == 0, done.stderr
    (event,) = edge.events_on(topic)
    assert (event.client_id, event.qos, event.retain, event.payload) == ("thermometer", qos, retain, b"21.5")
    assert event.origin == ""
    assert event.properties is None


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_an_empty_payload_is_an_event_as_well(edge: GatewayProcess, qos: str) -> None:
    assert publish(edge.port, f"empty/{qos}", "-q", qos, "-n").returncode == 0
    (event,) = edge.events_on(f"empty/{qos}")
    assert event.payload == b""


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_a_payload_of_256_kib_is_stored_unharmed(edge: GatewayProcess, qos: str) -> None:
    payload = bytes(range(256)) * 1024
    assert publish(edge.port, f"large/{qos}", "-q", qos, "-s", stdin=payload).returncode == 0
    (event,) = edge.events_on(f"large/{qos}")
    assert event.payload == payload


@pytest.mark.parametrize("topic", ["Gewächshaus/Süd/Wärme", "温室/七/温度", "🌱/🌡", "/", "a//b", " /x y"])
def test_a_topic_may_be_any_utf_8(edge: GatewayProcess, topic: str) -> None:
    assert publish(edge.port, topic, "-q", "1", "-i", "Gerät-ß", "-m", "°C").returncode == 0
    (event,) = edge.events_on(topic)
    assert (event.client_id, event.payload.decode()) == ("Gerät-ß", "°C")


def test_many_messages_of_one_device_keep_their_order(edge: GatewayProcess) -> None:
    lines = [f"line {n}" for n in range(3000)]
    done = publish(edge.port, "ordered/lines", "-q", "2", "-i", "writer", "-l", stdin="\n".join(lines).encode())
    assert done.returncode == 0, done.stderr
    assert [event.payload.decode() for event in edge.events_on("ordered/lines", 3000)] == lines


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_will_of_a_device_that_dies_is_an_event_of_that_device(
    edge: GatewayProcess, tmp_path: Path, qos: int
) -> None:
    topic = f"will/{qos}"
    will = ["--will-topic", topic, "--will-payload", "gone", "--will-qos", str(qos), "--will-retain"]
    with Subscriber(tmp_path, edge.port, "-i", f"mortal-{qos}", "-t", "unused", *will) as device:
        assert device.process is not None
        device.process.send_signal(signal.SIGKILL)
        (event,) = edge.events_on(topic)
    assert (event.client_id, event.qos, event.retain, event.payload) == (f"mortal-{qos}", qos, True, b"gone")
    with RawClient(edge.port) as late:
        late.join(f"heir-{qos}").subscribe((topic, 2))
        assert late.delivery()[:4] == (topic, b"gone", qos, True)


def test_a_device_that_says_goodbye_leaves_no_will(edge: GatewayProcess, tmp_path: Path) -> None:
    will = ["--will-topic", "will/polite", "--will-payload", "gone"]
    with Subscriber(tmp_path, edge.port, "-i", "polite", "-t", "unused", *will) as device:
        assert device.process is not None
        device.process.send_signal(signal.SIGTERM)
        device.process.wait(10)
    with RawClient(edge.port) as after:
        after.join("after-polite").publish("will/after", b"")
    assert [event for event in edge.events() if event.topic == "will/polite"] == []


def test_a_device_may_not_publish_below_dollar_and_only_its_connection_ends(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as bystander:
        bystander.join("bystander")
        before = edge.status()["broker"]["violations"]
        publish(edge.port, "$SYS/forged", "-q", "0", "-m", "x")
        wait_for(lambda: edge.status()["broker"]["violations"] > before, what="a violation counted")
        bystander.ping()
    assert [event for event in edge.events() if event.topic.startswith("$")] == []
