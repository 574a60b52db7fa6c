"""Several upstreams of a real gateway, and several ways to one: the good one is served while others are dead, slow or
refusing, new events go before a backlog, alarms before all, and SIGKILL loses nothing of it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import mqtt5
import pytest

from gateway.eventlog.history import History
from tests.site import raw_client
from tests.site.ports import free_port, wait_for
from tests.site.raw_client import RawClient
from tests.site.scripted_upstream import WELCOME, Arrival, Reset, ScriptedUpstream, accept, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]

LOG = "[log]\ncursor_interval_s = 0.05\n"
QUICK = "backoff_initial_s = 0.05\nbackoff_max_s = 0.2\n"
BATCH = 100


class Cloud:
    """An upstream that lets nobody in before its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.server = ScriptedUpstream(accept, self._welcome)

    def _welcome(self, _: int) -> bytes:
        if not self.gate.is_set():
            raise Reset
        return WELCOME

    @property
    def live(self) -> list[str]:
        return [text(each) for each in self.server.arrivals if "historical" not in each.properties]

    @property
    def historical(self) -> list[str]:
        return [text(each) for each in self.server.arrivals if each.properties.get("historical") == "true"]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    with made.server:
        yield made


def text(arrival: Arrival) -> str:
    return arrival.payload.decode()


def publish(gateway: GatewayProcess, topic: str, numbers: range, name: str = "device") -> list[str]:
    with RawClient(gateway.port) as device:
        device.join(name)
        for packet_id, number in enumerate(numbers, 1):
            device.send(raw_client.publish(topic, str(number).encode(), 1, packet_id))
        for _ in numbers:
            device.expect(raw_client.PUBACK)
    return [str(number) for number in numbers]


def section(name: str, port: int, more: str = "") -> str:
    return f'[upstreams.{name}]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{port}"\n{QUICK}{more}\n'


def lines(gateway: GatewayProcess) -> dict[str, dict[str, int]]:
    found = gateway.command_json("status", "--books")
    assert all(line["balances"] for line in found), found
    return {line["upstream"]: line for line in found}


def restart(gateway: GatewayProcess) -> None:
    gateway.kill()
    gateway.start()


def in_order(numbers: list[str]) -> bool:
    """Whether they rise, apart from stretches that are sent again."""
    found = [int(number) for number in numbers]
    highest, starts = -1, 0
    for before, number in zip([-1, *found], found, strict=False):
        starts += number != before + 1
        assert number <= highest + 1, f"{number} comes after {before} and not after {highest}"
        highest = max(highest, number)
    return starts <= 3


def test_a_good_upstream_is_served_while_others_are_dead_slow_or_refusing(gateway_at: Gateways) -> None:
    release = threading.Event()

    def slowly(arrival: Arrival) -> bytes:
        release.wait(0.05)
        return accept(arrival)

    def never(arrival: Arrival) -> bytes:
        reason = mqtt5.PubAckReasonCode.PAYLOAD_FORMAT_INVALID
        return refuse(arrival, reason) if int(text(arrival)) % 2 else accept(arrival)

    with ExitStack() as servers:
        good, slow, refusing = (servers.enter_context(ScriptedUpstream(each)) for each in (accept, slowly, never))
        config = LOG + "".join(
            [
                section("good", good.port),
                section("dead", free_port()),
                section("slow", slow.port),
                section("refusing", refusing.port),
            ]
        )
        gateway = gateway_at(config=config).start()
        sent = publish(gateway, "load/t", range(300))
        wait_for(lambda: len(good.arrivals) == 300, what="the good one has everything")
        assert len(slow.arrivals) < 300
        books = lines(gateway)
        assert (books["dead"]["pending"], books["dead"]["forwarded"]) == (300, 0)
        assert gateway.upstream("dead")["state"] == "unreachable"
        restart(gateway)
        release.set()
        for name in ("good", "slow", "refusing"):
            wait_for(lambda name=name: gateway.is_drained(name), what=f"{name} has everything")
        books = lines(gateway)
        assert (books["refusing"]["forwarded"], books["refusing"]["quarantined"]) == (150, 150)
        assert {text(each) for each in slow.arrivals} == set(sent)
        assert books["dead"]["pending"] == 300


