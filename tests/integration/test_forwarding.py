"""Real Mosquittos as upstreams: outages, filters, restarts. Everything arrives, in order, under its id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device_sims.verdict import identify, judge
from tests.site.cloud_subscriber import Arrival, CloudSubscriber, durable
from tests.site.load import Load
from tests.site.mosquitto_clients import publish
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess
    from tests.site.mosquitto_process import MosquittoProcess

    Gateways = Callable[..., GatewayProcess]
    Mosquittos = Callable[..., MosquittoProcess]

MARKER = b"marker"


def mark(gateway: GatewayProcess, topic: str = "marker") -> None:
    """An event behind all others."""
    with RawClient(gateway.port) as client:
        client.join("marker").publish(topic, MARKER)


def delivered(arrivals: Iterable[Arrival]) -> list[tuple[str, int]]:
    return [known for each in arrivals if (known := identify(each.payload)) is not None]


def second_upstream(name: str, port: int, topics: str) -> str:
    url = f'type = "mqtt"\nurl = "mqtt://127.0.0.1:{port}"\n'
    return f"[upstreams.{name}]\n{url}topics = {topics}\nbackoff_initial_s = 0.1\nbackoff_max_s = 0.5\n"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_what_was_stored_during_an_outage_arrives_in_order_afterwards(
    gateway_at: Gateways, mosquitto_at: Mosquittos, tmp_path: Path, version: str
) -> None:
    cloud = mosquitto_at(config=durable(tmp_path)).start()
    with CloudSubscriber(cloud.port) as record:
        gateway = gateway_at(upstream_port=cloud.port, upstream_options=f'version = "{version}"').start()
        with Load(gateway.port) as load:
            load.wait_acknowledged(500)
            cloud.stop()
            load.wait_acknowledged(5000)
            wait_for(lambda: gateway.upstream()["state"] == "unreachable", what="the outage noticed")
            assert gateway.upstream()["pending"] > 0
            assert gateway.upstream()["reason"]
            cloud.start()
            load.wait_acknowledged(500)
            load.finish()
        mark(gateway)
        record.wait_for_payload(MARKER)
        verdict = judge(load.acknowledged(), delivered(record.arrivals))
    assert verdict.ok, verdict.total
    assert gateway.is_drained()
    assert gateway.upstream()["state"] == "connected"
    ids = [each.properties.get("id") for each in record.arrivals]
    if version == "5":
        log_id = gateway.command_json("events", "--limit", "1")["id"].split(".")[0]
        by_id = {f"{log_id}.{event.seq}": event for event in gateway.events()}
        assert set(ids) == set(by_id)
        for each in record.arrivals:
            event = by_id[each.properties["id"]]
            assert (each.topic, each.payload) == (event.topic, event.payload)
            assert each.properties["device"] == event.client_id
            assert each.properties["source"] == "urn:gateway:edge"
    else:
        assert set(ids) == {None}


def test_messages_of_every_shape_arrive_as_they_were_published(
    gateway_at: Gateways, mosquitto_at: Mosquittos, mosquitto_clients: None, tmp_path: Path
) -> None:
    cloud = mosquitto_at(config=durable(tmp_path)).start()
    large = bytes(range(256)) * 1024
    with CloudSubscriber(cloud.port) as record:
        gateway = gateway_at(upstream_port=cloud.port).start()
        publish(gateway.port, "shape/empty", "-q", "0", "-n")
        publish(gateway.port, "shape/large", "-q", "2", "-s", stdin=large)
        publish(gateway.port, "Gewächshaus/🌱", "-q", "1", "-r", "-m", "°C")
        mark(gateway)
        record.wait_for_payload(MARKER)
        got = {each.topic: each.payload for each in record.arrivals}
    assert got == {"shape/empty": b"", "shape/large": large, "Gewächshaus/🌱": "°C".encode(), "marker": MARKER}
    with CloudSubscriber(cloud.port, "Gewächshaus/#") as late:
        late.wait_for_payload("°C".encode())
        assert late.arrivals[-1].retain


def test_a_dead_upstream_holds_up_neither_devices_nor_another_upstream(
    gateway_at: Gateways, mosquitto_at: Mosquittos, tmp_path: Path
) -> None:
    alive = mosquitto_at("alive", config=durable(tmp_path)).start()
    (tmp_path / "of-dead").mkdir()
    late = mosquitto_at("dead", config=durable(tmp_path / "of-dead")).start()
    with CloudSubscriber(late.port):
        pass  # the session is there from now on
    late.stop()
    gateway = gateway_at(
        upstream_port=alive.port, config=second_upstream("dead", late.port, '["load/device-0", "marker"]')
    ).start()
    with CloudSubscriber(alive.port) as record, Load(gateway.port) as load:
        load.wait_acknowledged(3000)
        load.finish()
        mark(gateway)
        record.wait_for_payload(MARKER)
        assert judge(load.acknowledged(), delivered(record.arrivals)).ok
    wait_for(gateway.is_drained, what="the living upstream has everything")
    dead = gateway.upstream("dead")
    assert (dead["state"], dead["forwarded"]) == ("unreachable", 0)
    assert dead["pending"] > 0

    wanted = [(device, n) for device, n in load.acknowledged() if device == "device-0"]
    late.start()
    with CloudSubscriber(late.port) as record:
        record.wait_for_payload(MARKER)
        got = delivered(record.arrivals)
    assert judge(wanted, got).ok
    assert {device for device, _ in got} == {"device-0"}


def test_what_no_filter_of_an_upstream_matches_counts_as_filtered_and_the_books_balance(
    gateway_at: Gateways, mosquitto_at: Mosquittos
) -> None:
    cloud = mosquitto_at().start()
    gateway = gateway_at(upstream_port=cloud.port, upstream_options='topics = ["plant/+/alarm", "marker"]').start()
    with CloudSubscriber(cloud.port) as record:
        with RawClient(gateway.port) as device:
            device.join("device")
            for n in range(60):
                device.publish(f"plant/{n}/{'alarm' if n % 3 == 0 else 'value'}", str(n).encode())
        mark(gateway)
        record.wait_for_payload(MARKER)
        assert [each.payload for each in record.arrivals] == [b"%d" % n for n in range(0, 60, 3)] + [MARKER]
    wait_for(gateway.is_drained, what="the cursor past the last event")
    counts = gateway.upstream()
    assert (counts["forwarded"], counts["filtered"], counts["quarantined"]) == (21, 40, 0)
    assert counts["cursor"] == gateway.status()["log"]["head"] == 61


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_backlog_survives_a_restart_and_drains_when_the_upstream_is_back(
    gateway_at: Gateways, mosquitto_at: Mosquittos, tmp_path: Path, end: str
) -> None:
    cloud = mosquitto_at(config=durable(tmp_path)).start()
    with CloudSubscriber(cloud.port):
        pass  # the session is there from now on
    cloud.stop()
    gateway = gateway_at(upstream_port=cloud.port).start()
    with Load(gateway.port) as load:
        load.wait_acknowledged(3000)
        load.finish()
    getattr(gateway, end)()
    gateway.start()
    assert gateway.upstream()["pending"] >= 3000
    cloud.start()
    mark(gateway)
    with CloudSubscriber(cloud.port) as record:
        record.wait_for_payload(MARKER)
        verdict = judge(load.acknowledged(), delivered(record.arrivals))
    assert verdict.ok, verdict.total


def test_a_clean_restart_sends_nothing_twice(gateway_at: Gateways, mosquitto_at: Mosquittos, tmp_path: Path) -> None:
    cloud = mosquitto_at(config=durable(tmp_path)).start()
    gateway = gateway_at(upstream_port=cloud.port).start()
    with CloudSubscriber(cloud.port) as record, Load(gateway.port) as load:
        load.wait_acknowledged(500)
        load.finish()
        wait_for(gateway.is_drained, what="everything forwarded")
        assert gateway.stop() == 0
        gateway.start()
        mark(gateway)
        record.wait_for_payload(MARKER)
        verdict = judge(load.acknowledged(), delivered(record.arrivals))
    assert (verdict.ok, verdict.total.duplicates) == (True, 0)


def test_an_upstream_whose_name_nobody_knows_is_unreachable_with_a_reason_and_events_are_kept(
    gateway_at: Gateways,
) -> None:
    gateway = gateway_at(config='[upstreams.cloud]\ntype = "mqtt"\nurl = "mqtt://no-such-host.invalid"\n').start()
    with RawClient(gateway.port) as device:
        device.join("device")
        for n in range(20):
            device.publish("kept", str(n).encode())
    wait_for(lambda: gateway.upstream()["state"] == "unreachable", what="the trouble told")
    cloud = gateway.upstream()
    assert "no-such-host.invalid:1883" in cloud["reason"]
    assert (cloud["pending"], cloud["forwarded"]) == (20, 0)
    assert gateway.stop() == 0


def test_an_upstream_that_refuses_the_login_is_blocked_and_nothing_is_dropped(
    gateway_at: Gateways, mosquitto_at: Mosquittos
) -> None:
    cloud = mosquitto_at(config="allow_anonymous false").start()
    gateway = gateway_at(upstream_port=cloud.port).start()
    with RawClient(gateway.port) as device:
        device.join("device").publish("kept", b"x")
    wait_for(lambda: gateway.upstream()["state"] == "blocked", what="the refusal told")
    assert "not authorized" in gateway.upstream()["reason"]
    assert gateway.upstream()["pending"] == 1
