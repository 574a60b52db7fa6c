"""Upstreams that come, change, pause, move and go while a real gateway runs under load: nothing is lost by that."""

from __future__ import annotations

import json
import re
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from device_sims.verdict import identify, judge
from tests.site.cloud_subscriber import CloudSubscriber, durable
from tests.site.load import Load
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.site.cloud_subscriber import Arrival
    from tests.site.gateway_process import GatewayProcess
    from tests.site.mosquitto_process import MosquittoProcess

    Gateways = Callable[..., GatewayProcess]
    Mosquittos = Callable[..., MosquittoProcess]

QUICK = "backoff_initial_s = 0.1\nbackoff_max_s = 0.5\n"


def section(name: str, port: int, more: str = "") -> str:
    return f'[upstreams.{name}]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{port}"\n{QUICK}{more}\n'


class Reloaded:
    """A gateway whose upstreams a test writes anew, as an operator does."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self._rest = gateway.config_path.read_text(encoding="utf-8")

    def write(self, *sections: str, rest: str | None = None) -> None:
        self.gateway.config_path.write_text((rest or self._rest) + "".join(sections), encoding="utf-8")

    def reload(self, *sections: str, rest: str | None = None) -> None:
        """SIGHUP; returns when the gateway has taken over or refused what is written."""
        self.write(*sections, rest=rest)
        before = self._count()
        assert self.gateway.process is not None
        self.gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self._count() > before, what="the configuration read again")

    def _count(self) -> int:
        return len(re.findall("the configuration was read again|was not taken over", self.gateway.log()))


@pytest.fixture
def site(gateway_at: Gateways) -> Iterator[Reloaded]:
    reloaded = Reloaded(gateway_at())
    yield reloaded
    reloaded.gateway.kill()


@pytest.fixture
def clouds(mosquitto_at: Mosquittos, tmp_path: Path) -> Iterator[Callable[[str], Cloud]]:
    with ExitStack() as at_the_end:

        def make(name: str) -> Cloud:
            (tmp_path / name).mkdir()
            broker = mosquitto_at(name, config=durable(tmp_path / name)).start()
            return Cloud(broker, at_the_end.enter_context(CloudSubscriber(broker.port)))

        yield make


class Cloud:
    """A Mosquitto and everything that ever reached it."""

    def __init__(self, broker: MosquittoProcess, record: CloudSubscriber) -> None:
        self.broker = broker
        self.record = record

    @property
    def port(self) -> int:
        return self.broker.port

    def logins(self, client_id: str) -> int:
        """How often a client of this name connected, as the broker's log has it."""
        return self.broker.log_path.read_text(encoding="utf-8").count(f" as {client_id} (")


def delivered(arrivals: Iterable[Arrival]) -> list[tuple[str, int]]:
    return [known for each in arrivals if (known := identify(each.payload)) is not None]


def mark(gateway: GatewayProcess, payload: bytes, *clouds: Cloud) -> None:
    """An event behind all others; returns when each of these has it."""
    with RawClient(gateway.port) as client:
        client.join("marker").publish("marker", payload)
    for cloud in clouds:
        cloud.record.wait_for_payload(payload)


def balanced(gateway: GatewayProcess) -> dict[str, dict[str, Any]]:
    lines = gateway.command_json("status", "--books")
    assert all(line["balances"] for line in lines), lines
    return {line["upstream"]: line for line in lines}


