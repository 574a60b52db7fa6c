"""`gateway status`, `tail` and `events`: what is in the log, whether the gateway runs, has run, or never ran."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.site.gateway_process import GatewayProcess
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Done

    Cli = Callable[..., Done]

EVENTS = [
    ("one", "plant/a", b"1"),
    ("two", "plant/b", b"\xff\x00"),
    ("one", "plant/a/x", b"3"),
    ("two", "office", b"4"),
]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that runs, with `EVENTS` stored three times: 12 events."""
    process = GatewayProcess(tmp_path_factory.mktemp("full"), "full").start()
    for _ in range(3):
        for client_id, topic, payload in EVENTS:
            with RawClient(process.port) as device:
                device.join(client_id).publish(topic, payload)
    yield process
    process.kill()


def seqs(done: Done) -> list[int]:
    assert done.code == 0, done.err
    return [json.loads(line)["seq"] for line in done.out.splitlines()]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], list(range(1, 13))),
        (["--from", "5"], list(range(5, 13))),
        (["--from", "5", "--to", "7"], [5, 6, 7]),
        (["--to", "2"], [1, 2]),
        (["--from", "13"], []),
        (["--limit", "3"], [1, 2, 3]),
        (["--limit", "0"], list(range(1, 13))),
        (["--topic", "plant/+"], [1, 2, 5, 6, 9, 10]),
        (["--topic", "plant/#", "--device", "one"], [1, 3, 5, 7, 9, 11]),
        (["--device", "two", "--from", "3", "--limit", "2"], [4, 6]),
        (["--device", "nobody"], []),
        (["--from", "2020-01-01", "--limit", "1"], [1]),
        (["--from", "2100-01-01"], []),
        (["--to", "2020-01-01T00:00:00Z"], []),
        (["--where", "$ >= 3"], [3, 4, 7, 8, 11, 12]),
        (["--where", "$ == 3 or $ == 1", "--topic", "plant/a", "--to", "6"], [1, 5]),
        (["--where", "temperature > 30"], []),
    ],
)
def test_any_stretch_of_the_log_can_be_printed(
    cli: Cli, full: GatewayProcess, options: list[str], wanted: list[int]
) -> None:
    assert seqs(cli("events", "--config", full.config_path, "--json", *options)) == wanted


def test_times_of_events_choose_them(cli: Cli, full: GatewayProcess) -> None:
    told = [json.loads(line) for line in cli("events", "--config", full.config_path, "--json").out.splitlines()]
    fifth = told[4]["time"]
    earlier = [each["seq"] for each in told if each["time"] <= fifth]
    later = [each["seq"] for each in told if each["time"] >= fifth]
    assert seqs(cli("events", "--config", full.config_path, "--json", "--to", fifth)) == earlier
    assert seqs(cli("events", "--config", full.config_path, "--json", "--from", fifth)) == later


def test_an_event_as_json_has_everything_that_is_stored(cli: Cli, full: GatewayProcess) -> None:
    done = cli("events", "--config", full.config_path, "--json", "--limit", "2")
    first, second = (json.loads(line) for line in done.out.splitlines())
    stored = full.events()[0]
    assert first["payload"] == "1"
    assert base64.b64decode(second["payload_base64"]) == b"\xff\x00"
    assert "payload" not in second
    for key in ("seq", "topic", "client_id", "qos", "retain", "received_ns", "mono_ns", "boot_id", "origin"):
        assert first[key] == getattr(stored, key)
    log_id, seq = first["id"].split(".")
    assert (len(log_id), seq) == (32, "1")


def test_an_event_as_a_line_cannot_steer_the_terminal(cli: Cli, edge: GatewayProcess) -> None:
    with RawClient(edge.port) as device:
        device.join("evil\x1b[2J").publish("evil/\x1b]0;x\x07", b"\x1b[31m\nfake line")
    done = cli("tail", "--config", edge.config_path, "-n", "1")
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert all(character.isprintable() for character in done.out.rstrip("\n"))


