"""What the forwarder of a replay sees of the log: the stretch that was asked for, at the pace that was asked for.

It fulfils `runner.Log`. Its cursor is the position of the replay and no upstream's: the books are not touched. A replay
holds no segment back from retention; a number whose event is gone when its turn comes is counted as missing.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gateway.conditions import json_of
from gateway.forward.replay_pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.event import Event
    from gateway.eventlog.replays import Replay, Replays
    from gateway.eventlog.retained import Retained

READ_EVENTS_MAX = 1000
"""Events that are read at a time: few, so that live events are not kept waiting for the thread that reads."""
_seq = attrgetter("seq")


class Source(Protocol):
    """What a replay needs of the event log."""

    replays: Replays
    """Where it is kept how far each is."""

    @property
    def retained(self) -> Mapping[str, Retained]:
        """Retained messages by topic, as of now."""
        ...

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        """The next committed events after `after_seq`, in order."""
        ...

    async def quarantine(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """Keep the named events aside, with why; durable when it returns."""
        ...


class Passed(NamedTuple):
    """What was left out before an event that was given, or before the end."""

    seq: int
    filtered: int
    missing: int


class ReplayView:
    """One replay, from its position to its end.

    Args:
        replay: which.
        log: where the events are.
        true_time: of an event, nanoseconds since 1970, and the quality of the clock behind it.
        now: a monotonic clock, in seconds.
        document_of: what a payload on a topic says (see `Wanted.chooser`).
    """

    def __init__(
        self,
        replay: Replay,
        log: Source,
        true_time: Callable[[Event], tuple[int, str]],
        now: Callable[[], float],
        document_of: Callable[[str, bytes], Any] = json_of,
    ) -> None:
        self._id = replay.id
        self._wanted = replay.wanted
        self._log = log
        self._now = now
        self._is_wanted = replay.wanted.chooser(lambda event: true_time(event)[0], document_of)
        self._pace = Pace(replay.pacing, true_time, now())
        self._events: list[Event] = []
        """Those that were looked at and not given yet."""
        self._planned: list[float] = []
        """When each of them is due."""
        position = replay.progress.position
        self._looked_to = self._given_to = self._done_to = position
        self._passed: list[Passed] = []
        """What was left out, and is not counted yet because an event before it is under way."""
        self.finished = asyncio.Event()
        """Set when the whole stretch is done with."""
        self._settle(0, 0)

    @property
    def head(self) -> int:
        """Where the stretch ends."""
        return self._wanted.last_seq

    def cursor(self, _upstream: str) -> int:
        """Where the replay is."""
        return max(self._done_to, self._log.replays.known[self._id].progress.position)

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        """The next events that are wanted and due; none if none is due now, or none is left.

        Raises:
            LogError: the disk refused.
        """
        self._give_up_to(after_seq)
        events_max = min(events_max, READ_EVENTS_MAX)
        enough = events_max if self._wanted.seqs else 1  # one by one they are read, and not sent
        while len(self._events) < enough and self._looked_to < self.head:
            await self._look(events_max)
        count = min(self._pace.due(self._planned, self._now()), events_max)
        given = self._events[:count]
        if given:
            self._given_to = max(self._given_to, given[-1].seq)
        return given

    async def wait_beyond(self, _seq: int) -> None:
        """Return when the next event is due; never if none is left."""
        while True:
            if self._planned:
                wait_s = self._pace.wait_s(self._planned[0], self._now())
                if not wait_s:
                    return
                await asyncio.sleep(wait_s)
            elif self._looked_to < self.head:
                return
            else:
                await asyncio.get_running_loop().create_future()

    def advance(
        self, _upstream: str, seq: int, *, forwarded: int, filtered: int, quarantined: int, expired: int, taken: int
    ) -> None:
        """Note what became of what was given; durable with the cursors."""
        self._done_to = max(self._done_to, seq)
        self._settle(forwarded, filtered + expired + taken, refused=quarantined)

    async def quarantine(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """As of any event that the upstream refuses.

        Raises:
            LogError: the disk refused.
        """
        await self._log.quarantine(upstream, reasons)

    # --- looking ---

    def _give_up_to(self, after_seq: int) -> None:
        """Let go of events that were given; what was given before and is asked for again is looked at anew."""
        if after_seq < self._given_to:
            self._looked_to, self._given_to = after_seq, after_seq
            self._passed = [each for each in self._passed if each.seq <= after_seq]
            self._events.clear()
            self._planned.clear()
        given = bisect_right(self._events, after_seq, key=_seq)
        del self._events[:given], self._planned[:given]

    async def _look(self, events_max: int) -> None:
        """Look at the next events of the stretch."""
        run = self._wanted.next(self._looked_to)
        if run is None:
            self._leave_out(self.head, 0)
            self._settle(0, 0)
            return
        first, last = run
        found = await self._log.read(first - 1, events_max)
        if found and found[-1].seq > last:
            found = [event for event in found if event.seq <= last]
        wanted, filtered, is_wanted = [], 0, self._is_wanted
        for event in found:
            if not is_wanted(event):
                filtered += 1
                continue
            if event.seq != self._looked_to + 1:
                self._leave_out(event.seq - 1, filtered)
                filtered = 0
            self._looked_to = event.seq
            wanted.append(event if not event.retain or self._is_retained(event) else event._replace(retain=False))
        self._events += wanted
        self._planned += self._pace.plan(wanted)
        self._leave_out(found[-1].seq if found else last, filtered)
        self._settle(0, 0)

    def _is_retained(self, event: Event) -> bool:
        """Whether it still tells what is retained on its topic: an older message must not take that one's place."""
        message = self._log.retained.get(event.topic)
        return not event.payload if message is None else message.seq == event.seq

    def _leave_out(self, seq: int, filtered: int) -> None:
        """Of what follows on what was looked at, up to `seq`, nothing is to be given; `filtered` of it is there."""
        first, self._looked_to = self._looked_to + 1, max(seq, self._looked_to)
        never_used = 0 if self._wanted.seqs else self._log.replays.never_used(first, seq)
        missing = max(0, self._wanted.numbers(first, seq) - never_used - filtered)
        if filtered or missing:
            self._passed.append(Passed(seq, filtered, missing))

    def _settle(self, sent: int, filtered: int, refused: int = 0) -> None:
        """Count what is done with, up to the next event that is not."""
        if self._done_to < self._given_to:
            position = self._done_to
        else:
            left = bisect_right(self._events, self._given_to, key=_seq)
            position = self._events[left].seq - 1 if left < len(self._events) else self._looked_to
        counted = [each for each in self._passed if each.seq <= position]
        del self._passed[: len(counted)]
        self._log.replays.advance(
            self._id,
            position,
            sent=sent,
            filtered=filtered + sum(each.filtered for each in counted),
            refused=refused,
            missing=sum(each.missing for each in counted),
        )
        if position >= self.head:
            self.finished.set()
