"""A replay beside live events, killed in the middle: nothing is missing, nothing live is lost or kept waiting."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import pytest

from device_sims.verdict import identify, judge
from gateway import control
from tests.site.cloud_subscriber import CloudSubscriber, durable
from tests.site.load import Load
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.site.cloud_subscriber import Arrival
    from tests.site.gateway_process import GatewayProcess
    from tests.site.mosquitto_process import MosquittoProcess

STORED = 6000
PROBES = 5

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def cloud(mosquitto_at: Callable[..., MosquittoProcess], tmp_path: Path) -> Iterator[CloudSubscriber]:
    mosquitto = mosquitto_at(config=durable(tmp_path)).start()
    with CloudSubscriber(mosquitto.port) as subscriber:
        subscriber.port = mosquitto.port  # type: ignore[attr-defined]
        yield subscriber


@pytest.fixture
def gateway(gateway_at: Callable[..., GatewayProcess], cloud: CloudSubscriber) -> GatewayProcess:
    """With `STORED` events that its cloud has."""
    gateway = gateway_at(upstream_port=cloud.port).start()  # type: ignore[attr-defined]
    with Load(gateway.port, name="stored") as load:
        load.wait_acknowledged(STORED)
        load.finish()
    wait_for(gateway.is_drained, 60, "the stored events forwarded")
    return gateway


def replayed(cloud: CloudSubscriber, id_: str) -> list[Arrival]:
    return [each for each in list(cloud.arrivals) if each.properties.get("replay") == id_]


def live(cloud: CloudSubscriber) -> list[Arrival]:
    return [each for each in list(cloud.arrivals) if "replay" not in each.properties]


def ask(gateway: GatewayProcess, action: str, **request: object) -> dict[str, object]:
    """By the socket: a command of its own takes seconds to start on a crowded machine."""
    answer: dict[str, object] = control.command(gateway.data_dir, {"command": "replay", "action": action, **request})
    return answer


def look(gateway: GatewayProcess, id_: str) -> dict[str, object]:
    return ask(gateway, "show", id=id_)


def test_a_replay_that_is_killed_in_the_middle_goes_on_and_misses_nothing(
    gateway: GatewayProcess, cloud: CloudSubscriber
) -> None:
    stored = [event.seq for event in gateway.events()]
    with Load(gateway.port, devices=2, window=2, name="live") as load:
        id_ = str(ask(gateway, "begin", upstream="cloud", last_seq=len(stored), rate=1000.0)["id"])
        for kill in range(2):
            before = len(replayed(cloud, id_))
            wait_for(lambda before=before: len(replayed(cloud, id_)) > before + 400, 60, "some replayed events")
            assert look(gateway, id_)["state"] == "running", f"it was over before kill {kill + 1}"
            gateway.kill()
            gateway.start()
        wait_for(lambda: look(gateway, id_)["state"] == "done", 90, "the end of the replay")
        load.finish()
    progress = look(gateway, id_)
    assert (progress["sent"], progress["filtered"], progress["missing"]) == (len(stored), 0, 0)
    wait_for(gateway.is_drained, 60, "the live events forwarded")
    wait_for(lambda: len({each.properties["id"] for each in replayed(cloud, id_)}) == len(stored), 60, "all of them")
    seqs = [int(each.properties["id"].split(".")[1]) for each in replayed(cloud, id_)]
    assert list(dict.fromkeys(seqs)) == stored
    wait_for(lambda: judge(load.acknowledged(), _told(cloud)).ok, 60, "every live event")
    assert all(line["balances"] for line in gateway.command_json("status", "--books"))


def _told(cloud: CloudSubscriber) -> list[tuple[str, int]]:
    told = [known for each in live(cloud) if (known := identify(each.payload)) is not None]
    return [known for known in told if known[0].startswith("live")]


def test_live_events_are_not_kept_waiting_by_a_replay(gateway: GatewayProcess, cloud: CloudSubscriber) -> None:
    alone = [_delay_s(gateway, cloud, f"alone-{number}".encode()) for number in range(PROBES)]
    id_ = str(ask(gateway, "begin", upstream="cloud", rate=300.0)["id"])
    wait_for(lambda: replayed(cloud, id_), 60, "the first replayed event")
    beside = [_delay_s(gateway, cloud, f"beside-{number}".encode()) for number in range(PROBES)]
    assert look(gateway, id_)["state"] == "running"
    assert ask(gateway, "cancel", id=id_)["state"] == "cancelled"
    assert len(replayed(cloud, id_)) < STORED
    assert median(beside) < 5 * median(alone)


def _delay_s(gateway: GatewayProcess, cloud: CloudSubscriber, payload: bytes) -> float:
    with RawClient(gateway.port) as client:
        client.join("probe")
        sent_s = time.monotonic()
        client.publish("probe", payload)
        cloud.wait_for_payload(payload)
        return time.monotonic() - sent_s
