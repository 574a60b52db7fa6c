"""The quarantine of a log: what went nowhere, and why, for operators to see, to release and to remove.

Violations are in the log itself, as events with their verdict and a note of why; rows of the quarantine follow it, a
moment behind, and whatever a crash or damage takes of them is taken over from the log again. So is what was released:
the note of that stands in the transaction of the event it was released as, so that no release is forgotten or done
twice. What an upstream refuses is stored before its cursor passes the event.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.eventlog import quarantine_rows as rows
from gateway.eventlog.config import QuarantineConfig
from gateway.eventlog.damage import SQLITE_ERRORS, wal_of
from gateway.eventlog.reserve import DiskFull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.event import Event
    from gateway.eventlog.batch import Batch
    from gateway.eventlog.quarantine_rows import Chosen, Kept
    from gateway.eventlog.reading import Reading
    from gateway.eventlog.state import State

logger = logging.getLogger(__name__)

_LAG_EVENTS_MAX = 100_000
"""So far what is stored of the place in the log may be behind, if there is nothing to take over."""


class Quarantine:
    """Of one log; called in the event loop."""

    def __init__(
        self,
        state: State,
        write: Callable[..., Awaitable[Any]],
        reading: Reading,
        read: Callable[[int, int], Awaitable[Sequence[Event]]],
        clock: Clock,
        head: int,
    ) -> None:
        """Begin with what is on disk.

        Args:
            state: where rows are.
            write: calls a function in the thread that owns `state`.
            reading: of the log.
            read: reads events, as `EventLog.read`.
            clock: stamps rows.
            head: the last event; up to there violations may have to be taken over.
        """
        self._state = state
        self._write = write
        self._reading = reading
        self._read = read
        self._clock = clock
        self._busy = asyncio.Lock()
        self._stored_seq = self._seq = min(head, state.number(rows.SEQ))
        self._newest = head
        """The last event that may have something to be taken over."""
        self.limits = QuarantineConfig()
        self.sums = state.ask(rows.sums)
        """How many rows there are, and of what; as of the last that was stored."""
        self.exclusive = asyncio.Lock()
        """To be held by whoever releases: nobody else may at the same time."""

    def note(self, batch: Batch) -> None:
        """A batch has become durable."""
        seqs = [each.seq for each in batch.violations[-1:]] + [each.seq for each in batch.releases[-1:]]
        self._newest = max(self._newest, *seqs) if seqs else self._newest

    def look_up_to(self, seq: int) -> None:
        """Events up to `seq` were salvaged: what is noted of them has to be taken over."""
        self._newest = max(self._newest, seq)

    def kept_from(self, head: int) -> int:
        """The first event of the log that may have to be taken over."""
        return 1 + (self._seq if self._newest > self._seq else head)

    async def follow(self, head: int) -> None:
        """Take over what the log tells up to `head`; durable when it returns.

        Raises:
            LogError: the disk refused; call again.
        """
        async with self._busy:
            while self._seq < min(self._newest, head):
                found = await self._reading.noted(self._seq, head)
                now_ns = self._clock.wall_ns()
                kept = [rows.of_violation(violated, event, now_ns) for violated, event in found.violations]
                if kept or found.releases:
                    await self._change(rows.take_over, kept, found.releases, found.seq, self.limits, now_ns)
                    self._stored_seq = found.seq
                self._seq = found.seq
            self._seq = max(self._seq, head)
            if self._seq - self._stored_seq > _LAG_EVENTS_MAX:
                await self._change(rows.take_over, (), (), self._seq, self.limits, 0)
                self._stored_seq = self._seq

    async def refuse(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """Store which events an upstream can never take; durable when it returns.

        Raises:
            LogError: the disk refused.
        """
        now_ns = self._clock.wall_ns()
        kept = []
        for seq, reason in sorted(reasons.items()):
            events = await self._read(seq - 1, 1)
            found = events[0] if events and events[0].seq == seq else None
            kept.append(rows.of_refusal(upstream, seq, found, reason, now_ns))
        try:
            await self._change(rows.add, kept, self.limits, now_ns)
        except DiskFull:  # then without copies, in the room that cursors have: the log has the events
            bare = [rows.without_copy(each) for each in kept]
            await self._change(rows.add, bare, self.limits, now_ns, in_reserve=True)

    async def find(self, chosen: Chosen, rows_max: int, after_id: int = 0) -> list[Kept]:
        """The next rows that are meant.

        Raises:
            LogError: the disk refused.
        """
        found: list[Kept] = await self._write(self._state.ask, partial(rows.page, chosen, after_id, rows_max=rows_max))
        return found

    async def purge(self, kept: Sequence[Kept]) -> None:
        """Remove rows for good; those that were not released are booked as lost. Durable when it returns.

        Raises:
            LogError: the disk refused, and nothing has changed.
        """
        await self._change(rows.purge, kept, self._clock.wall_ns())

    async def mark_released(self, kept: Sequence[Kept]) -> None:
        """Note that their upstream is sent these again; durable when it returns.

        Raises:
            LogError: the disk refused, and nothing has changed.
        """
        await self._change(rows.mark_released, kept)

    def describe(self) -> dict[str, object]:
        """Counts, for `gateway status`; plain JSON values."""
        return rows.describe(self.sums)

    async def _change(self, work: Callable[..., None], *args: object, in_reserve: bool = False) -> None:
        transact = self._state.insist if in_reserve else self._state.transact
        await self._write(transact, partial(_with, work, args))
        self.sums = await self._write(self._state.ask, rows.sums)


def carry_over(aside: Path, state: State) -> None:
    """Store in `state` what can still be read of the quarantine in a database that was set aside.

    If not all can be, everything that the log has is taken over from it again, also what an operator has removed.

    Raises:
        LogError: the disk does not take it.
    """
    how = "mode=ro" if wal_of(aside).exists() else "immutable=1"
    found: list[tuple[Any, ...]] = []
    seq = 0
    try:
        with closing(sqlite3.connect(f"{aside.absolute().as_uri()}?{how}", uri=True)) as database:
            for (text,) in database.execute("SELECT value FROM meta WHERE key = ?", (rows.SEQ,)):
                seq = int(text) if str(text).isdecimal() else 0
            found += database.execute(rows.EVERY)
    except SQLITE_ERRORS as error:
        seq = 0
        logger.warning("not all of the quarantine can be read", extra={"file": str(aside), "reason": str(error)})
    state.transact(partial(_with, rows.carry_over, (found, seq)))


def _with(work: Callable[..., None], args: tuple[object, ...], db: sqlite3.Connection) -> None:
    work(db, *args)
