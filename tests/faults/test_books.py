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
from tests.site.raw_client import publish as raw_publish
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


JUDGED = """
[contracts.counted]
topic = "counted/{device}"
sequence_field = "n"
fields = { n = "integer", celsius = { type = "number", max = 85 } }

[contracts.dropped]
topic = "dropped/#"
policy = "reject"
fields = { celsius = "number" }
"""


def reading(number: int) -> bytes:
    """Every tenth is too hot."""
    return json.dumps({"n": number, "celsius": 900 if number % 10 == 0 else 20}).encode()


def losses(gateway: GatewayProcess) -> dict[tuple[str, str], int]:
    return {(row["cause"], row["detail"]): row["events"] for row in gateway.command_json("status", "--losses")}


def test_books_hold_what_is_judged_rejected_and_released_through_kills(
    gateway_at: Gateways, cloud: ScriptedUpstream
) -> None:
    GATE.set()
    gateway = gateway_at(config=LOG + JUDGED, upstream_port=cloud.port).start()
    with RawClient(gateway.port) as client:
        client.join("device")
        for number in range(1, 101):
            client.send(raw_publish("counted/7", reading(number), 1, number))
            client.read()
        for _ in range(5):
            client.send(raw_publish("dropped/x", b"no", 1, 200))
            assert client.read().packet_id == 200  # acknowledged all the same
        client.send(raw_publish("counted/7", reading(111), 1, 201))  # ten never came
        client.read()
    wait_for(gateway.is_drained, what="everything forwarded")
    judged = {"received": 101, "forwarded": 91, "pending": 0, "quarantined": 10, "filtered": 0, "dropped": 0}
    assert books(gateway) == judged
    wait_for(lambda: len(losses(gateway)) == 2, what="rows of the ledger on disk")
    assert losses(gateway) == {("rejected", "dropped: codec"): 5, ("device_gap", "counted: 7"): 10}
    gateway.kill()
    gateway.config_path.write_text(gateway.config_path.read_text().replace("max = 85", "max = 1000"))
    gateway.start()
    wait_for(lambda: gateway.status()["quarantine"]["contracts"] == {"counted": 10}, what="violations found again")
    answer = gateway.command_json("quarantine", "release", "--contract", "counted")
    gateway.kill()
    assert answer["released"] == 10
    gateway.start()
    assert gateway.command_json("quarantine", "release", "--contract", "counted")["released"] == 0
    wait_for(gateway.is_drained, what="everything forwarded")
    assert books(gateway) == judged | {"received": 111, "forwarded": 101}
    originals = [each.properties["original"] for each in cloud.arrivals if "original" in each.properties]
    assert len(set(originals)) == 10
    assert gateway.stop() == 0
    assert books(gateway) == judged | {"received": 111, "forwarded": 101}


def test_a_message_that_was_stored_and_not_acknowledged_before_a_kill_is_stored_once(gateway_at: Gateways) -> None:
    gateway = gateway_at(config=LOG + JUDGED).start()
    messages = [raw_publish("counted/7", reading(number), 1, number) for number in range(1, 6)]
    with RawClient(gateway.port) as client:
        client.join("device")
        client.send(b"".join(messages))
        wait_for(lambda: gateway.status()["log"]["head"] == 5, what="all of them stored")
        gateway.kill()
    gateway.start()
    with RawClient(gateway.port) as client:
        client.join("device")
        for number in range(1, 8):
            client.send(raw_publish("counted/7", reading(number), 1, number, duplicate=number < 6))
            assert client.read().packet_id == number
    assert [event.payload for event in gateway.events()] == [reading(number) for number in range(1, 8)]
    assert gateway.status()["ingest"] == {"repeats": 5}
    assert losses(gateway) == {}
    assert gateway.stop() == 0
