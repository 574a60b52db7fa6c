"""SIGKILL at random moments under load: no acknowledged event is lost, and the order of each device is kept."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from device_sims.verdict import identify, judge
from tests.site.cloud_subscriber import CloudSubscriber, durable
from tests.site.load import Load
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess

MARKER = b'{"marker": true}'


class Cloud(Protocol):
    """An upstream that can go away and come back, and the record of what reached it."""

    port: int
    options: str

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def payloads(self) -> list[bytes]: ...


class MosquittoCloud:
    """A real Mosquitto; what reached it is what its subscriber got."""

    options = ""

    def __init__(self, folder: Path, mosquitto_at: Callable[..., object], stack: ExitStack) -> None:
        self._mosquitto = mosquitto_at(config=durable(folder))
        self.port: int = self._mosquitto.port  # type: ignore[attr-defined]
        self.start = self._mosquitto.start  # type: ignore[attr-defined]
        self.stop = self._mosquitto.stop  # type: ignore[attr-defined]
        self.start()
        self._record = stack.enter_context(CloudSubscriber(self.port))

    def payloads(self) -> list[bytes]:
        return [each.payload for each in list(self._record.arrivals)]


class GatewayCloud:
    """A second gateway; what reached it is its log. It may go away by SIGKILL: it keeps what it has acknowledged."""

    options = 'version = "3.1.1"'

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self.port = gateway.port
        self.stop = gateway.kill
        self.start()

    def start(self) -> None:
        self._gateway.start()

    def payloads(self) -> list[bytes]:
        return [event.payload for event in self._gateway.events()]


@pytest.fixture
def chance() -> random.Random:
    """Repeat a run with GATEWAY_TEST_SEED."""
    seed = int(os.environ.get("GATEWAY_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"GATEWAY_TEST_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def identified(payloads: Iterable[bytes]) -> list[tuple[str, int]]:
    return [known for payload in payloads if (known := identify(payload)) is not None]


def wait_and_kill(gateway: GatewayProcess, load: Load, chance: random.Random) -> None:
    """Some acknowledgements later, or in the middle of its start, or as soon as it is ready."""
    moment = chance.random()
    if moment < 0.15:
        gateway.kill()
        gateway.start(wait=False)
        load.devices[0].stopping.wait(chance.uniform(0, 0.6))
    else:
        load.wait_acknowledged(0 if moment < 0.3 else chance.randrange(1, 1500))
    gateway.kill()
    gateway.start()


def finish(gateway: GatewayProcess, cloud: Cloud, load: Load) -> None:
    """Let everything drain and judge it."""
    load.finish()
    with RawClient(gateway.port) as client:
        client.join("marker").publish("marker", MARKER)
    wait_for(lambda: cloud.payloads()[-1:] == [MARKER], 60, "the marker behind everything")
    verdict = judge(load.acknowledged(), identified(cloud.payloads()))
    print(verdict.total)  # noqa: T201 - as above
    assert verdict.ok, verdict.devices
    assert verdict.total.acknowledged > 0
    stored = gateway.events()
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    assert judge(load.acknowledged(), identified(event.payload for event in stored)).ok


def make_cloud(kind: str, request: pytest.FixtureRequest, folder: Path, stack: ExitStack) -> Cloud:
    if kind == "mosquitto":
        return MosquittoCloud(folder, request.getfixturevalue("mosquitto_at"), stack)
    return GatewayCloud(request.getfixturevalue("gateway_at")("cloud"))


HAS_MOSQUITTO = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin") is not None
FIRST_CHOICE = "mosquitto" if HAS_MOSQUITTO else "gateway"
"""With Mosquitto where it is installed, so that nothing of ours stands on the other side; the test always runs."""


@pytest.mark.parametrize(
    ("kind", "mode", "kills"),
    [(FIRST_CHOICE, "up", 6), (FIRST_CHOICE, "down", 6), (FIRST_CHOICE, "flapping", 4), ("gateway", "flapping", 4)],
)
def test_a_gateway_killed_at_any_moment_loses_nothing_it_has_acknowledged(
    gateway_at: Callable[..., GatewayProcess],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    stack: ExitStack,
    chance: random.Random,
    kind: str,
    mode: str,
    kills: int,
) -> None:
    cloud = make_cloud(kind, request, tmp_path, stack)
    gateway = gateway_at(upstream_port=cloud.port, upstream_options=cloud.options).start()
    if mode == "down":
        cloud.stop()
    load = stack.enter_context(Load(gateway.port))
    is_up = mode != "down"
    for _ in range(kills):
        if mode == "flapping":
            load.wait_acknowledged(chance.randrange(500))
            is_up = not is_up
            (cloud.start if is_up else cloud.stop)()
        wait_and_kill(gateway, load, chance)
    if not is_up:
        cloud.start()
    load.wait_acknowledged(200)
    finish(gateway, cloud, load)


def test_a_gateway_killed_while_it_drains_a_backlog_goes_on_where_it_was(
    gateway_at: Callable[..., GatewayProcess],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    stack: ExitStack,
    chance: random.Random,
) -> None:
    cloud = make_cloud(FIRST_CHOICE, request, tmp_path, stack)
    cloud.stop()
    options = f"{cloud.options}\nbatch_events_max = 100\ninflight_max = 20"
    gateway = gateway_at(upstream_port=cloud.port, upstream_options=options).start()
    load = stack.enter_context(Load(gateway.port))
    load.wait_acknowledged(8000)
    load.finish()
    cloud.start()
    for _ in range(3):
        begin = len(cloud.payloads())
        goal = begin + chance.randrange(1, 1500)
        wait_for(lambda goal=goal: len(cloud.payloads()) >= goal or gateway.is_drained(), what="some of the backlog")
        gateway.kill()
        gateway.start()
    finish(gateway, cloud, load)
