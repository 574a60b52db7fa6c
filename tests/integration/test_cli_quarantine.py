"""`gateway quarantine` beside a running gateway and without one: what is there, why, and what becomes of it."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any

import mqtt5
import pytest

from tests.site.ports import wait_for
from tests.site.raw_client import RawClient, publish
from tests.site.scripted_upstream import Arrival, ScriptedUpstream, accept, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]

CONTRACT = """
[contracts.temperature]
topic = "site/{device}/temperature"
fields = { celsius = { type = "number", max = LIMIT } }

[log]
cursor_interval_s = 0.05
"""
READ_AGAIN = "the configuration was read again|was not taken over"
TOPIC = "site/3/temperature"


def at_most(limit: int) -> str:
    return CONTRACT.replace("LIMIT", str(limit))


def take(arrival: Arrival) -> bytes:
    if arrival.payload == b"too much" and "replay" not in arrival.properties:
        return refuse(arrival, mqtt5.PubAckReasonCode.PAYLOAD_FORMAT_INVALID)
    return accept(arrival)


@pytest.fixture
def cloud() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(take) as server:
        yield server


@pytest.fixture
def site(gateway_at: Gateways, cloud: ScriptedUpstream) -> GatewayProcess:
    """A gateway that has forwarded 20 degrees, quarantined 90 and 900, and was refused something else."""
    gateway = gateway_at(config=at_most(85), upstream_port=cloud.port).start()
    send(gateway, TOPIC, b'{"celsius": 20}', b'{"celsius": 90}', b'{"celsius": 900}')
    send(gateway, "other", b"too much")
    wait_for(gateway.is_drained, what="everything forwarded")
    return gateway


def send(gateway: GatewayProcess, topic: str, *payloads: bytes) -> None:
    with RawClient(gateway.port) as client:
        client.join("dev")
        for number, payload in enumerate(payloads, 1):
            client.send(publish(topic, payload, 1, number))
            packet = client.read()
            assert packet is not None
            assert packet.packet_id == number


def mend(gateway: GatewayProcess, limit: int) -> None:
    text = gateway.config_path.read_text(encoding="utf-8")
    gateway.config_path.write_text(text.replace("max = 85", f"max = {limit}"), encoding="utf-8")


def listed(gateway: GatewayProcess, *arguments: str) -> list[dict[str, Any]]:
    done = gateway.command("quarantine", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def seqs(gateway: GatewayProcess, *arguments: str) -> list[int]:
    return sorted(row["seq"] for row in listed(gateway, *arguments))


def test_what_went_nowhere_is_listed_with_why_whether_the_gateway_runs_or_not(
    site: GatewayProcess, cloud: ScriptedUpstream
) -> None:
    assert [arrival.payload for arrival in cloud.arrivals] == [b'{"celsius": 20}', b"too much"]
    for runs in (True, False):
        by_seq = {row["seq"]: row for row in listed(site)}
        assert sorted(by_seq) == [2, 3, 4]
        assert by_seq[2]["why"] == "temperature 1: celsius: max: 90"
        assert (by_seq[2]["payload"], by_seq[2]["device"]) == ('{"celsius": 90}', "3")
        assert by_seq[4]["why"].startswith("refused by cloud: ")
        assert seqs(site, "--upstream", "cloud") == [4]
        assert seqs(site, "--contract", "temperature") == [2, 3]
        assert seqs(site, "--topic", "other") == [4]
        assert seqs(site, "--seq", "3") == [3]
        assert "temperature 1: celsius: max: 900" in site.command("quarantine", "list").stdout
        assert "max: 90" in site.command("quarantine", "show", "2").stdout
        assert site.command("quarantine", "show", "1").returncode == 1
        if runs:
            assert site.stop() == 0


def test_what_still_violates_stays_and_what_does_not_goes_on_naming_its_original(
    site: GatewayProcess, cloud: ScriptedUpstream
) -> None:
    done = site.command("quarantine", "release", "--contract", "temperature")
    assert done.returncode == 1
    assert "0 released" in done.stdout
    assert "event 3 stays: temperature 1: celsius: max: 900" in done.stdout
    mend(site, 100)
    assert site.stop() == 0
    site.start()
    answer = json.loads(site.command("quarantine", "release", "--all", "--upstream", "", "--json").stdout)
    assert (answer["released"], answer["still"], answer["why"][0]["seq"]) == (1, 1, 3)
    wait_for(lambda: cloud.arrivals[-1].payload == b'{"celsius": 90}', what="the released event")
    released, log_id = cloud.arrivals[-1], cloud.arrivals[0].properties["id"].split(".")[0]
    assert (released.properties["id"], released.properties["original"]) == (f"{log_id}.5", f"{log_id}.2")
    assert released.properties["originaltime"] < released.properties["time"]
    assert seqs(site, "--upstream", "") == [3]
    assert [row["released_seq"] for row in listed(site, "--upstream", "", "--released")] == [5, 0]
    (line,) = site.command_json("status", "--books")
    assert line["balances"]
    assert (line["received"], line["forwarded"], line["quarantined"]) == (5, 2, 3)


def reload(gateway: GatewayProcess, text: str) -> None:
    """SIGHUP; returns when the gateway has taken over or refused what is written."""
    before = len(re.findall(READ_AGAIN, gateway.log()))
    gateway.config_path.write_text(text, encoding="utf-8")
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(re.findall(READ_AGAIN, gateway.log())) > before, what="the configuration read again")


def test_a_contract_is_mended_while_the_gateway_runs_and_a_mistake_in_it_changes_nothing(
    site: GatewayProcess, cloud: ScriptedUpstream
) -> None:
    text = site.config_path.read_text(encoding="utf-8")
    with RawClient(site.port) as client:
        client.join("stays")
        reload(site, text.replace("max = 85", "max = 85, min = 90"))
        assert "contracts.temperature" in site.status()["config"]["error"]
        reload(site, text.replace("max = 85", "max = 95"))
        assert site.status()["config"] == {"error": "", "needs_restart": []}
        for number, payload in enumerate((b'{"celsius": 94}', b'{"celsius": 96}'), 1):
            client.send(publish(TOPIC, payload, 1, number))
            client.read()
    assert site.command("quarantine", "release", "--seq", "2").returncode == 0
    payloads = [b'{"celsius": 20}', b"too much", b'{"celsius": 94}', b'{"celsius": 90}']
    wait_for(lambda: [arrival.payload for arrival in cloud.arrivals] == payloads, what="what is right by now")
    assert seqs(site, "--contract", "temperature") == [3, 6]


def test_what_an_upstream_refused_is_sent_to_it_again_under_its_own_id(
    site: GatewayProcess, cloud: ScriptedUpstream
) -> None:
    answer = site.command_json("quarantine", "release", "--upstream", "cloud")
    assert [(each["upstream"], each["events"]) for each in answer["replays"]] == [("cloud", 1)]
    wait_for(lambda: "replay" in cloud.arrivals[-1].properties, what="the event again")
    first, again = (each for each in cloud.arrivals if each.payload == b"too much")
    assert again.properties["id"] == first.properties["id"]
    assert seqs(site, "--upstream", "cloud") == []


def test_what_is_exported_is_whole_and_what_is_removed_is_booked(site: GatewayProcess) -> None:
    send(site, TOPIC, b"\xff")
    to = site.data_dir.parent / "out.jsonl"
    assert site.command("quarantine", "export", "--contract", "temperature", "--to-file", str(to)).returncode == 0
    rows = [json.loads(line) for line in to.read_text(encoding="utf-8").splitlines()]
    assert [row.get("payload") or row["payload_base64"] for row in rows] == [
        '{"celsius": 90}',
        '{"celsius": 900}',
        "/w==",
    ]
    assert site.command("quarantine", "purge").returncode == 2
    assert site.command_json("quarantine", "purge", "--seq", "2", "--seq", "3") == {"purged": 2}
    assert seqs(site, "--contract", "temperature") == [5]
    assert [(row["cause"], row["detail"], row["events"]) for row in site.command_json("status", "--losses")] == [
        ("purged", "violates temperature", 2)
    ]
    assert site.stop() == 0
    done = site.command("quarantine", "purge", "--all")
    assert done.returncode == 1
    assert "Only a running gateway" in done.stderr


def test_status_counts_what_is_in_quarantine_by_contract_and_upstream(site: GatewayProcess) -> None:
    wait_for(lambda: site.status()["quarantine"]["contracts"], what="violations in quarantine")
    told = site.status()["quarantine"]
    assert (told["contracts"], told["upstreams"]) == ({"temperature": 2}, {"cloud": 1})
    assert "2 violate temperature" in site.command("status").stdout
    assert site.stop() == 0
    assert site.command_json("status")["quarantine"]["contracts"] == {"temperature": 2}
