"""One upstream of a running gateway: what forwards to it, when it may, and how it gets on.

A forwarding that was stopped is never gone on with: it is built anew, so that it begins at the cursor, wherever that is
by then. Counters go on over that, for as long as the process runs.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.errors import LogError
from gateway.eventlog import points
from gateway.forward.drain import Drain, Look
from gateway.forward.hours import Hours
from gateway.forward.status import ForwarderStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.clock import Clock
    from gateway.event import Event
    from gateway.eventlog.log import EventLog
    from gateway.forward.config import UpstreamConfig
    from gateway.forward.forwarding import Place
    from gateway.forward.meter import Meter
    from gateway.forward.status import State
    from gateway.forward.upstream import Upstream

LOOK_INTERVAL_S = 1.0
"""How soon the end of its hours is noticed; and how long after a refusal of the disk it is asked again."""
_COUNTERS = ("forwarded", "filtered", "quarantined", "bytes_", "expired", "reconnects", "stalls")

logger = logging.getLogger(__name__)


class Forwards(Protocol):
    """What moves events to one upstream (see `gateway.forward.forwarding.Forwarding`)."""

    upstreams: list[Upstream]
    """One for each connection."""

    def status(self) -> ForwarderStatus:
        """A snapshot."""
        ...

    def places(self) -> list[Place]:
        """Where each of its forwarders is, the main one first."""
        ...

    async def run(self) -> None:
        """Forward until cancelled; then the cursor stands at what was taken."""
        ...


class Standing(NamedTuple):
    """What whoever else sends to an upstream has to heed."""

    config: UpstreamConfig
    """Its section, as it is now."""
    held: str = ""
    """Why nothing is to be sent now: `paused` or `resting`; empty: it may be."""
    meter: Meter | None = None
    """Says how much may be sent, over all connections."""


class _Oldest(NamedTuple):
    """The oldest event that was pending at a look."""

    event: Event
    head: int
    """Where the log ended then."""
    mono_ns: int


class Member:
    """An upstream.

    Args:
        name: in the configuration and in the log.
        config: its section.
        build: makes what forwards to it.
        log: where the events are.
        clock: its monotonic time stamps state changes.
        minute: of the local day, from 0; None while nobody knows.
    """

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        build: Callable[[], Forwards],
        log: EventLog,
        clock: Clock,
        minute: Callable[[], int | None],
    ) -> None:
        self.name = name
        self.config = config
        self._build = build
        self._log = log
        self._clock = clock
        self._minute = minute
        self._hours = Hours(config.active_hours)
        self._held: State | None = None
        """`paused` or `resting`, if it does not forward because of that."""
        self._held_mono_ns = clock.mono_ns()
        self._task: asyncio.Task[None] | None = None
        self.forwarding: Forwards | None = None
        """To be looked at only; None before it has begun."""
        self.meter: Meter | None = None
        """Says how much may be sent to it, by whomever."""
        self._before = dict.fromkeys(_COUNTERS, 0)
        self._drain = Drain()
        self._oldest: _Oldest | None = None

    @property
    def held(self) -> str:
        """Why nothing is sent to it though it may be there: `paused` or `resting`; empty: it is."""
        return self._held or ""

    def start(self, tasks: asyncio.TaskGroup, *, is_paused: bool) -> None:
        """Begin to forward; paused, only its place in the log is found, if it is new."""
        self._hold("paused" if is_paused else None)
        self._task = tasks.create_task(self._begin() if is_paused else self._run(), name=f"upstream {self.name}")

    async def stop(self) -> None:
        """Return when the connections are closed and the cursor stands at what was taken."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])  # each connection has a deadline for closing

    def take_over(self, before: Member) -> None:
        """Go on counting where the same upstream, as it was configured before, has ended."""
        self._before = before._counters()

    def moved(self) -> None:
        """Its cursor was moved by hand: nothing that was seen before holds any more."""
        self._drain.begin_anew()
        self._oldest = None

    async def look(self) -> None:
        """Note how much is pending and since when; reads one event at the most."""
        log, name = self._log, self.name
        pending, cursor = log.pending(name), log.cursor(name)
        counters = self._counters()
        passed = counters["forwarded"] + counters["filtered"] + counters["quarantined"]
        self._drain.note(Look(self._clock.mono_ns(), passed, pending))
        if not pending:
            self._oldest = None
        elif self._oldest is None or self._oldest.event.seq <= cursor:
            with suppress(LogError):  # then the last one is as good as any: nothing moves either
                head = log.head
                events = await log.read(cursor, 1)
                self._oldest = _Oldest(events[0], head, self._clock.mono_ns()) if events else None

    def describe(self) -> dict[str, object]:
        """What `gateway status` and `gateway upstreams` show of it; plain JSON values."""
        status, now_ns = self._status(), self._clock.mono_ns()
        pending = self._log.pending(self.name)
        since_ns = self._held_mono_ns if self._held else status.since_mono_ns
        counters = self._counters()
        counters["bytes"] = counters.pop("bytes_")
        rate, eta_s = self._drain.rate, self._drain.eta_s
        return {
            "name": self.name,
            "type": status.kind,
            "url": status.url,
            "state": self._held or status.state,
            "reason": "" if self._held else status.reason,
            "state_s": round((now_ns - since_ns) / 1e9, 1),
            "cursor": self._log.cursor(self.name),
            "pending": pending,
            "oldest_s": self._age_s(pending, now_ns),
            "rate": None if rate is None else round(rate, 1),
            "eta_s": None if eta_s is None or self._held else round(eta_s, 1),
            **counters,
            "ways": self._ways(),
        }

    def _ways(self) -> list[dict[str, object]]:
        """What goes to it beside the main way, over connections of their own; how far each is, and may come."""
        if self.forwarding is None:
            return []
        return [
            {"role": status.role, "state": status.state, "reason": status.reason, "seq": status.cursor, "end": end}
            for status, end in self.forwarding.places()[1:]
        ]

    async def _run(self) -> None:
        await self._begin()
        while True:
            await self._rest()
            self._before = self._counters()
            forwarding = self.forwarding = self._build()
            self._hold(None)
            await self._forward(forwarding)

    async def _rest(self) -> None:
        """Return in its hours."""
        while not self._is_active():
            self._hold("resting")
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _begin(self) -> None:
        """Have a place in the log."""
        start, told = points.parse(self.config.start), False
        while True:
            try:
                await self._log.places.begin(self.name, start)
            except LogError as error:
                if not told:
                    extra = {"upstream": self.name, "reason": str(error)}
                    logger.error("where an upstream begins cannot be found", extra=extra)  # noqa: TRY400
                told = True
                await asyncio.sleep(LOOK_INTERVAL_S)
            else:
                return

    async def _forward(self, forwarding: Forwards) -> None:
        """Forward until the hours are over, if there are any."""
        if not self._hours:
            await forwarding.run()
        work = asyncio.create_task(forwarding.run())
        try:
            while self._is_active() and not work.done():
                await asyncio.wait([work], timeout=LOOK_INTERVAL_S)
            if work.done():
                work.result()
        finally:
            work.cancel()
            await asyncio.wait([work])

    def _is_active(self) -> bool:
        return self._hours.include(self._minute())

    def _hold(self, state: State | None) -> None:
        if state != self._held:
            logger.info(
                "an upstream is held" if state else "an upstream goes on",
                extra={"upstream": self.name, "state": state or "active", "cursor": self._log.cursor(self.name)},
            )
            self._held_mono_ns = self._clock.mono_ns()
        self._held = state

    def _status(self) -> ForwarderStatus:
        if self.forwarding is not None:
            return self.forwarding.status()
        config, cursor = self.config, self._log.cursor(self.name)
        return ForwarderStatus(self.name, config.type, config.url, cursor, since_mono_ns=self._held_mono_ns)

    def _counters(self) -> dict[str, int]:
        """Since the start of the process."""
        status = self._status()
        return {name: count + getattr(status, name) for name, count in self._before.items()}

    def _age_s(self, pending: int, now_ns: int) -> float | None:
        """How old the oldest pending event is, as far as the last look tells."""
        oldest = self._oldest
        if not pending or oldest is None:
            return None
        event = oldest.event
        age_ns = self._log.boots.age_ns(now_ns, event.boot_id, event.mono_ns, event.received_ns)
        if event.seq <= self._log.cursor(self.name) and pending <= self._log.head - oldest.head:
            age_ns = min(age_ns, now_ns - oldest.mono_ns)  # all that is pending came after the last look
        return round(age_ns / 1e9, 1)
