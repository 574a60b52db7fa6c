"""The wall clock is wrong, is set and steps: events go out with their true times, and nothing else takes notice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.site.load import Load
from tests.site.ports import wait_for
from tests.site.preload import build, compiler
from tests.site.raw_client import RawClient
from tests.site.scripted_upstream import WELCOME, Reset, ScriptedUpstream
from tests.site.stepped_clock import SECOND_NS, SOURCE, YEARS_30_NS, SteppedClock, true_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess
    from tests.site.scripted_upstream import Arrival

    Gateways = Callable[..., GatewayProcess]

RETENTION = """
[log]
segment_bytes_max = 65536
retention_age_s = 86400
retention_interval_s = 0.1
cursor_interval_s = 0.1
"""
NOISE_NS = SECOND_NS // 10
"""Two clocks are not read at the same moment."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if compiler() is None:
        pytest.skip("no C compiler is installed (Debian package gcc): the clock of the gateway is set by a shim")
    return build(SOURCE, tmp_path_factory.mktemp("clock"))


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> SteppedClock:
    return SteppedClock(library, tmp_path / "clock")


class Moment(NamedTuple):
    """When, by a right clock, an event was sent to the gateway, and acknowledged by it."""

    sent_ns: int
    acknowledged_ns: int

    def holds(self, at_ns: int) -> bool:
        return self.sent_ns - NOISE_NS <= at_ns <= self.acknowledged_ns + NOISE_NS


def publish(gateway: GatewayProcess, count: int) -> list[Moment]:
    moments = []
    with RawClient(gateway.port) as device:
        device.join("dev")
        for n in range(1, count + 1):
            sent_ns = true_ns()
            device.publish("dev/t", b"x", n)
            moments.append(Moment(sent_ns, true_ns()))
    return moments


def nanoseconds(text: str) -> int:
    return (datetime.fromisoformat(text[:26] + "+00:00") - _EPOCH) // timedelta(microseconds=1) * 1000


def times(arrivals: list[Arrival]) -> list[tuple[int, str]]:
    return [(nanoseconds(each.properties["time"]), each.properties["clockquality"]) for each in arrivals]


def wait_clock(gateway: GatewayProcess, **expected: object) -> None:
    wait_for(lambda: expected.items() <= gateway.status()["clock"].items(), what=f"a clock that is {expected}")