def test_upstreams_are_added_changed_and_removed_under_load_and_the_others_do_not_notice(
    site: Reloaded, clouds: Callable[[str], Cloud]
) -> None:
    steady, changed, late = clouds("steady"), clouds("changed"), clouds("late")
    gateway = site.gateway
    site.write(section("steady", steady.port), section("changed", changed.port))
    gateway.start()
    with Load(gateway.port) as load:
        load.wait_acknowledged(500)
        site.reload(
            section("steady", steady.port), section("changed", changed.port, "batch_events_max = 50"),
            section("late", late.port),
        )  # fmt: skip
        load.wait_acknowledged(500)
        site.reload(section("steady", steady.port), section("late", late.port, 'start = "now"'))
        load.wait_acknowledged(500)
        books = balanced(gateway)
        assert (books["changed"]["configured"], books["steady"]["configured"]) == (False, True)
        left_at = books["changed"]["cursor"]
        site.reload(section("changed", changed.port), section("late", late.port), section("steady", steady.port))
        load.wait_acknowledged(500)
        load.finish()
    mark(gateway, b"end", steady, changed, late)
    wait_for(lambda: all(gateway.is_drained(name) for name in ("steady", "changed", "late")), what="all have all")
    for cloud in (steady, changed, late):
        verdict = judge(load.acknowledged(), delivered(cloud.record.arrivals))
        assert verdict.ok, verdict.total
    assert (gateway.upstream("steady")["reconnects"], steady.logins("edge-steady")) == (0, 1)
    assert (late.logins("edge-late"), changed.logins("edge-changed")) == (1, 3)
    again = [int(each.properties["id"].split(".")[1]) for each in changed.record.arrivals]
    assert again[again.index(left_at + 1) :][0] == left_at + 1
    head = gateway.status()["log"]["head"]
    assert {line["received"] for line in balanced(gateway).values()} == {head}
    assert gateway.stop() == 0
    balanced(gateway)
    assert "Traceback" not in gateway.log()


def test_a_wrong_configuration_at_sighup_leaves_all_as_it_was_and_says_what_to_write(
    site: Reloaded, clouds: Callable[[str], Cloud]
) -> None:
    cloud = clouds("cloud")
    gateway = site.gateway
    site.write(section("cloud", cloud.port))
    gateway.start()
    for wrong, told in (
        (section("cloud", cloud.port, 'topics = ["a#"]'), "upstreams.cloud.topics.0"),
        (section("cloud", cloud.port, 'active_hours = ["night"]'), "upstreams.cloud.active_hours"),
        (section("cloud", cloud.port, "topcis = []"), "did you mean 'topics'"),
        (section("cloud", cloud.port, 'start = "soon"'), "upstreams.cloud.start"),
        ("this is not TOML", "is not TOML"),
    ):
        site.reload(wrong, section("more", cloud.port))
        assert told in gateway.status()["config"]["error"]
        site.write(section("cloud", cloud.port))
        assert told in gateway.command("status").stdout
        mark(gateway, told.encode(), cloud)
    assert [each["name"] for each in gateway.status()["upstreams"]] == ["cloud"]
    assert (gateway.upstream()["reconnects"], cloud.logins("edge-cloud")) == (0, 1)
    rest = gateway.config_path.read_text(encoding="utf-8").split("[upstreams")[0]
    site.reload(section("cloud", cloud.port), rest=rest + "connections_max = 77\n[log]\nretention_age_s = 9\n")
    assert gateway.status()["config"] == {
        "error": "", "needs_restart": ["broker.connections_max", "log.retention_age_s"],
    }  # fmt: skip
    assert "log.retention_age_s" in gateway.command("status").stdout
    assert "a change of the configuration needs a restart key='log.retention_age_s'" in gateway.log()


