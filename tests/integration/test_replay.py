"""`gateway replay`: to an upstream beside live events, and to a file, with a real gateway and a real Mosquitto."""

from __future__ import annotations

import csv
import json
import os
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet

from tests.site.cloud_subscriber import CloudSubscriber, durable
from tests.site.gateway_process import GatewayProcess
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import Done
    from tests.site.mosquitto_process import MosquittoProcess

    Cli = Callable[..., Done]

EVENTS = [
    ("one", "plant/a", b'{"t": 20}'),
    ("two", "plant/b", b"\xff\x00"),
    ("one", "plant/a/x", b'{"t": 31}'),
    ("two", "office", b'say "hi",\nthere'),
]


def publish(gateway: GatewayProcess, times: int = 1) -> None:
    for _ in range(times):
        for client_id, topic, payload in EVENTS:
            with RawClient(gateway.port) as device:
                device.join(client_id).publish(topic, payload)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that has stored `EVENTS` twice and does not run."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("stopped"), "stopped").start()
    publish(gateway, 2)
    assert gateway.stop() == 0
    yield gateway
    gateway.kill()


@pytest.fixture
def cloud(mosquitto_at: Callable[..., MosquittoProcess], tmp_path: Path) -> Iterator[tuple[int, CloudSubscriber]]:
    mosquitto = mosquitto_at(config=durable(tmp_path)).start()
    with CloudSubscriber(mosquitto.port) as subscriber:
        yield mosquitto.port, subscriber


def ended(gateway: GatewayProcess, id_: str) -> dict[str, object]:
    found: dict[str, object] = {}

    def is_over() -> bool:
        found.update(gateway.command_json("replay", "show", id_))
        return found["state"] not in {"running", "paused"}

    wait_for(is_over, what="the end of the replay")
    return found


def test_a_stretch_is_sent_again_with_the_same_ids_and_marked(
    gateway_at: Callable[..., GatewayProcess], cloud: tuple[int, CloudSubscriber]
) -> None:
    port, subscriber = cloud
    gateway = gateway_at(upstream_port=port).start()
    publish(gateway, 2)
    wait_for(lambda: len(subscriber.arrivals) == 8, what="the live events")
    books = gateway.command_json("status", "--books")
    begun = gateway.command_json(
        "replay", "--upstream", "cloud", "--from", "2", "--to", "7", "--topic", "plant/#", "--device", "one"
    )
    over = ended(gateway, begun["id"])
    assert (over["state"], over["sent"], over["filtered"], over["missing"]) == ("done", 3, 3, 0)
    wait_for(lambda: len(subscriber.arrivals) == 11, what="the replayed events")
    live, again = subscriber.arrivals[:8], subscriber.arrivals[8:]
    assert [each.payload for each in again] == [b'{"t": 31}', b'{"t": 20}', b'{"t": 31}']
    assert [each.properties["replay"] for each in again] == [begun["id"]] * 3
    assert [each.properties["id"] for each in again] == [live[at].properties["id"] for at in (2, 4, 6)]
    assert not any("replay" in each.properties for each in live)
    assert gateway.command_json("status", "--books") == books


def test_a_replay_follows_until_its_end_and_is_remembered(
    cli: Cli, gateway_at: Callable[..., GatewayProcess], cloud: tuple[int, CloudSubscriber]
) -> None:
    port, subscriber = cloud
    gateway = gateway_at(upstream_port=port).start()
    publish(gateway)
    done = cli("replay", "-u", "cloud", "--where", "t > 30", "--follow", "--config", gateway.config_path)
    assert done.code == 0, done.err
    assert "done 100.0 %, 1 sent, 3 filtered" in done.out.splitlines()[-5]
    gateway.stop()
    (row,) = gateway.command_json("replay", "list")
    assert (row["state"], row["sent"], row["where"]) == ("done", 1, "t > 30")
    assert cli("replay", "show", row["id"], "--config", gateway.config_path).code == 0
    assert len(subscriber.arrivals) == 5


def test_a_replay_is_paused_over_a_restart_and_resumed(
    gateway_at: Callable[..., GatewayProcess], mosquitto_at: Callable[..., MosquittoProcess], tmp_path: Path
) -> None:
    mosquitto = mosquitto_at(config=durable(tmp_path)).start()
    gateway = gateway_at(upstream_port=mosquitto.port).start()
    publish(gateway, 3)
    wait_for(gateway.is_drained, what="the live events forwarded")
    mosquitto.stop()  # so that the replay cannot end before it is paused
    begun = gateway.command_json("replay", "-u", "cloud")
    paused = gateway.command_json("replay", "pause", begun["id"])
    assert (paused["state"], paused["reason"]) == ("paused", "paused by an operator")
    gateway.stop()
    mosquitto.start()
    gateway.start()
    with CloudSubscriber(mosquitto.port) as subscriber:
        assert gateway.command_json("replay", "show", begun["id"])["state"] == "paused"
        gateway.command_json("replay", "resume", begun["id"])
        assert ended(gateway, begun["id"])["sent"] == 12
        wait_for(lambda: len(subscriber.arrivals) == 12, what="the replayed events")