@pytest.mark.parametrize(
    "option",
    [["--from", "yesterday"], ["--to", "-"], ["--topic", "a/#/b"], ["--limit", "-1"], ["--where", "temperature = 3"]],
)
def test_a_stretch_that_cannot_be_understood_is_wrong_usage(cli: Cli, full: GatewayProcess, option: list[str]) -> None:
    assert cli("events", "--config", full.config_path, *option).code == 2


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], list(range(3, 13))),
        (["-n", "2"], [11, 12]),
        (["-n", "0"], []),
        (["-n", "500"], list(range(1, 13))),
        (["-n", "2", "--topic", "plant/a"], [5, 9]),
        (["-n", "1", "--device", "one"], [11]),
    ],
)
def test_tail_prints_the_newest_events(cli: Cli, full: GatewayProcess, options: list[str], wanted: list[int]) -> None:
    assert seqs(cli("tail", "--config", full.config_path, "--json", *options)) == wanted


def test_tail_follow_prints_events_as_they_are_stored_until_ctrl_c(edge: GatewayProcess) -> None:
    command = [sys.executable, "-m", "gateway", "tail", "--config", str(edge.config_path)]
    command += ["--follow", "--json", "-n", "0", "--topic", "follow/#"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            with RawClient(edge.port) as device:
                device.join("device")
                process_reads = process.stdout.fileno()
                n = 0
                while not _is_readable(process_reads):  # it looks at the end of the log some time after its start
                    n += 1
                    device.publish("follow/early", b"")
                device.publish("other", b"unwanted")
                device.publish("follow/late", b"last")
            told = [json.loads(process.stdout.readline())]
            while told[-1]["topic"] != "follow/late":
                told.append(json.loads(process.stdout.readline()))
            assert [each["seq"] for each in told] == sorted({each["seq"] for each in told})
            assert {each["topic"] for each in told} == {"follow/early", "follow/late"}
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()


def _is_readable(descriptor: int) -> bool:
    import select  # noqa: PLC0415 - used here only

    return bool(select.select([descriptor], [], [], 0.1)[0])


def test_output_may_be_cut_off_by_head(full: GatewayProcess) -> None:
    command = f"{sys.executable} -m gateway events --config {full.config_path} | head -n 1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_status_of_a_running_a_stopped_and_a_never_started_gateway(
    cli: Cli, gateway_at: Callable[..., GatewayProcess]
) -> None:
    gateway = gateway_at(upstream_port=1)
    never = cli("status", "--config", gateway.config_path, "--json")
    assert (never.code, never.out) == (1, "")
    assert "there is no log in" in never.err
    assert "gateway run" in never.err

    gateway.start()
    with RawClient(gateway.port) as device:
        device.join("device").publish("a", b"x")
        wait_for(lambda: gateway.upstream()["state"] == "unreachable", what="the dead upstream noticed")
        running = json.loads(cli("status", "--config", gateway.config_path, "--json").out)
        shown = cli("status", "--config", gateway.config_path)
    assert (running["id"], running["running"], running["log"]["head"]) == ("edge", True, 1)
    assert running["broker"]["clients"] == 1
    (cloud,) = running["upstreams"]
    assert (cloud["state"], cloud["pending"], cloud["cursor"]) == ("unreachable", 1, 0)
    assert shown.code == 0
    assert "unreachable" in shown.out

    for end in (gateway.stop, gateway.kill):
        end()
        stopped = json.loads(cli("status", "--config", gateway.config_path, "--json").out)
        assert (stopped["id"], stopped["running"], stopped["log"]["head"]) == ("edge", False, 1)
        assert set(stopped["log"]) == set(running["log"])
        (cloud,) = stopped["upstreams"]
        assert (cloud["name"], cloud["state"], cloud["pending"]) == ("cloud", "stopped", 1)
        assert "not running" in cli("status", "--config", gateway.config_path).out
        gateway.start()


@pytest.mark.parametrize("command", ["tail", "events"])
def test_events_of_a_gateway_that_never_ran_are_told_to_be_missing(
    cli: Cli, gateway_at: Callable[..., GatewayProcess], command: str
) -> None:
    done = cli(command, "--config", gateway_at().config_path)
    assert (done.code, done.out) == (1, "")
    assert "there is no log in" in done.err


def test_events_can_be_read_when_the_gateway_was_killed(cli: Cli, gateway_at: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as device:
        device.join("device").publish("a", b"x")
        gateway.kill()
    assert seqs(cli("events", "--config", gateway.config_path, "--json")) == [1]
