"""The event log as the rest of the gateway sees it: append, wait for the commit, read, keep cursors.

All methods are called in the event loop. One thread owns the writing connections, one reads and mends; neither touches
anything here except through a future.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.eventlog import lock, losses, recovery, segment
from gateway.eventlog.boots import Boots
from gateway.eventlog.commit import MEMORY_PER_EVENT_BYTES, GroupCommit
from gateway.eventlog.cursors import Cursors
from gateway.eventlog.damage import Damaged
from gateway.eventlog.devices import Devices
from gateway.eventlog.ledger import Ledger
from gateway.eventlog.matching import Matching
from gateway.eventlog.mending import Mender
from gateway.eventlog.places import Places
from gateway.eventlog.quarantine import Quarantine
from gateway.eventlog.reading import Reading
from gateway.eventlog.recent import Recent
from gateway.eventlog.replays import Replays
from gateway.eventlog.retained import CATCH_UP_EVENTS_MAX, RetainedMessages
from gateway.eventlog.rhythm import Rhythm
from gateway.eventlog.sequences import Sequences
from gateway.eventlog.sessions import Sessions
from gateway.eventlog.status import LogStatus
from gateway.eventlog.upkeep import Upkeep
from gateway.eventlog.views import Views

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeVar, TypeVarTuple

    from gateway.clock import Anchor, Clock
    from gateway.event import Event
    from gateway.eventlog.batch import Batch
    from gateway.eventlog.books import Line
    from gateway.eventlog.config import LogConfig
    from gateway.eventlog.losses import Missing

    T = TypeVar("T")
    Ts = TypeVarTuple("Ts")

logger = logging.getLogger(__name__)


class EventLog:
    """The log of one gateway. Built by `open`, driven by `run`, ended by `close`."""

    def __init__(self, data_dir: Path, config: LogConfig, clock: Clock, upstreams: Collection[str]) -> None:
        """Take over a data directory: lock it, recover the newest segment, load cursors.

        Args:
            data_dir: made if it does not exist.
            config: limits and intervals.
            clock: stamps cursors and quarantine, and tells retention the age of a segment.
            upstreams: names whose cursors hold events back from retention.

        Raises:
            ConfigError: the directory cannot be used, or another gateway does.
            LogError: the disk refuses. Damage does not: damaged files are set aside, and the log goes on.
        """
        lock.prepare(data_dir)
        self.data_dir, self._folder = data_dir, data_dir / "log"
        self._config, self._clock = config, clock
        self._lock = lock.DataDirLock(data_dir)
        try:
            self._recover(upstreams)
        except BaseException:
            self._lock.release()
            raise
        self.intake = GroupCommit(self._writer, config, clock.boot_id, self._on_durable)
        """Takes events in."""
        self._flushing = asyncio.Lock()
        parts = config, clock, self.intake, self._reading, self._cursors
        self._upkeep = Upkeep(*parts, flush=self.flush, booked=self._booked, age_ns=self.boots.age_ns)
        self._upkeep.begin(self._size_bytes())
        self.on_room = self._upkeep.on_room
        """Called in the loop when a log that was full has room again."""
        self.places = Places(self._state, self._write, self._cursors, self._reading, self._upkeep, clock, self)
        """Where upstreams stand, and which are paused."""
        self._recent = Recent(config.recent_bytes_max)
        self._waiters: list[asyncio.Future[None]] = []
        self.views = Views(self._cursors, clock, self._rhythm.moved)
        """What is sent to upstreams ahead of their cursors."""
        self.matching = Matching(self._recent, self._upkeep.explain, self._reading)
        """Reads the events of some topics only."""
        self.stored_events = 0
        """Since this run began."""
        self._known_head = self._state.high_water()
        """The last event `state.db` knows of: if its file is lost that is booked, and its number not used again."""
        self._trouble: dict[str, str] = {}
        self.on_committed: list[Callable[[Sequence[Event]], None]] = []
        """Called in the loop with every commit's events, after their receipts were handed out."""

    def _recover(self, upstreams: Collection[str]) -> None:
        found = recovery.open_log(self.data_dir, self._config, self._clock)
        self._state, self._writer, self.log_id = found.state, found.writer, found.log_id
        self.devices = Devices(self._state, self._write)
        """Who may log in."""
        self.head = found.head
        oldest, now_ns = found.reader.segments[0], self._clock.wall_ns()
        known, missing = self._state.accounts(), losses.missing_in(self._state.losses())
        self._cursors = Cursors(upstreams, known, missing, oldest, now_ns, self._state.ahead())
        self.ledger = Ledger(self._cursors, self._clock)
        """Books what never became an event."""
        self.sequences = Sequences(*self._state.sequences(), self.ledger)
        """What devices number their messages with."""
        self.boots = Boots(self._clock.boot_id, self._state.anchors())
        """Tells the true times of events."""
        mender = Mender(self.data_dir, self.log_id, self._clock)
        self._reading = Reading(self.data_dir, found.reader, mender, self.boots, seal=self._seal, on_missing=self._miss)
        self.inbound = dict(self._writer.inbound)
        """Open QoS 2 packet ids at start: (client id, packet id), and the event of each."""
        self._messages = RetainedMessages(self._state.retained(), self._state.retained_seq(), self._config)
        self.retained = self._messages.current
        """Retained messages by topic, as of `head`."""
        self.sessions = Sessions(self._state, self._write)
        """Persistent sessions of local subscribers."""
        self._rhythm = Rhythm(self._config.cursor_interval_s)
        parts = self._reading, lambda: self._cursors.missing, self._rhythm.moved
        self.replays = Replays(self._state, self._write, *parts)
        """What is to be sent again."""
        owners = self._state, self._write, self._reading
        self.quarantined = Quarantine(*owners, self.read, self._clock, self.head)
        """What went nowhere, and why."""
        self._reading.damaged = self._writer.damaged
        self._reading.recover(self._messages, self.head, self._writer.next_seq - 1)

    def tail(self, after_seq: int) -> Iterator[Event]:
        """Events after `after_seq` up to the head, in the calling thread, as far as they can be read.

        To be used before the log runs and before anything else is read.
        """
        if self._reading.damaged is None:
            with suppress(Damaged):  # whoever reads it next meets it again, and has it mended
                yield from self._reading.scan(after_seq, self.head)

    # --- reading ---

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        """The next committed events after `after_seq`, in order; empty if there are none.

        A damaged segment is mended on the way, and what is lost stands in the loss ledger.

        Raises:
            LogError: the disk refused.
        """
        recent = self._recent.read(after_seq, events_max)
        if recent is not None:
            return recent
        if after_seq >= self.head:
            return []
        await self._upkeep.explain(self.head)  # or a cursor might pass a gap that the books do not know of
        return await self._reading.read(after_seq, self.head, events_max)

    async def wait_beyond(self, seq: int) -> None:
        """Wait until an event after `seq` is committed."""
        while self.head <= seq:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:  # given up, and perhaps long before the next commit
                    self._waiters.remove(waiter)

    # --- cursors and other state ---

    def cursor(self, upstream: str) -> int:
        """The last sequence number an upstream has taken; 0 before its first."""
        return self._cursors.seq(upstream)

    def advance(self, upstream: str, seq: int, **counts: int) -> None:
        """Move a cursor over what is done (see `Cursors.advance`); durable within `cursor_interval_s`."""
        self._cursors.advance(upstream, seq, self._clock.wall_ns(), **counts)

    def pending(self, upstream: str) -> int:
        """How many events wait for an upstream, as far as it is known which numbers have one."""
        return self._cursors.pending(upstream, self.head)

    async def quarantine(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """Store which events an upstream can never take; durable when it returns."""
        await self.quarantined.refuse(upstream, reasons)

    async def keep_anchor(self, anchor: Anchor) -> None:
        """Store that the clock of this boot is set, and let times be told by it; durable when it returns.

        Raises:
            LogError: the disk refused, and nothing has changed.
        """
        await self._write(self._state.keep_anchor, self._clock.boot_id, anchor)
        self.boots.add(anchor)

    # --- life ---

    async def run(self) -> None:
        """Flush cursors and remove surplus segments until cancelled.

        Raises:
            Exception: whatever unexpected stopped the writer; a bug, and nothing is acknowledged after it.
        """
        loop = asyncio.get_running_loop()
        crash = self.intake.crash = loop.create_future()
        next_retention_s = loop.time() + self._config.retention_interval_s
        while True:
            await self._rhythm.due()
            await self._tend("cursors and retained messages", self.flush)
            await self._tend("mending", self.mend)
            await self._tend("quarantine", self.follow)
            if self._rhythm.take_grown() or loop.time() >= next_retention_s or self._upkeep.presses:
                next_retention_s = loop.time() + self._config.retention_interval_s
                await self._tend("retention", self.retain)
            await self._rhythm.rest(crash)

    async def flush(self) -> None:
        """Make moved cursors, changed retained messages and what sessions are owed durable.

        Raises:
            LogError: the disk refused; they are kept and flushed again.
        """
        # Never cancelled half-way: what may be in the ledger already must not be booked again.
        await asyncio.shield(asyncio.ensure_future(self._flush()))

    async def _flush(self) -> None:
        async with self._flushing:
            messages, head = self._messages, self.head
            owed = self.sessions.take(self.head)
            moved = self._cursors.unsaved or messages.changed or owed.is_due or self.replays.unsaved
            if not moved and head <= self._known_head:
                return
            unsaved = self._cursors.take_unsaved()
            changed, messages.changed = messages.changed, {}
            seq = messages.seq if messages.behind else self.head
            counts = self.sequences.take(self.head)
            replayed = self.replays.take_unsaved()
            kept = list(changed.values()), seq, self._clock.wall_ns(), self.head, unsaved.lost, owed
            try:
                await self._write(self._state.flush, unsaved.accounts, *kept, unsaved.ahead, counts, replayed)
            except LogError:
                self._cursors.put_back(unsaved)
                self.sessions.put_back(owed)
                self.sequences.put_back(counts)
                self.replays.put_back(replayed)
                messages.changed = changed | messages.changed
                raise
            messages.seq = seq
            self._known_head = head

    async def _booked(self) -> dict[str, int]:
        """Per upstream, what the ledger says was dropped, as of the moment in which this returns."""
        async with self._flushing:
            return losses.dropped_in([*await self._write(self._state.losses), *self._cursors.lost])

    async def follow(self) -> None:
        """Take into quarantine what the log tells of violations and releases (see `Quarantine.follow`)."""
        await self._upkeep.explain(self.head)  # or it might pass what is only salvaged then
        await self.quarantined.follow(self.head)

    async def mend(self) -> None:
        """Mend what was found damaged at start, and go on looking for retained messages the state does not know of.

        Raises:
            LogError: the disk refused; call again.
        """
        await self._upkeep.explain(self.head)
        for _ in range(CATCH_UP_EVENTS_MAX // 10_000):
            if self._messages.behind is None:
                return
            self._messages.catch_up(await self._reading.read(*self._messages.behind, 10_000))

    async def retain(self) -> None:
        """Unlink whole segments that are beyond the limits, as the policy says (see `Upkeep.retain`).

        Raises:
            LogError: the disk refuses to be read, or to book what is dropped, or a segment cannot be unlinked.
        """
        with suppress(LogError):  # a full disk refuses this, and gets room by what can go
            await self.follow()
        await self._upkeep.retain(self.head, self._kept_from)

    def _kept_from(self) -> int:
        """The first event that may be the only one to tell of a retained message, or of one in quarantine."""
        messages = self._messages
        retained = 1 + (messages.seq if messages.changed or messages.behind else self.head)
        return min(retained, self.quarantined.kept_from(self.head))

    async def books(self) -> list[Line]:
        """What became of every event, by upstream (see `books`).

        Raises:
            LogError: the disk refused.
        """
        return await self._upkeep.books(lambda: self.head)

    def status(self) -> LogStatus:
        """A look at the log; costs one stat per segment."""
        segments = self._reading.segments
        return LogStatus(
            head=self.head,
            oldest=segments[0] if segments else self.head + 1,
            segments=len(segments),
            size_bytes=self._size_bytes(),
            pending_events=self.intake.pending_events,
            error=self.intake.error or next(iter(self._trouble.values()), ""),
            full=self.intake.full,
            retained=len(self.retained),
            retained_refused=self._messages.refused,
        )

    def _size_bytes(self) -> int:
        return sum(segment.size_of(segment.path_of(self._folder, first)) for first in self._reading.segments)

    async def beat(self) -> None:
        """Return once the writer thread has answered: the sign of life the watchdog asks for."""
        await self._write(int)

    async def close(self, timeout_s: float) -> None:
        """Commit what waits, within `timeout_s`, flush cursors and let go of every file."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.intake.settled()
                await self.flush()
                await self.follow()
        except (TimeoutError, LogError) as error:
            logger.error("the log could not be flushed before the stop", extra={"reason": str(error)})  # noqa: TRY400
        self.intake.stop()
        # The reader first: whoever closes a segment last checkpoints it, and a reader may not.
        await self._reading.close()
        await self._write(recovery.close_log, self._writer, self._state)
        self.intake.thread.shutdown(wait=False)
        self._lock.release()

    async def _tend(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except LogError as error:
            if what not in self._trouble:
                logger.error("the disk refuses regular work", extra={"work": what, "reason": str(error)})  # noqa: TRY400
            self._trouble[what] = str(error)
        else:
            if self._trouble.pop(what, None):
                logger.info("the disk takes regular work again", extra={"work": what})

    def _on_durable(self, batch: Batch, begun: int | None) -> None:
        self._reading.begun(begun)
        if begun is not None:
            self._rhythm.grew()
        if batch.events:
            count, self.head = len(batch.events), batch.events[-1].seq
            self.stored_events += count
            self._recent.add(batch.events, batch.bytes_ + MEMORY_PER_EVENT_BYTES * count)
        for receiver, receipt in batch.receipts.items():
            receiver.committed(receipt)
        self.sequences.note(batch.numbered)
        if not batch.events:
            self._upkeep.tell_of_room()  # also what is not stored may have been all there was room for
            return
        self.quarantined.note(batch)
        for event in batch.events:
            if event.retain:
                self._messages.note(event)
        for tell in self.on_committed:
            tell(batch.events)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _miss(self, last_seq: int, missing: Missing) -> None:
        self.head = max(self.head, last_seq)
        self.quarantined.look_up_to(last_seq)
        self._cursors.missing = missing

    # --- in the writing thread ---

    async def _seal(self) -> int:
        return await self._write(self._writer.seal)

    async def _write(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.intake.thread, function, *args)