def test_new_events_arrive_while_a_backlog_drains_at_its_rate_and_nothing_is_lost_by_sigkill(
    gateway_at: Gateways, cloud: Cloud
) -> None:
    rate = 150
    options = f'catch_up = "live_first"\nbacklog_rate_max = {rate}\nbatch_events_max = {BATCH}\n'
    gateway = gateway_at(config=LOG, upstream_port=cloud.server.port, upstream_options=options).start()
    old = publish(gateway, "load/t", range(2000))
    cloud.gate.set()
    wait_for(lambda: cloud.historical, what="the backlog begins")
    began_s = time.monotonic()
    new = publish(gateway, "load/t", range(2000, 2020))
    wait_for(lambda: cloud.live == new, what="the new events")
    assert len(cloud.historical) < len(old), "the backlog had gone before the new events"
    (way,) = gateway.upstream()["ways"]
    assert (way["role"], way["state"], way["end"]) == ("backlog", "connected", len(old))

    wait_for(lambda: len(cloud.historical) > 100, what="a part of the backlog")
    restart(gateway)
    newer = publish(gateway, "load/t", range(2020, 2040))
    wait_for(lambda: set(cloud.live) >= set(newer), what="the newer events")
    assert set(cloud.historical) < set(old)
    wait_for(lambda: set(cloud.historical) >= set(old), timeout_s=60, what="the whole backlog")
    took_s = time.monotonic() - began_s
    # What was sent again comes on top of these, and a kill lets a burst of a slice go once more.
    assert len(old) <= rate * (took_s + 1)

    wait_for(gateway.is_drained, what="everything taken")
    assert "backlog" not in gateway.command("status").stdout
    assert in_order(cloud.historical)
    assert set(cloud.live) >= {*new, *newer}
    books = lines(gateway)["cloud"]
    assert (books["received"], books["forwarded"], books["pending"]) == (2040, 2040, 0)
    assert gateway.stop() == 0


def test_alarms_of_a_backlog_arrive_first_and_none_is_lost_by_sigkill(gateway_at: Gateways, cloud: Cloud) -> None:
    held = threading.Event()

    def answer(arrival: Arrival) -> bytes:
        return accept(arrival) if arrival.topic.startswith("alarms/") or held.is_set() else b""

    cloud.server._answer = answer
    options = f'priorities = ["alarms/#"]\nbatch_events_max = {BATCH}\n'
    gateway = gateway_at(config=LOG, upstream_port=cloud.server.port, upstream_options=options).start()
    values = publish(gateway, "load/t", range(3000))
    alarms = publish(gateway, "alarms/fire", range(10_000, 10_003))
    cloud.gate.set()

    def got(topic: str) -> list[str]:
        return [text(each) for each in cloud.server.arrivals if each.topic == topic]

    wait_for(lambda: got("alarms/fire") == alarms, what="the alarms")
    wait_for(lambda: lines(gateway)["cloud"]["forwarded"] == 3, what="the alarms in the books")
    assert "priority alarms/#: connected, up to 3,003 of 3,003" in gateway.command("status").stdout
    restart(gateway)
    alarms += publish(gateway, "alarms/fire", range(10_003, 10_006))
    wait_for(lambda: set(got("alarms/fire")) == set(alarms), what="the later alarms")
    restart(gateway)
    held.set()
    wait_for(gateway.is_drained, what="everything taken")
    assert set(got("load/t")) == set(values)
    books = lines(gateway)["cloud"]
    assert (books["received"], books["forwarded"], books["pending"]) == (3006, 3006, 0)


def test_everything_arrives_whatever_is_killed_and_when(gateway_at: Gateways, cloud: Cloud) -> None:
    options = 'catch_up = "live_first"\nbacklog_rate_max = 2000\npriorities = ["alarms/#"]\nbatch_events_max = 20\n'
    gateway = gateway_at(config=LOG, upstream_port=cloud.server.port, upstream_options=options).start()
    cloud.gate.set()
    sent: list[str] = []
    for turn in range(6):
        sent += publish(gateway, "load/t", range(turn * 1000, turn * 1000 + 150))
        sent += publish(gateway, "alarms/fire", range(turn * 1000 + 150, turn * 1000 + 155), "alarm")
        if turn % 2:
            gateway.kill()
        else:
            assert gateway.stop() == 0
        with History(gateway.data_dir) as history:
            assert all(line.balances for line in history.books(["cloud"]))
        gateway.start()
    wait_for(gateway.is_drained, timeout_s=60, what="everything taken")
    assert {text(each) for each in cloud.server.arrivals} == set(sent)
    books = lines(gateway)["cloud"]
    assert (books["forwarded"], books["pending"]) == (len(sent), 0)


def test_what_is_too_old_is_not_sent_and_stands_in_the_ledger(gateway_at: Gateways, cloud: Cloud) -> None:
    options = "time_to_live_s = 2\n"
    gateway = gateway_at(config=LOG, upstream_port=cloud.server.port, upstream_options=options).start()
    publish(gateway, "load/t", range(50))
    newest = gateway.events()[-1]
    wait_for(lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) - newest.mono_ns > 2 * 10**9, what="all too old")
    cloud.gate.set()
    wait_for(gateway.is_drained, what="everything passed")
    fresh = publish(gateway, "load/t", range(50, 55))
    wait_for(lambda: cloud.live == fresh, what="what is fresh")
    wait_for(gateway.is_drained, what="everything passed")
    books = lines(gateway)["cloud"]
    assert (books["forwarded"], books["dropped"], books["pending"]) == (5, 50, 0)
    (row,) = gateway.command_json("status", "--losses")
    assert (row["upstream"], row["cause"], row["events"]) == ("cloud", "expired", 50)
