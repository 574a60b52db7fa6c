"""A source in this process with a real event log, at a real Mosquitto."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.clock import SystemClock
from gateway.external.config import ExternalBrokerConfig
from gateway.external.source import ExternalBroker
from gateway.ingest.ingest import Ingest
from tests.unit.broker.site import open_log, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.event import Event


class SourceSite:
    """The parts of a gateway that an external broker meets."""

    def __init__(self, data_dir: Path, port: int, log: dict[str, object], keys: dict[str, object]) -> None:
        self.log = open_log(data_dir, **log)
        self.ingest = Ingest(self.log, SystemClock())
        self.config = ExternalBrokerConfig.model_validate(
            {
                "mode": "external",
                "url": f"mqtt://127.0.0.1:{port}",
                "backoff_initial_s": 0.05,
                "backoff_max_s": 0.1,
                "blocked_retry_s": 0.1,
            }
            | keys
        )
        self.source = ExternalBroker(self.config, self.log, self.ingest, SystemClock(), "edge")

    @property
    def state(self) -> str:
        return self.source.status().state

    async def events(self, count: int = 0) -> list[Event]:
        """Every event on disk, as soon as there are `count`."""
        await until(lambda: self.log.head >= count)
        await self.log.intake.settled()
        return list(await self.log.read(0, 100_000))


@asynccontextmanager
async def source_at(
    data_dir: Path, port: int, *, log: dict[str, object] | None = None, state: str = "connected", **keys: object
) -> AsyncIterator[SourceSite]:
    """A source that is in this state; stopped as the gateway does it."""
    site = SourceSite(data_dir, port, log or {}, keys)
    running = [asyncio.create_task(site.log.run()), asyncio.create_task(site.source.run())]
    try:
        await until(lambda: site.state == state or any(task.done() for task in running))
        yield site
        await site.source.close()
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await site.log.close(5)