def test_an_upstream_is_paused_over_sigkill_resumed_and_moved_and_its_books_balance(
    site: Reloaded, clouds: Callable[[str], Cloud]
) -> None:
    steady, other = clouds("steady"), clouds("other")
    gateway = site.gateway
    site.write(section("steady", steady.port), section("other", other.port))
    gateway.start()
    with Load(gateway.port) as load:
        load.wait_acknowledged(500)
        assert gateway.command("upstreams", "pause", "other").returncode == 0
        assert gateway.upstream("other")["state"] == "paused"
        stopped_at = gateway.upstream("other")["cursor"]
        load.wait_acknowledged(500)
        assert (steady.logins("edge-steady"), gateway.upstream("steady")["reconnects"]) == (1, 0)
        gateway.kill()
        assert {each["name"]: each["state"] for each in gateway.command_json("upstreams", "list")} == {
            "steady": "stopped", "other": "paused",
        }  # fmt: skip
        gateway.start()
        load.wait_acknowledged(500)
        waiting = gateway.command_json("upstreams", "show", "other")
        assert (waiting["state"], waiting["cursor"]) == ("paused", stopped_at)
        assert waiting["pending"] >= 1000
        assert gateway.command("upstreams", "resume", "other").returncode == 0
        load.finish()
    mark(gateway, b"resumed", steady, other)
    for cloud in (steady, other):
        assert judge(load.acknowledged(), delivered(cloud.record.arrivals)).ok
    wait_for(lambda: gateway.is_drained("other") and gateway.is_drained("steady"), what="all have all")

    head = gateway.status()["log"]["head"]
    seen, to = len(other.record.arrivals), str(head - 499)
    told = gateway.command("upstreams", "seek", "other", to)
    assert told.returncode == 1
    assert f"would go on with event {head - 499:,} instead of {head + 1:,}: 500 event(s) are sent again" in told.stdout
    assert gateway.is_drained("other")
    assert gateway.command("upstreams", "seek", "other", to, "--yes").returncode == 0
    wait_for(lambda: len(other.record.arrivals) == seen + 500, 60, "sent again")
    ids = [each.properties["id"] for each in other.record.arrivals]
    assert ids[seen:] == ids[seen - 500 : seen]  # the same events under the same ids, in order
    wait_for(lambda: gateway.is_drained("other"), what="the cursor at the end")
    books = balanced(gateway)
    assert (books["other"]["received"], books["steady"]["received"]) == (500, head)

    gateway.command("upstreams", "pause", "other")
    with RawClient(gateway.port) as client:
        client.join("device")
        for n in range(10):
            client.publish("t", str(n).encode())
    moved = json.loads(gateway.command("upstreams", "seek", "other", "now", "--yes", "--json").stdout)
    assert (moved["events"], moved["done"]) == (10, True)
    gateway.command("upstreams", "resume", "other")
    mark(gateway, b"moved on", other)
    assert other.record.arrivals[-2].payload != b"9"
    assert balanced(gateway)["other"]["dropped"] == 10
    assert {row["cause"] for row in gateway.command_json("status", "--losses")} == {"rewound", "skipped"}
    assert gateway.stop() == 0
    balanced(gateway)


def test_pause_and_resume_work_without_a_running_gateway_and_names_have_to_be_right(
    site: Reloaded, clouds: Callable[[str], Cloud]
) -> None:
    cloud = clouds("cloud")
    gateway = site.gateway
    site.write(section("cloud", cloud.port))
    assert gateway.command("upstreams", "pause", "cloud").returncode == 0
    gateway.start()
    assert gateway.upstream()["state"] == "paused"
    assert cloud.logins("edge-cloud") == 0
    for arguments in (("pause", "clodu"), ("show", "clodu"), ("seek", "clodu", "1"), ("seek", "cloud", "soon")):
        wrong = gateway.command("upstreams", *arguments)
        assert wrong.returncode == 1
        assert "Configured are: cloud" in wrong.stderr or "beginning or now" in wrong.stderr
    gateway.stop()
    assert "Start it" in gateway.command("upstreams", "seek", "cloud", "1").stderr
    assert gateway.command("upstreams", "resume", "cloud").returncode == 0
    gateway.start()
    mark(gateway, b"resumed", cloud)
    assert "cloud  connected  0 pending" in gateway.command("upstreams", "list").stdout


def test_a_metered_upstream_keeps_its_rate_and_holds_nobody_up(site: Reloaded, clouds: Callable[[str], Cloud]) -> None:
    fast, slow = clouds("fast"), clouds("slow")
    gateway = site.gateway
    site.write(section("fast", fast.port), section("slow", slow.port, "rate_events_max = 100"))
    gateway.start()
    with Load(gateway.port) as load:
        load.wait_acknowledged(1000)
        load.finish()
    mark(gateway, b"end", fast)
    wait_for(lambda: gateway.upstream("slow")["eta_s"], what="an estimate")
    slow_now = gateway.upstream("slow")
    assert 50 < slow_now["rate"] < 150
    assert slow_now["state"] == "connected"
    assert slow_now["oldest_s"] < 60
    assert slow_now["pending"] > 300
    rest = section("fast", fast.port), section("slow", slow.port)
    site.reload(*rest)  # somebody pays for the rest
    slow.record.wait_for_payload(b"end")
    assert judge(load.acknowledged(), delivered(slow.record.arrivals)).ok
    assert (gateway.upstream("fast")["reconnects"], fast.logins("edge-fast")) == (0, 1)
