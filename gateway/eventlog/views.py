"""What is sent to upstreams ahead of their cursors, for whoever sends it: spans that go live, and lanes (see `ahead`).

All methods are called in the event loop. What they change becomes durable with the cursors, within
`cursor_interval_s`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.clock import Clock
    from gateway.eventlog.ahead import Progress
    from gateway.eventlog.cursors import Cursors


class Views:
    """Those of one log.

    Args:
        cursors: of the log.
        clock: stamps rows of the ledger.
        on_moved: called when something has to be stored.
    """

    def __init__(self, cursors: Cursors, clock: Clock, on_moved: Callable[[], None]) -> None:
        self._cursors = cursors
        self._clock = clock
        self._on_moved = on_moved
        self._waiters: list[asyncio.Future[None]] = []
        cursors.on_moved = self._moved

    def progress(self, upstream: str) -> Progress:
        """The cursor of an upstream with its counters, and what is ahead of it."""
        return self._cursors.progress(upstream)

    def backlog_end(self, upstream: str) -> int | None:
        """The number up to which events wait behind what was sent live; None: nothing was sent ahead."""
        spans = self.progress(upstream).ahead.spans
        return spans[0].account.started if spans else None

    def live_seq(self, upstream: str) -> int:
        """The last number that was sent live; the cursor, if there is no span."""
        return self._cursors.live_seq(upstream)

    def begin_span(self, upstream: str, head: int) -> bool:
        """Send live what comes after `head`; False: there are too many spans, and what is live goes on as before."""
        return self._cursors.begin_span(upstream, head)

    def reach(self, upstream: str, seq: int) -> None:
        """No event is left between the cursor and `seq`: if a span begins there, the cursor takes it over."""
        self._cursors.reach(upstream, seq)

    def advance_live(self, upstream: str, seq: int, **counts: int) -> None:
        """What is live is done up to `seq`; counts as of `Cursors.advance`."""
        self._cursors.advance_live(upstream, seq, self._clock.wall_ns(), **counts)

    def set_lanes(self, upstream: str, terms: str, count: int) -> None:
        """Have so many lanes; they go on where they were if they mean the same (`terms`), else from the cursor."""
        self._cursors.set_lanes(upstream, terms, count)

    def lane_seq(self, upstream: str, lane: int) -> int:
        """The last number a lane is done with."""
        return self._cursors.lane_seq(upstream, lane)

    def lanes_seq(self, upstream: str) -> int | None:
        """The last number that every lane is done with; None: there are none."""
        lanes = self.progress(upstream).ahead.lanes
        return min(self.lane_seq(upstream, lane) for lane in range(len(lanes))) if lanes else None

    def advance_lane(
        self, upstream: str, lane: int, seq: int, *, forwarded: int = 0, quarantined: int = 0, expired: int = 0
    ) -> None:
        """A lane is done up to `seq`, and this became of its events."""
        self._cursors.advance_lane(upstream, lane, seq, forwarded=forwarded, quarantined=quarantined, expired=expired)

    async def moves(self) -> None:
        """Return when a cursor, a span or a lane of any upstream has moved."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _moved(self) -> None:
        self._on_moved()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
