"""SIGKILL at random moments of a gateway that takes events from a real Mosquitto.

Nothing that the broker has acknowledged to a device is lost, and nothing that it marks as a repeat is stored twice.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.site.external_broker import repeats, section
from tests.site.ports import wait_for
from tests.site.publisher import Publisher
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess
    from tests.site.mosquitto_process import MosquittoProcess


@pytest.fixture
def chance() -> random.Random:
    """Repeat a run with GATEWAY_TEST_SEED."""
    seed = int(os.environ.get("GATEWAY_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"GATEWAY_TEST_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


def kill_and_start(gateway: GatewayProcess, chance: random.Random) -> None:
    """In the middle of its start, or as soon as it is connected, or while it takes events in."""
    moment = chance.random()
    if moment < 0.2:
        gateway.kill()
        gateway.start(wait=False)
        time.sleep(chance.uniform(0, 1.2))
    elif moment < 0.4:
        gateway.wait_source()
    else:
        head = gateway.status()["log"]["head"] + chance.randrange(1, 300)
        wait_for(lambda: gateway.status()["log"]["head"] >= head, what="some more events")
        time.sleep(chance.uniform(0, 0.03))
    gateway.kill()
    gateway.start()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_gateway_killed_at_any_moment_loses_nothing_and_stores_no_marked_repeat_twice(
    gateway_at: Callable[..., GatewayProcess],
    mosquitto_at: Callable[..., MosquittoProcess],
    chance: random.Random,
    version: str,
) -> None:
    broker = mosquitto_at("site", "max_inflight_messages 100").start()
    lines = f'version = "{version}"\nreceive_max = 100'
    gateway = gateway_at(broker=section(broker.port, lines), config="[log]\ncommit_interval_ms = 20\n").start()
    gateway.wait_source()
    with RawClient(broker.port) as client:
        sensor = Publisher(client, "sensor", payload_bytes=40)
        for _ in range(8):
            for _ in range(800):
                sensor.send()
            kill_and_start(gateway, chance)
        sensor.wait_acknowledged()
    wait_for(lambda: gateway.status()["log"]["head"] >= sensor.sent, 60, "everything the broker has")
    assert gateway.stop() == 0
    stored = Counter(event.payload for event in gateway.events())
    assert set(stored) == {sensor.payload(n) for n in range(1, sensor.sent + 1)}
    assert {payload: times for payload, times in stored.items() if times > 1} == {}
    assert repeats(broker) > 0, "nothing was sent again, so this run has shown nothing"
