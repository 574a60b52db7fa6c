"""Somebody is too slow, or sends too much: memory stays within its bounds, the others are served, and it is counted."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.site.flood import Flood
from tests.site.load import Load
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient
from tests.site.scripted_upstream import Arrival, ScriptedUpstream, accept

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]

MB = 1_000_000
GROWTH_BYTES_MAX = 20 * MB
WARM_UP_EVENTS = 300
OTHERS_EVENTS = 200


class Memory:
    """What a gateway's memory has grown by at most, since it was idle."""

    def __init__(self, gateway: GatewayProcess) -> None:
        assert gateway.process is not None
        self._status = Path(f"/proc/{gateway.process.pid}/status")
        with Load(gateway.port, name="warm-up") as load:
            load.wait_acknowledged(WARM_UP_EVENTS)
            load.finish()
        self._idle_bytes = self._peak_bytes()

    def _peak_bytes(self) -> int:
        lines = self._status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def check(self) -> None:
        growth = self._peak_bytes() - self._idle_bytes
        print(f"memory grew by {growth / MB:.1f} MB")  # noqa: T201 - a figure to be looked at
        assert growth < GROWTH_BYTES_MAX, f"{growth / MB:.1f} MB"


def serve_others(gateway: GatewayProcess) -> None:
    """Devices, old and new, are acknowledged, and who only asks is answered."""
    with RawClient(gateway.port).join("passer-by") as client, Load(gateway.port, devices=2, name="other") as load:
        client.ping()
        load.wait_acknowledged(OTHERS_EVENTS)
        load.finish()


def broker(gateway: GatewayProcess, what: str) -> int:
    return int(gateway.status()["broker"][what])


@pytest.mark.parametrize(("payload_bytes", "devices"), [(100, 8), (1000, 8), (10_000, 30)])
def test_devices_that_bring_more_than_the_disk_takes_wait_and_the_others_are_served(
    gateway_at: Gateways, payload_bytes: int, devices: int
) -> None:
    gateway = gateway_at().start()
    memory = Memory(gateway)
    held_up = []
    with Flood(gateway.port, "flood", bytes(payload_bytes), 40 * MB, devices=devices) as flood:
        wait_for(lambda: held_up.append(broker(gateway, "held_up")) or max(held_up) > 0, what="connections held up")
        serve_others(gateway)
        wait_for(lambda: flood.is_over, 30, "the end of the flood")
    assert broker(gateway, "held_up") == 0
    memory.check()


def test_a_device_that_floods_takes_neither_memory_nor_the_others_turn(gateway_at: Gateways) -> None:
    gateway = gateway_at().start()
    memory = Memory(gateway)
    with Flood(gateway.port, "f", b"", 3 * MB) as flood:
        serve_others(gateway)
        wait_for(lambda: flood.is_over, 30, "the end of the flood")
    memory.check()


def test_an_upstream_slower_than_ingest_costs_no_memory(gateway_at: Gateways) -> None:
    def answer(arrival: Arrival) -> bytes:
        time.sleep(0.001)
        return accept(arrival)

    with ScriptedUpstream(answer) as cloud:
        gateway = gateway_at(upstream_port=cloud.port).start()
        memory = Memory(gateway)
        with Flood(gateway.port, "flood", bytes(300), 30 * MB, devices=4, qos=1) as flood:
            serve_others(gateway)
            wait_for(lambda: flood.is_over, 30, "the end of the flood")
        before = len(cloud.arrivals)
        wait_for(lambda: len(cloud.arrivals) > before + 100, what="the upstream taking more")
        assert gateway.upstream()["pending"] > 10_000
        assert gateway.upstream()["state"] == "connected"
        memory.check()


@pytest.mark.parametrize("qos", [0, 1])
def test_a_local_subscriber_that_never_reads_loses_events_and_nobody_else_does(gateway_at: Gateways, qos: int) -> None:
    gateway = gateway_at().start()
    memory = Memory(gateway)
    with RawClient(gateway.port).join("deaf") as deaf, RawClient(gateway.port).join("good") as good:
        deaf.subscribe(("#", qos))
        good.subscribe(("good/#", 1))
        with Flood(gateway.port, "flood", bytes(1000), 40 * MB, devices=4, qos=qos) as flood:
            for number in range(20):
                good.send_and_receive("good/news", str(number).encode())
            serve_others(gateway)
            wait_for(lambda: flood.is_over, 30, "the end of the flood")
        assert broker(gateway, "deliveries_unread" if qos == 0 else "deliveries_overflowed") > 0
    memory.check()


def test_local_subscribers_that_never_acknowledge_lose_the_oldest_and_nobody_else_does(gateway_at: Gateways) -> None:
    gateway = gateway_at().start()
    memory = Memory(gateway)
    with ExitStack() as stack:
        good = stack.enter_context(RawClient(gateway.port)).join("good")
        silent = [stack.enter_context(RawClient(gateway.port)).join(f"silent-{number}") for number in range(20)]
        for client in silent:
            client.subscribe(("flood", 1))
        good.subscribe(("good/#", 1))
        with Flood(gateway.port, "flood", bytes(10_000), 40 * MB, qos=1) as flood:
            for number in range(20):
                good.send_and_receive("good/news", str(number).encode())
            wait_for(lambda: flood.is_over, 30, "the end of the flood")
        assert broker(gateway, "deliveries_overflowed") > 1000
        assert "dropped, because too many waited for a subscriber" in gateway.command("status").stdout
        for client in silent:
            assert client.delivery(answer=False).payload == bytes(10_000)
    memory.check()


def test_a_slow_subscriber_is_disconnected_where_the_operator_wants_it(gateway_at: Gateways) -> None:
    options = 'allow_anonymous = true\nsubscriber_overflow = "disconnect"'
    gateway = gateway_at(broker=options).start()
    with RawClient(gateway.port).join("deaf") as deaf:
        deaf.subscribe(("#", 0))
        with Flood(gateway.port, "flood", bytes(1000), 30 * MB) as flood:
            wait_for(lambda: broker(gateway, "subscribers_disconnected") == 1, what="the subscriber disconnected")
            wait_for(lambda: flood.is_over, 60, "the end of the flood")