def test_a_replay_is_cancelled(cli: Cli, gateway_at: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_at(upstream_port=1).start()
    publish(gateway)
    begun = gateway.command_json("replay", "-u", "cloud")
    wait_for(
        lambda: gateway.command_json("replay", "show", begun["id"])["connection"] == "unreachable",
        what="the dead upstream noticed",
    )
    assert gateway.command_json("replay", "cancel", begun["id"])["state"] == "cancelled"
    again = cli("replay", "resume", begun["id"], "--config", gateway.config_path)
    assert (again.code, "has ended: it is cancelled" in again.err) == (1, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-u", "nobody"], "there is no upstream 'nobody'"),
        (["-u", "cloud", "--from", "2100-01-01"], "there is no event in that stretch"),
        (["-u", "cloud", "--from", "99"], "there is no event in that stretch"),
        (["show", "nothing"], "there is no replay 'nothing'"),
    ],
)
def test_what_cannot_be_replayed_is_told(
    cli: Cli, gateway_at: Callable[..., GatewayProcess], options: list[str], told: str
) -> None:
    gateway = gateway_at(upstream_port=1).start()
    publish(gateway)
    done = cli("replay", *options, "--config", gateway.config_path)
    assert done.code == 1
    assert told in done.err


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-u", "cloud", "--to-file", "x.csv"],
        ["-u", "cloud", "--rate", "1", "--speed", "2"],
        ["-u", "cloud", "--rate", "0"],
        ["-u", "cloud", "--quarantined"],
        ["-u", "cloud", "--where", "t = 3"],
        ["--to-file", "x.csv", "--rate", "1"],
    ],
)
def test_wrong_usage_is_told_as_such(cli: Cli, stopped: GatewayProcess, options: list[str]) -> None:
    assert cli("replay", *options, "--config", stopped.config_path).code == 2


def test_without_a_running_gateway_nothing_is_sent(cli: Cli, stopped: GatewayProcess) -> None:
    done = cli("replay", "-u", "cloud", "--config", stopped.config_path)
    assert done.code == 1
    assert "the gateway does not run" in done.err
    assert "gateway run" in done.err


def test_a_dry_run_tells_how_much_it_would_be(cli: Cli, stopped: GatewayProcess) -> None:
    told = stopped.command_json("replay", "--dry-run", "--topic", "plant/#", "--from", "2")
    assert (told["events"], told["first_seq"], told["last_seq"]) == (5, 2, 7)
    assert told["bytes"] == sum(
        len(topic) + len(payload) for _, topic, payload in (*EVENTS[1:], *EVENTS) if topic != "office"
    )
    assert told["first_time"] < told["last_time"]
    assert "0 event(s)" in cli("replay", "--dry-run", "--device", "x", "--config", stopped.config_path).out


def test_a_dry_run_to_an_upstream_leaves_out_what_that_does_not_want(
    cli: Cli, gateway_at: Callable[..., GatewayProcess]
) -> None:
    gateway = gateway_at(upstream_port=1, upstream_options='topics = ["plant/#"]').start()
    publish(gateway)
    assert gateway.command_json("replay", "-u", "cloud", "--dry-run", "--device", "one")["events"] == 2
    assert gateway.command_json("replay", "-u", "cloud", "--dry-run", "--device", "two")["events"] == 1
    assert "there is no upstream" in cli("replay", "-u", "x", "--dry-run", "--config", gateway.config_path).err


def test_a_file_of_json_lines_is_what_events_prints(cli: Cli, stopped: GatewayProcess, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    done = cli("replay", "--to-file", path, "--from", "3", "--config", stopped.config_path)
    assert (done.code, done.out) == (0, f"6 event(s) in {path}\n"), done.err
    printed = cli("events", "--from", "3", "--json", "--config", stopped.config_path).out
    assert path.read_text(encoding="utf-8") == printed


def test_a_csv_file_reads_back(cli: Cli, stopped: GatewayProcess, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("an older one", encoding="utf-8")
    assert cli("replay", "--to-file", path, "--config", stopped.config_path).code == 0
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["payload"] for row in rows[:4]] == ['{"t": 20}', "", '{"t": 31}', 'say "hi",\nthere']
    assert rows[1]["payload_base64"] == "/wA="
    assert [int(row["seq"]) for row in rows] == list(range(1, 9))


def test_a_parquet_file_reads_back(cli: Cli, stopped: GatewayProcess, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    assert cli("replay", "--to-file", path, "--device", "two", "--config", stopped.config_path).code == 0
    rows = parquet.read_table(path, columns=["seq", "topic", "payload"]).to_pylist()
    assert [(row["seq"], row["topic"], row["payload"]) for row in rows[:2]] == [
        (2, "plant/b", b"\xff\x00"),
        (4, "office", b'say "hi",\nthere'),
    ]
    stored = stopped.events()[1]
    assert parquet.read_table(path)["time"].cast("int64")[0].as_py() == stored.received_ns


@pytest.mark.parametrize("name", ["out.txt", "out", "no/such/folder.csv"])
def test_a_file_that_cannot_be_written_leaves_nothing(
    cli: Cli, stopped: GatewayProcess, tmp_path: Path, name: str
) -> None:
    done = cli("replay", "--to-file", tmp_path / name, "--config", stopped.config_path)
    assert done.code == 1
    assert name in done.err
    assert not list(tmp_path.iterdir())


def test_a_file_is_not_there_before_it_is_complete(
    cli: Cli, stopped: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("the older one", encoding="utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = cli("replay", "--to-file", path, "--config", stopped.config_path)
    assert done.code == 1
    assert "No space left" in done.err
    assert path.read_text(encoding="utf-8") == "the older one"
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]


def test_replays_are_listed_as_json(stopped: GatewayProcess) -> None:
    assert json.loads(stopped.command("replay", "list", "--json").stdout) == []