def shown(gateway: GatewayProcess, *arguments: str) -> list[dict[str, Any]]:
    """What `gateway events` prints."""
    done = gateway.command("events", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def seqs(arrivals: list[Arrival]) -> list[int]:
    return [int(each.properties["id"].rsplit(".", 1)[1]) for each in arrivals]


def test_times_of_a_boot_without_a_clock_are_right_when_the_clock_was_set_before_the_uplink_came(
    gateway_at: Gateways, clock: SteppedClock
) -> None:
    reachable = False

    def welcome(_: int) -> bytes:
        if not reachable:
            raise Reset
        return WELCOME

    with ScriptedUpstream(welcome=welcome) as cloud:
        gateway = gateway_at(upstream_port=cloud.port)
        clock.kernel_says("refuses")
        gateway.start(env=clock.env)
        moments = publish(gateway, 20)
        gateway.kill()
        clock.step(-YEARS_30_NS)  # some other wrong time, in the same boot, for another process
        gateway.start(env=clock.env)
        moments += publish(gateway, 20)
        assert not gateway.status()["clock"]["set"]
        assert all(each["clockquality"] == "unsynced" for each in shown(gateway))
        clock.set_right()
        moments += publish(gateway, 20)  # with the right clock, perhaps before the gateway has noticed
        wait_clock(gateway, set=True, source="kernel", agrees=True)
        reachable = True
        wait_for(lambda: len(cloud.arrivals) == 60, what="60 arrivals")
        moments += publish(gateway, 20)
        wait_for(lambda: len(cloud.arrivals) == 80, what="80 arrivals")

    assert seqs(cloud.arrivals) == list(range(1, 81))
    arrived = times(cloud.arrivals)
    assert [quality for _, quality in arrived] == ["corrected"] * 40 + ["synced"] * 40
    assert [moment for moment, (at_ns, _) in zip(moments, arrived, strict=True) if not moment.holds(at_ns)] == []
    stored = shown(gateway)
    assert [(each["time"][:26], each["clockquality"]) for each in stored] == [
        (each.properties["time"][:26], each.properties["clockquality"]) for each in cloud.arrivals
    ]
    assert stored[0]["received_ns"] < SECOND_NS * 86_400 * 365 * 5
    since = shown(gateway, "--from", stored[20]["time"], "--to", stored[59]["time"])
    assert [each["seq"] for each in since] == list(range(21, 61))


def test_each_boot_keeps_what_was_known_of_its_clock(gateway_at: Gateways, clock: SteppedClock) -> None:
    gateway = gateway_at(config=RETENTION)
    for is_set in (False, True, False):
        gateway.start(env=clock.env)
        moments = publish(gateway, 5)
        if is_set:
            clock.set_right()
            wait_clock(gateway, set=True)
            right = moments + publish(gateway, 5)
        gateway.kill()
        clock.boot()
    with ScriptedUpstream() as cloud:
        gateway = gateway_at(upstream_port=cloud.port).start(env=clock.env)
        wait_for(lambda: len(cloud.arrivals) == 20, what="20 arrivals")
    arrived = times(cloud.arrivals)
    unsynced = ["unsynced"] * 5
    assert [quality for _, quality in arrived] == unsynced + ["corrected"] * 5 + ["synced"] * 5 + unsynced
    assert [moment for moment, (at_ns, _) in zip(right, arrived[5:15], strict=True) if not moment.holds(at_ns)] == []


def test_a_restart_finds_the_clock_set_though_the_kernel_has_taken_its_word_back(
    gateway_at: Gateways, clock: SteppedClock
) -> None:
    with ScriptedUpstream() as cloud:
        gateway = gateway_at(upstream_port=cloud.port)
        clock.set_right()
        gateway.start(env=clock.env)
        publish(gateway, 1)
        gateway.kill()
        clock.kernel_says("unset")  # as after 9 hours without a time server
        gateway.start(env=clock.env)
        publish(gateway, 1)
        wait_for(gateway.is_drained, what="everything forwarded")
    assert {quality for _, quality in times(cloud.arrivals)} == {"synced"}


def test_a_clock_whose_error_somebody_keeps_small_is_set(gateway_at: Gateways, clock: SteppedClock) -> None:
    gateway = gateway_at()
    clock.step(0)
    clock.kernel_says("small error")
    gateway.start(env=clock.env)
    wait_clock(gateway, set=True, source="kernel")


def test_without_a_set_clock_nothing_waits_for_it(gateway_at: Gateways, clock: SteppedClock) -> None:
    with ScriptedUpstream() as cloud:
        gateway = gateway_at(upstream_port=cloud.port).start(env=clock.env)
        publish(gateway, 3)
        wait_for(lambda: len(cloud.arrivals) == 3, what="3 arrivals")
    assert [quality for _, quality in times(cloud.arrivals)] == ["unsynced"] * 3


@pytest.mark.parametrize("vouched", [False, True], ids=["by hand", "by a time service"])
def test_steps_of_thirty_years_under_load_reorder_lose_expire_and_stall_nothing(
    gateway_at: Gateways, clock: SteppedClock, *, vouched: bool
) -> None:
    with ScriptedUpstream() as cloud:
        gateway = gateway_at(config=RETENTION, upstream_port=cloud.port, upstream_options="stall_timeout_s = 5")
        clock.set_right()
        gateway.start(env=clock.env)
        with RawClient(gateway.port) as silent, Load(gateway.port, devices=3) as load:
            silent.join("silent", keep_alive_s=60)
            load.wait_acknowledged(300)
            for steps, error_ns in enumerate((YEARS_30_NS, 0, -YEARS_30_NS, 0), 1):
                clock.step(error_ns)
                if vouched:
                    clock.kernel_says("set")
                believed = error_ns == 0 or (vouched and error_ns > 0)  # the past is never believed
                wait_clock(gateway, steps=steps, agrees=believed)
                load.wait_acknowledged(300)
            load.finish()
            wait_for(gateway.is_drained, what="everything forwarded")
            status = gateway.status()
            silent.ping()
            acknowledged = load.acknowledged()
        done = gateway.upstream()
    assert seqs(cloud.arrivals) == list(range(1, len(acknowledged) + 1))
    assert (cloud.connections, done["reconnects"], done["stalls"]) == (1, 0, 0)
    assert (status["broker"]["accepted"], status["broker"]["violations"]) == (4, 0)
    assert status["log"]["segments"] > 2
    assert status["log"]["oldest"] == 1
    arrived = times(cloud.arrivals)
    assert {quality for _, quality in arrived} == {"synced", "corrected"}
    first_ns, _ = arrived[0]
    years_30 = [round((at_ns - first_ns) / YEARS_30_NS) for at_ns, _ in arrived]
    assert set(years_30) == ({0, 1} if vouched else {0})
    right = [at_ns for (at_ns, _), years in zip(arrived, years_30, strict=True) if not years]
    assert all(later - earlier > -NOISE_NS for earlier, later in pairwise(right))
    assert right[-1] - right[0] < 600 * SECOND_NS
