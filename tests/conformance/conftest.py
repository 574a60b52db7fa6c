"""One fixture per kind of upstream, and a gateway's forwarding half with a real event log."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from pydantic import TypeAdapter

from gateway.clock import SystemClock
from gateway.eventlog.config import LogConfig
from gateway.eventlog.log import EventLog
from gateway.forward.runner import Forwarder
from gateway.upstreams import kinds
from tests.conformance.peers import MosquittoPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.conformance.peers import Peer
    from tests.site.mosquitto_process import MosquittoProcess


@pytest.fixture
def mqtt_peer(tmp_path: Path, mosquitto_at: Callable[..., MosquittoProcess]) -> MosquittoPeer:
    return MosquittoPeer(tmp_path, mosquitto_at)


@pytest.fixture(params=["mqtt"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A running peer of each kind of upstream."""
    made: Peer = request.getfixturevalue(f"{request.param}_peer")
    made.start()
    yield made
    made.close()


class Site:
    """A log full of events and the forwarder that empties it; `expected` is what has to arrive, by event id."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.expected: dict[str, tuple[str, bytes]] = {}
        self._clock = SystemClock()

    async def record(self, topic: str, payload: bytes, *, expected: bool = True) -> str:
        """Take an event in as if a device had sent it; the id it will have upstream."""
        device = topic.split("/")[1]
        seq = self.log.intake.append(self._clock.wall_ns(), self._clock.mono_ns(), device, topic, 1, False, payload)
        event_id = f"{self.log.log_id}.{seq}"
        if expected:
            self.expected[event_id] = (topic, payload)
        return event_id

    async def record_many(self, count: int, devices: int = 20) -> None:
        for number in range(count):
            await self.record(f"dev/{number % devices}/value", f"{number}".encode())
        await self.log.intake.settled()

    @asynccontextmanager
    async def forwarding(self, peer: Peer, port: int, **changes: object) -> AsyncIterator[Forwarder]:
        quick = {"backoff_initial_s": 0.02, "backoff_max_s": 0.2, "blocked_retry_s": 0.1}
        config = TypeAdapter(kinds.AnyUpstreamConfig).validate_python({**peer.config(port), **quick, **changes})
        upstream = kinds.build(config, name="cloud", gateway_id="hub", log_id=self.log.log_id)
        randomness = random.Random(1).random
        forwarder = Forwarder("cloud", config, upstream, self.log, self._clock, randomness=randomness)
        task = asyncio.create_task(forwarder.run())
        try:
            yield forwarder
        finally:
            task.cancel()
            async with asyncio.timeout(5):
                await asyncio.gather(task, return_exceptions=True)
            assert forwarder.status().state == "stopped"
            if not task.cancelled() and (bug := task.exception()) is not None:
                raise bug


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    log = EventLog(tmp_path / "data", LogConfig(), SystemClock(), ["cloud"])
    task = asyncio.create_task(log.run())
    yield Site(log)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await log.close(5)
