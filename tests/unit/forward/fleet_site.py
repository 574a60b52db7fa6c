"""A fleet on a real log, whose upstreams follow a script, and what each of them was sent."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError, Unreachable
from gateway.forward.fleet import Fleet
from gateway.forward.forwarding import Forwarding
from tests.unit.forward.forward_fakes import ScriptedUpstream, make_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.eventlog.log import EventLog
    from gateway.forward.config import UpstreamConfig
    from gateway.forward.meter import Meter


class Site:
    """A fleet on a log, and every upstream that was ever built for it, by name."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.built: dict[str, list[ScriptedUpstream]] = {}
        self.refuse: str | None = None
        """A name for which nothing can be built."""
        self.away: set[str] = set()
        """Suffixes of connections that cannot be made."""
        self.fleet = Fleet(self._build, self._check, log, log._clock)

    def taken(self, name: str) -> list[int]:
        """What the upstream of this name has taken, over all its connections."""
        return [seq for each in self.built.get(name, []) for seq in each.taken]

    def opened(self, name: str) -> int:
        return sum(each.opens for each in self.built.get(name, []))

    def line(self, name: str) -> dict[str, Any]:
        return next(each for each in self.fleet.describe() if each["name"] == name)  # type: ignore[return-value]

    def has_all(self, *names: str) -> bool:
        return all(self.log.cursor(name) == self.log.head for name in names)

    async def book(self, name: str) -> Any:
        line = next(line for line in await self.log.books() if line.upstream == name)
        assert line.balances, line
        return line

    def _build(self, name: str, config: UpstreamConfig, meter: Meter) -> Forwarding:
        return Forwarding(name, config, partial(self._upstream, name), self.log, self.log._clock, meter=meter)

    def _check(self, name: str, _: UpstreamConfig) -> None:
        if name == self.refuse:
            raise ConfigError(f"upstreams.{name}: no")

    def _upstream(self, name: str, suffix: str = "", **_: object) -> ScriptedUpstream:
        upstream = ScriptedUpstream()
        if suffix in self.away:
            upstream.on_open = lambda: Unreachable("away")
        self.built.setdefault(name, []).append(upstream)
        return upstream


def configs(*names: str, **changes: object) -> dict[str, UpstreamConfig]:
    return {name: make_config(**changes) for name in names}


@asynccontextmanager
async def running(log: EventLog, *names: str, **changes: object) -> AsyncIterator[Site]:
    site = Site(log)
    await site.fleet.configure(configs(*names, **changes))
    tasks = [asyncio.create_task(site.fleet.run()), asyncio.create_task(log.run())]
    try:
        yield site
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            assert task.cancelled() or not task.exception(), task.exception()
