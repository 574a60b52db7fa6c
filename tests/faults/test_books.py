"""The books of a real gateway balance after refusals, filters, SIGKILL and a log that is full."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import mqtt5
import pytest

from tests.site.ports import wait_for
from tests.site.publisher import Publisher
from tests.site.raw_client import RawClient
from tests.site.scripted_upstream import WELCOME, Arrival, Reset, ScriptedUpstream, accept, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]

LOG = """
[log]
segment_bytes_max = 65536
retention_interval_s = 0.1
cursor_interval_s = 0.05
"""
SMALL = LOG + "retention_bytes_max = 300000\n"
GATE = threading.Event()


def take(arrival: Arrival) -> bytes:
    if b" 7 " in arrival.payload or b" 8 " in arrival.payload:
        return refuse(arrival, mqtt5.PubAckReasonCode.PAYLOAD_FORMAT_INVALID)
    return accept(arrival)


def welcome(_: int) -> bytes:
    if not GATE.is_set():
        raise Reset
    return WELCOME


@pytest.fixture
def cloud() -> Iterator[ScriptedUpstream]:
    GATE.clear()
    with ScriptedUpstream(take, welcome) as server:
        yield server


def books(gateway: GatewayProcess) -> dict[str, int]:
    (line,) = gateway.command_json("status", "--books")
    assert line["balances"], line
    told = ("forwarded", "pending", "quarantined", "filtered", "dropped")
    assert line["received"] == sum(line[each] for each in told)
    return {each: line[each] for each in ("received", *told)}


def publish(gateway: GatewayProcess, count: int, name: str = "device") -> None:
    with RawClient(gateway.port) as client:
        device = Publisher(client, name)
        for number in range(count):
            device.send()
            if number % 20 == 0:  # otherwise one commit takes them all, and one segment
                device.wait_acknowledged()
        device.wait_acknowledged()


def test_every_event_is_in_the_books_of_a_gateway_that_runs_is_killed_and_runs_again(
    gateway_at: Gateways, cloud: ScriptedUpstream
) -> None:
    topics = 'topics = ["device/#"]'
    gateway = gateway_at(config=LOG, upstream_port=cloud.port, upstream_options=topics).start()
    publish(gateway, 100)
    publish(gateway, 20, "other")
    assert books(gateway) == {
        "received": 120, "forwarded": 0, "pending": 120, "quarantined": 0, "filtered": 0, "dropped": 0,
    }  # fmt: skip
    GATE.set()
    wait_for(gateway.is_drained, what="everything forwarded")
    all_taken = {"received": 120, "forwarded": 98, "pending": 0, "quarantined": 2, "filtered": 20, "dropped": 0}
    assert books(gateway) == all_taken
    gateway.kill()
    at_rest = books(gateway)
    assert at_rest["received"] == 120
    gateway.start()
    wait_for(gateway.is_drained, what="everything forwarded")
    assert books(gateway) == all_taken
    assert gateway.stop() == 0
    assert books(gateway) == all_taken
    assert "120 received = 98 forwarded + 0 pending" in gateway.command("status", "--books").stdout
    assert gateway.command("status", "--losses").stdout == "Nothing was ever lost, dropped or refused.\n"


def test_a_log_beyond_its_limit_drops_the_oldest_and_the_books_say_so(
    gateway_at: Gateways, cloud: ScriptedUpstream
) -> None:
    gateway = gateway_at(config=SMALL, upstream_port=cloud.port).start()
    publish(gateway, 1000)
    wait_for(lambda: gateway.status()["log"]["oldest"] > 300, what="the oldest gone")
    found = books(gateway)
    assert found["dropped"] > 300
    GATE.set()
    wait_for(gateway.is_drained, what="everything left forwarded")
    assert len(cloud.arrivals) == 1000 - found["dropped"]
    assert books(gateway)["dropped"] == found["dropped"]
    rows = gateway.command_json("status", "--losses")
    assert sum(row["events"] for row in rows) == found["dropped"]
    assert {(row["upstream"], row["cause"]) for row in rows} == {("cloud", "dropped")}
    assert "dropped" in gateway.command("status", "--losses").stdout
    assert gateway.stop() == 0


def test_a_log_that_refuses_new_events_keeps_connections_and_goes_on_when_there_is_room(
    gateway_at: Gateways, cloud: ScriptedUpstream
) -> None:
    config = SMALL + 'retention_policy = "refuse_new"\n'
    gateway = gateway_at(config=config, upstream_port=cloud.port).start()
    with RawClient(gateway.port) as client:
        device = Publisher(client)
        while not gateway.status()["log"]["full"]:
            device.send()
        acknowledged_most = device.sent
        for _ in range(100):
            device.send()
        stored = gateway.status()["log"]["head"]
        assert stored < acknowledged_most + 100
        assert "full, devices are not read from" in gateway.command("status").stdout
        assert gateway.status()["log"]["error"] == ""
        GATE.set()
        device.wait_acknowledged()
        wait_for(gateway.is_drained, what="everything forwarded")
        wait_for(lambda: not gateway.status()["log"]["full"], what="room again")
        assert books(gateway) == {
            "received": device.sent, "forwarded": device.sent - 2, "pending": 0,
            "quarantined": 2, "filtered": 0, "dropped": 0,
        }  # fmt: skip
    assert "Traceback" not in gateway.log()
    assert gateway.stop() == 0


def test_books_that_do_not_balance_are_a_failure_that_says_by_how_much(
    gateway_at: Gateways, cloud: ScriptedUpstream
) -> None:
    gateway = gateway_at(config=LOG, upstream_port=cloud.port).start()
    publish(gateway, 200)
    assert gateway.stop() == 0
    first, following = sorted(int(path.stem) for path in (gateway.data_dir / "log").glob("*.db"))[:2]
    (gateway.data_dir / "log" / f"{first:020d}.db").unlink()
    done = gateway.command("status", "--books")
    assert done.returncode == 1
    assert f"does not balance: {following - first} event(s) that nobody accounts for" in done.stdout
    assert "start it" in done.stdout
    assert json.loads(gateway.command("status", "--books", "--json").stdout)[0]["difference"] == following - first
    gateway.start()
    assert books(gateway)["dropped"] == following - first
    assert gateway.stop() == 0
