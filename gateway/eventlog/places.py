"""Where upstreams stand in the log, as operators want it: where a new one begins, which are paused, moving one by hand.

Promises: an upstream that is known keeps its place, whatever its `start` says, also while it is not configured. A
place is moved back only to what the log holds, and nothing is removed meanwhile. What is moved over goes into the loss
ledger in the transaction that moves the cursor. That an upstream is paused is on disk before it counts.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gateway.errors import ConfigError, LogError
from gateway.eventlog import paused
from gateway.eventlog.losses import count_in
from gateway.eventlog.points import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from gateway.clock import Clock
    from gateway.eventlog.cursors import Cursors
    from gateway.eventlog.points import Point
    from gateway.eventlog.reading import Reading
    from gateway.eventlog.state import State
    from gateway.eventlog.upkeep import Upkeep

CURSORS_LOST = "cursors_lost"
"""In the meta of the state: it was made anew for a log that has events, and no upstream has been given its place since.
Then none may begin elsewhere than at the oldest event: which ones are new nobody knows."""

logger = logging.getLogger(__name__)


class Move(NamedTuple):
    """A cursor moved by hand, or what that would come to."""

    cursor: int
    """Where it is."""
    to: int
    """Where it goes; the next event is the one after."""
    events: int
    """How many events are between the two: they are sent again if it goes back, else skipped."""


class Log(Protocol):
    """The log that the places are in."""

    head: int
    """The last committed event."""

    async def flush(self) -> None:
        """Make cursors and rows of the ledger durable."""
        ...


class Places:
    """Of one log; called in the event loop.

    Args:
        state: where it is kept which upstreams are paused.
        write: calls a function in the thread that owns `state`.
        cursors: of the log.
        reading: of the log.
        upkeep: of the log.
        clock: stamps rows of the ledger.
        log: tells where it ends, and makes cursors and rows of the ledger durable.
    """

    def __init__(
        self,
        state: State,
        write: Callable[..., Awaitable[Any]],
        cursors: Cursors,
        reading: Reading,
        upkeep: Upkeep,
        clock: Clock,
        log: Log,
    ) -> None:
        self._state = state
        self._write = write
        self._cursors = cursors
        self._reading = reading
        self._upkeep = upkeep
        self._clock = clock
        self._log = log
        self.paused: Mapping[str, int] = state.ask(paused.load)
        """By name, since when: wall clock, nanoseconds since 1970."""
        self._all_begin_at_the_oldest = bool(state.meta(CURSORS_LOST))

    def configure(self, upstreams: Collection[str]) -> None:
        """From now on retention waits for these, and for no others; what is known of the others is kept."""
        self._cursors.configure(upstreams)

    def has_begun(self, upstream: str) -> bool:
        """Whether an upstream has a place."""
        return upstream in self._cursors.accounts

    async def begin(self, upstream: str, start: Point) -> None:
        """Give an upstream its place, unless it has one; it is durable soon, and at once if the disk is well.

        Raises:
            LogError: the disk did not let the place be found; call again.
        """
        if self.has_begun(upstream):
            return
        async with self._upkeep.busy:
            seq = await self._before(BEGINNING if self._all_begin_at_the_oldest else start)
            await self._upkeep.explain_after(seq, self._log.head)
            self._cursors.begin(upstream, max(seq, self._oldest - 1))
        logger.info("an upstream begins", extra={"upstream": upstream, "first_seq": seq + 1})
        try:
            await self._log.flush()
        except LogError as error:
            logger.warning("where it begins is not durable yet", extra={"upstream": upstream, "reason": str(error)})

    async def all_have_begun(self) -> None:
        """From now on a new upstream begins where its `start` says, also in a log whose cursors had been lost."""
        if self._all_begin_at_the_oldest:
            await self._log.flush()
            await self._write(self._state.set_meta, CURSORS_LOST, "")
            self._all_begin_at_the_oldest = False

    async def plan(self, upstream: str, point: Point) -> Move:
        """What moving an upstream to `point` would come to; nothing is changed.

        Raises:
            ConfigError: there is no such upstream, or no such event yet.
            LogError: the disk refused.
        """
        if not self.has_begun(upstream):
            raise ConfigError(f"the upstream {upstream!r} has no place in the log yet")
        if point.kind == "seq" and point.number > self._log.head + 1:
            raise ConfigError(f"there is no event {point.number} yet: the last is {self._log.head}")
        to, cursor = await self._before(point), self._cursors.seq(upstream)
        first, last = min(to, cursor) + 1, max(to, cursor)
        return Move(cursor, to, count_in(await self._reading.held(first - 1, last), first, last))

    async def move(self, upstream: str, point: Point) -> Move:
        """Move the cursor of an upstream whose forwarder does not run to `point`; durable when it returns.

        Back: its books begin anew there, and the ledger says so. On: what it passes is booked as skipped.

        Raises:
            ConfigError: there is no such upstream, or no such event yet.
            LogError: the disk refused. If it refused to write, the move holds, and is durable as soon as it is well.
        """
        async with self._upkeep.busy:
            await self._upkeep.explain(self._log.head)
            await self._upkeep.explain_after(await self._before(point), self._log.head)
            move = await self.plan(upstream, point)
            if move.to < move.cursor:
                self._cursors.rewind(upstream, move.to, self._clock.wall_ns())
            elif move.to > move.cursor:
                held = await self._reading.held(move.cursor, move.to)
                self._cursors.skip(upstream, held, move.to, self._clock.wall_ns())
        await self._log.flush()
        return move

    async def pause(self, upstream: str) -> None:
        """Keep that an upstream is paused; durable when it returns.

        Raises:
            LogError: the disk refused, and nothing has changed.
        """
        since_ns = self._clock.wall_ns()
        await self._write(self._state.transact, partial(paused.keep, upstream=upstream, since_ns=since_ns))
        self.paused = {**self.paused, upstream: since_ns}

    async def resume(self, upstream: str) -> None:
        """Keep that an upstream is paused no more; durable when it returns.

        Raises:
            LogError: the disk refused, and nothing has changed.
        """
        await self._write(self._state.transact, partial(paused.drop, upstream=upstream))
        self.paused = {name: since_ns for name, since_ns in self.paused.items() if name != upstream}

    @property
    def _oldest(self) -> int:
        return self._reading.segments[0]

    async def _before(self, point: Point) -> int:
        """The cursor with which the event at `point` is the next one, within what the log holds."""
        head = self._log.head
        match point.kind:
            case "beginning":
                seq = 0
            case "now":
                seq = head
            case "seq":
                seq = point.number - 1
            case "time":
                seq = await self._reading.seq_at(point.number, head) - 1
        return max(self._oldest - 1, min(seq, head))
