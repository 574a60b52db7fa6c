"""Everything that forwards to one upstream, as one task: whoever starts, pauses or removes an upstream has this.

There is one forwarder for what comes, one for each priority, and with `live_first` one for the backlog, connected only
while there is one. Each has a view of its own (see `view`) and a connection of its own.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.forward.runner import Forwarder
from gateway.forward.selection import Selection
from gateway.forward.view import BacklogView, LaneView, LiveView, MainView

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.clock import Clock
    from gateway.event import Event
    from gateway.eventlog.log import EventLog
    from gateway.forward.config import UpstreamConfig
    from gateway.forward.envelope import Marks
    from gateway.forward.meter import Meter
    from gateway.forward.status import ForwarderStatus
    from gateway.forward.upstream import Upstream

HISTORICAL: Marks = (("historical", "true"),)
"""Goes beside every event of a backlog that is sent after newer ones."""


class Build(Protocol):
    """Makes the upstream for one more connection; nobody else may use what it returns."""

    def __call__(self, *, marks: Marks = (), suffix: str = "") -> Upstream:
        """An upstream that is not connected yet.

        Args:
            marks: go beside every event.
            suffix: tells this connection from others to the same upstream.
        """
        ...


class Place(NamedTuple):
    """Where one forwarder of an upstream is; its status tells which and how far it is."""

    status: ForwarderStatus
    end: int
    """The last number that it may go to."""


class Forwarding:
    """The forwarders of one upstream.

    Args:
        name: of the upstream, in the configuration and in the log.
        config: of the upstream.
        build: makes the upstream for each connection.
        log: where the events are.
        clock: its monotonic time stamps state changes and tells how old events are.
        ready: awaited after each connect, before anything is sent.
        meter: says how much may be sent, over all connections.
    """

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        build: Build,
        log: EventLog,
        clock: Clock,
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.name = name
        self.upstreams: list[Upstream] = []
        """One for each connection; to be looked at only."""
        self._config = config
        self._build = build
        self._log = log
        self._clock = clock
        self._ready = ready
        self._meter = meter
        log.views.set_lanes(name, json.dumps([config.topics, config.priorities]), len(config.priorities))
        selection = Selection(name, config.topics, config.priorities)
        self._views: dict[str, MainView] = {}
        self._forwarders: dict[str, Forwarder] = {}
        if config.catch_up == "live_first":
            live = LiveView(log, name)
            self._add("main", live, selection, ready=lambda: self._begin(live))
            backlog = BacklogView(log, name, selection, config.backlog_rate_max, time.monotonic)
            self._add("backlog", backlog, selection, marks=HISTORICAL, suffix="-backlog")
        else:
            self._add("main", MainView(log, name), selection)
        for lane, topic_filter in enumerate(config.priorities):
            theirs = Selection(name, config.topics, config.priorities, lane=lane)
            self._add(topic_filter, LaneView(log, name, lane, theirs), theirs, suffix=f"-priority-{lane + 1}")

    def status(self) -> ForwarderStatus:
        """A snapshot of the main forwarder, with the cursor of the upstream and the counters of all its forwarders."""
        main, *others = (forwarder.status() for forwarder in self._forwarders.values())
        of_cursor = [main, *(each for each in others if each.role == "backlog")]
        return replace(
            main,
            cursor=self._log.cursor(self.name),
            forwarded=main.forwarded + sum(each.forwarded for each in others),
            bytes_=main.bytes_ + sum(each.bytes_ for each in others),
            filtered=sum(each.filtered for each in of_cursor),  # what is filtered in a lane is filtered here as well
            quarantined=main.quarantined + sum(each.quarantined for each in others),
            expired=main.expired + sum(each.expired for each in others),
            reconnects=main.reconnects + sum(each.reconnects for each in others),
            stalls=main.stalls + sum(each.stalls for each in others),
        )

    def places(self) -> list[Place]:
        """Where each forwarder is, the main one first."""
        return [Place(each.status(), self._views[role].head) for role, each in self._forwarders.items()]

    async def run(self) -> None:
        """Forward until cancelled; then every connection is closed and the cursors stand at what was taken."""
        async with asyncio.TaskGroup() as tasks:
            for role, forwarder in self._forwarders.items():
                tasks.create_task(self._catch_up(forwarder) if role == "backlog" else forwarder.run())

    def _add(
        self,
        role: str,
        view: MainView,
        selection: Selection,
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
        marks: Marks = (),
        suffix: str = "",
    ) -> None:
        upstream = self._build(marks=marks, suffix=suffix)
        self.upstreams.append(upstream)
        self._views[role] = view
        self._forwarders[role] = Forwarder(
            self.name,
            self._config,
            upstream,
            view,
            self._clock,
            ready=ready or self._ready,
            selection=selection,
            is_too_old=self._is_too_old if self._config.time_to_live_s else None,
            role=role,
            meter=self._meter,
        )

    def _is_too_old(self, event: Event) -> bool:
        stamps = event.boot_id, event.mono_ns, event.received_ns
        return self._log.boots.age_ns(self._clock.mono_ns(), *stamps) > self._config.time_to_live_s * 1e9

    async def _begin(self, live: LiveView) -> None:
        if self._ready is not None:
            await self._ready()
        live.begin(self._config.batch_events_max)

    async def _catch_up(self, backlog: Forwarder) -> None:
        """Run the forwarder of the backlog while there is one."""
        views = self._log.views
        while True:
            while views.backlog_end(self.name) is None:
                await views.moves()
            running = asyncio.create_task(backlog.run())
            try:
                while views.backlog_end(self.name) is not None:
                    await _first(running, asyncio.create_task(views.moves()))
            finally:
                running.cancel()
                await asyncio.wait([running])


async def _first(running: asyncio.Task[None], other: asyncio.Task[None]) -> None:
    """Return when `other` does.

    Raises:
        Exception: what ended `running`.
    """
    try:
        await asyncio.wait([running, other], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        other.cancel()
        await asyncio.wait([other])
