"""What one forwarder sees of the log: a view fulfils `gateway.forward.log.Log`, and a forwarder knows nothing else.

Every upstream has a main view, whose forwarder moves the cursor and the books. What goes ahead of the cursor has views
of its own: the live view what comes now while a backlog waits, a lane the events of some topics. Each moves what the
log keeps of it (`gateway.eventlog.ahead`), and no view goes where the cursor could not follow: none but a lane passes
an event that a lane has not passed, so that whatever the cursor passes is done.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.forward.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.event import Event
    from gateway.eventlog.log import EventLog
    from gateway.forward.selection import Selection

_SLICES_PER_S = 4
"""A backlog that has a rate goes out in so many pieces a second."""
_seq = attrgetter("seq")


class MainView:
    """The log as the main forwarder of an upstream sees it: from the cursor on everything that nobody has sent ahead.

    Args:
        log: where the events are.
        upstream: the name that the forwarder uses as well.
    """

    def __init__(self, log: EventLog, upstream: str) -> None:
        self._log = log
        self._name = upstream
        self._empty = (0, -1)
        """No event is left after the first number up to the second."""

    @property
    def head(self) -> int:
        """Seq of the last event that may be read; 0 if there never was one."""
        return self._behind_lanes(self._log.views.backlog_end(self._name))

    def _behind_lanes(self, end: int | None = None) -> int:
        lanes = self._log.views.lanes_seq(self._name)
        return min(self._log.head if end is None else end, self._log.head if lanes is None else lanes)

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        """The next events after `after_seq`, in order; empty only if none is left up to `head`.

        Raises:
            LogError: the disk refused.
        """
        end = self.head
        events = await self._log.read(after_seq, events_max) if after_seq < end else ()
        if events and events[-1].seq > end:
            events = events[: bisect_right(events, end, key=_seq)]
        if not events:
            self._empty = (after_seq, end)
            self._reach()
        return events

    async def wait_beyond(self, seq: int) -> None:
        """Return when `head` is greater than `seq`."""
        while self.head <= seq:
            if self._log.head <= seq:
                await self._log.wait_beyond(seq)
            else:
                await self._log.views.moves()

    def cursor(self, upstream: str) -> int:
        """Seq of the last event that is done."""
        return self._log.cursor(upstream)

    def advance(self, upstream: str, seq: int, **counts: int) -> None:
        """Move the cursor, with what became of the events up to `seq`; durable within the log's cursor interval."""
        self._log.advance(upstream, seq, **counts)
        self._reach()

    async def quarantine(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """Keep the named events aside, with why; durable when it returns.

        Raises:
            LogError: the disk refused.
        """
        await self._log.quarantine(upstream, reasons)

    def _reach(self) -> None:
        """Numbers without events must not keep the cursor from what was sent ahead."""
        after_seq, end = self._empty
        if after_seq <= self._log.cursor(self._name) < end:
            self._log.views.reach(self._name, end)


class BacklogView(MainView):
    """What waits behind that which was sent live, up to where that begins; nothing once the cursor has caught up.

    Args:
        log: where the events are.
        upstream: the name that the forwarder uses as well.
        selection: what of it is sent, and so counts for the rate.
        rate_max: events a second; 0 is no limit.
        now: monotonic time in seconds.
    """

    def __init__(
        self, log: EventLog, upstream: str, selection: Selection, rate_max: float, now: Callable[[], float]
    ) -> None:
        super().__init__(log, upstream)
        self._selection = selection
        self._now = now
        self._slice = max(1, int(rate_max / _SLICES_PER_S))
        self._pace = Pace(rate_max, self._slice, now()) if rate_max else None
        self._step = self._slice
        """So many events are read to find a slice of those that are sent."""

    @property
    def head(self) -> int:
        """Seq of the last event before those that were sent live."""
        end = self._log.views.backlog_end(self._name)
        return self._log.cursor(self._name) if end is None else self._behind_lanes(end)

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        """As of the main view, no sooner than the rate allows what is sent of it."""
        if self._pace is None:
            return await super().read(after_seq, events_max)
        events = await super().read(after_seq, min(events_max, self._step))
        wanted = self._selection.of(events)
        self._step = self._slice * len(events) // len(wanted) if wanted else max(self._slice, events_max)
        if len(wanted) > self._slice:
            del wanted[self._slice :]
            events = events[: bisect_right(events, wanted[-1].seq, key=_seq)]
        await asyncio.sleep(self._pace.wait_s(self._now(), len(wanted)))
        self._pace.take(len(wanted), self._now())
        return events


class LiveView(MainView):
    """What comes from now on, whatever waits; the same as the main view, if nothing does."""

    @property
    def head(self) -> int:
        """Seq of the last event that may be read; 0 if there never was one."""
        return self._behind_lanes()

    def cursor(self, upstream: str) -> int:
        """Seq of the last event that is done live."""
        return self._log.views.live_seq(upstream)

    def advance(self, upstream: str, seq: int, **counts: int) -> None:
        """As of the main view; what was sent live is kept as such until the cursor has caught up."""
        self._log.views.advance_live(upstream, seq, **counts)

    def begin(self, events_max: int) -> None:
        """A connection begins: if more than `events_max` events wait, leave them to the backlog."""
        if self._log.head - self.cursor(self._name) > events_max:
            self._log.views.begin_span(self._name, self._log.head)

    def _reach(self) -> None:
        """The cursor is not ours to move, as long as there is a backlog."""


class LaneView(MainView):
    """The events of one priority, before all others.

    Args:
        log: where the events are.
        upstream: the name that the forwarder uses as well.
        lane: which of its lanes; 0 is the first.
        selection: chooses what is in the lane.
    """

    def __init__(self, log: EventLog, upstream: str, lane: int, selection: Selection) -> None:
        super().__init__(log, upstream)
        self._lane = lane
        self._wants = selection.wants

    @property
    def head(self) -> int:
        """Seq of the last committed event."""
        return self._log.head

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        """The next events after `after_seq` that belong to the lane, in order; empty only if none is left.

        Raises:
            LogError: the disk refused.
        """
        at, end = after_seq, self._log.head
        while at < end:
            found = await self._log.matching.read(at, end, self._wants, events_max)
            if found.events:
                return found.events
            at = found.seq
            self._empty = (after_seq, at)
            self._reach()
        return ()

    def cursor(self, upstream: str) -> int:
        """Seq up to which every event of the lane is done."""
        return self._log.views.lane_seq(upstream, self._lane)

    def advance(self, upstream: str, seq: int, **counts: int) -> None:
        """Move the lane, with what became of its events; the cursor counts them when it comes by."""
        told = {what: counts[what] for what in ("forwarded", "quarantined", "expired")}
        self._log.views.advance_lane(upstream, self._lane, seq, **told)
        self._reach()

    def _reach(self) -> None:
        """What lies between the events of the lane is not the lane's."""
        after_seq, end = self._empty
        if after_seq <= self.cursor(self._name) < end:
            self._log.views.advance_lane(self._name, self._lane, end)
