"""What keeps the log within its limits and its books true: retention, what it drops, and numbers without events.

Promises: an event that an upstream still needs goes only when that is in the ledger on disk, in one transaction with
the cursor that is moved over it. Under `refuse_new` no such event goes at all; then the log may be full, and devices
are not read from until it has room.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.eventlog import books, retention

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.clock import Clock
    from gateway.eventlog.commit import GroupCommit
    from gateway.eventlog.config import LogConfig
    from gateway.eventlog.cursors import Cursors
    from gateway.eventlog.reading import Reading
    from gateway.eventlog.retention import Surplus

_FULL = "upstreams still need more than log.retention_bytes_max, and log.retention_policy is refuse_new"
_LOOKS_MAX = 10
"""Books are added up again if damage was mended meanwhile."""

logger = logging.getLogger(__name__)


class Upkeep:
    """Of one log; called in the event loop."""

    def __init__(
        self,
        config: LogConfig,
        clock: Clock,
        intake: GroupCommit,
        reading: Reading,
        cursors: Cursors,
        *,
        flush: Callable[[], Awaitable[None]],
        booked: Callable[[], Awaitable[dict[str, int]]],
        age_ns: Callable[[int, str, int, int], int],
    ) -> None:
        """Take care of a log.

        Args:
            config: limits and policy.
            clock: stamps rows of the ledger, and tells how old events are.
            intake: is stopped while the log is full.
            reading: of the log.
            cursors: of the log.
            flush: makes cursors and rows of the ledger durable.
            booked: by upstream, how many events the ledger says retention has dropped.
            age_ns: how old an event is (see `Boots.age_ns`).
        """
        self._config = config
        self._clock = clock
        self._intake = intake
        self._reading = reading
        self._cursors = cursors
        self._flush = flush
        self._booked = booked
        self._age_ns = age_ns
        self.busy = asyncio.Lock()
        """Held while segments go or are counted: nobody else moves a cursor back meanwhile."""
        self._explained = False
        self._explaining = asyncio.Lock()
        self.on_room: list[Callable[[], None]] = []
        """Called when a log that was full has room again."""

    def begin(self, size_bytes: int) -> None:
        """The log opens with so many bytes: where it may be full it counts as full, until `retain` has looked."""
        limit = self._config.retention_bytes_max
        if self._config.retention_policy == "refuse_new" and 0 < limit < size_bytes:
            self._intake.full = _FULL

    async def explain(self, head: int) -> None:
        """Mend what was found damaged, and book numbers without events that some upstream has still to pass; once.

        Raises:
            LogError: the disk refused; call again.
        """
        if self._explained:
            return
        async with self._explaining:  # every forwarder asks for it, and damage is mended once
            if not self._explained:
                await self._reading.mend_found()
                accounts = self._cursors.accounts.values()
                await self.explain_after(min((account.seq for account in accounts), default=head), head)
                self._explained = True

    async def explain_after(self, seq: int, head: int) -> None:
        """Book numbers without events after `seq`, before a cursor is moved back there.

        Raises:
            LogError: the disk refused; call again.
        """
        last_seq = max(head, self._reading.segments[-1] - 1)
        await self._reading.explain(seq, last_seq, self._cursors.missing, self._clock.wall_ns())

    async def retain(self, head: int, kept_from: Callable[[], int]) -> None:
        """Unlink whole segments that are beyond the limits.

        Args:
            head: the last event.
            kept_from: the first event that must stay for another reason than an upstream.

        Raises:
            LogError: the disk refuses to be read, or to book what is dropped, or a segment cannot be unlinked.
        """
        config = self._config
        async with self.busy:
            await self.explain(head)
            facts = await self._reading.facts(head, partial(self._age_ns, self._clock.mono_ns()))
            going = retention.surplus(facts, bytes_max=config.retention_bytes_max, age_s=config.retention_age_s)
            needed_from = 1 + self._cursors.taken_by_all(head)
            durable = await self._try_flush()
            if not durable:
                # A full disk refuses this, and gets room by nothing but the unlinking of what nobody needs.
                needed_from = self._cursors.unbooked_from(needed_from)
            if not durable or config.retention_policy == "refuse_new":
                going = retention.before(going, needed_from)
            if not going and self._disk_is_full:
                going = retention.before(retention.oldest(facts), needed_from)
            going = retention.before(going, kept_from())
            if going:
                if await self._drop(going) and durable:
                    await self._flush()
                gone = [each.segment.first_seq for each in going]
                await self._reading.remove(gone)
                logger.info("segments removed by retention", extra={"first_seqs": gone})
            self._note_full(
                config.retention_policy == "refuse_new"
                and retention.is_full(facts, needed_from=needed_from, bytes_max=config.retention_bytes_max)
            )

    async def books(self, head: Callable[[], int]) -> list[books.Line]:
        """The books of every upstream, those first that are configured, added up from one look at everything.

        Args:
            head: tells the last event.

        Raises:
            LogError: the disk refused.
        """
        cursors = self._cursors
        async with self.busy:
            await self.explain(head())
            for _ in range(_LOOKS_MAX):
                booked = await self._booked()
                # One moment: nothing is awaited between what was booked and what it was booked for.
                last, missing, accounts, ahead = head(), cursors.missing, dict(cursors.accounts), dict(cursors.ahead)
                held = await self._reading.held(min((each.seq for each in accounts.values()), default=last), last)
                if missing is cursors.missing:
                    break
            return books.lines(
                accounts,
                head=last,
                held=held,
                missing=missing,
                booked=booked,
                configured=self._cursors.upstreams,
                ahead=ahead,
            )

    @property
    def presses(self) -> bool:
        """Whether `retain` should be called soon: the log or the disk is full."""
        return bool(self._intake.full) or self._disk_is_full

    @property
    def _disk_is_full(self) -> bool:
        """Then the limit counts as reached, but for what nobody needs only: others may have filled the disk."""
        config = self._config
        if not self._intake.error or not config.retention_bytes_max:
            return False
        return self._reading.free_bytes() < config.segment_bytes_max

    def _note_full(self, is_full: bool) -> None:  # noqa: FBT001 - the fact that is noted
        if is_full and not self._intake.full:
            self._intake.full = _FULL
            logger.error("the log is full: devices are not read from and not acknowledged", extra={"reason": _FULL})
        elif self._intake.full and not is_full:
            self._intake.full = ""
            logger.info("the log has room again")
            self.tell_of_room()

    def tell_of_room(self) -> None:
        """Have whoever waits for room look whether there is some."""
        for tell in self.on_room:
            tell()

    async def _try_flush(self) -> bool:
        try:
            await self._flush()
        except LogError:
            return False
        return True

    async def _drop(self, going: Sequence[Surplus]) -> bool:
        """Move every cursor beyond what goes; whether there was one to move."""
        last_seq = going[-1].segment.last_seq
        behind = self._cursors.behind(last_seq)
        if not behind:
            return False
        held = await self._reading.held(min(map(self._cursors.seq, behind)), last_seq)
        for cause, segments in groupby(going, attrgetter("cause")):
            end = list(segments)[-1].segment.last_seq
            dropped = self._cursors.drop(held, end, cause, self._clock.wall_ns())
            for upstream, events in dropped.items():
                logger.warning(
                    "retention drops events that an upstream did not have yet",
                    extra={"upstream": upstream, "events": events, "cause": cause, "last_seq": end},
                )
        return True
