"""The one thread that reads the log, and that mends what it finds damaged.

All methods are called in the event loop; what is damaged is mended on the way, so no caller ever sees it.
"""

from __future__ import annotations

import asyncio
import shutil
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.eventlog import held, losses, noted, segment, state, times
from gateway.eventlog.damage import Damaged, inode_of
from gateway.eventlog.ending import look_over_file
from gateway.eventlog.losses import Missing, Span
from gateway.eventlog.reader import UNSURE_FROM
from gateway.eventlog.retained import CATCH_UP_EVENTS_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path
    from typing import TypeVar, TypeVarTuple

    from gateway.event import Event
    from gateway.eventlog.boots import Boots
    from gateway.eventlog.mending import Mended, Mender
    from gateway.eventlog.reader import LogReader
    from gateway.eventlog.retained import RetainedMessages
    from gateway.eventlog.retention import SegmentFacts

    T = TypeVar("T")
    Ts = TypeVarTuple("Ts")

_READ_EVENTS = 1000


class Reading:
    """Whoever reads, looks at or removes segments of a log that is being written."""

    def __init__(
        self,
        data_dir: Path,
        reader: LogReader,
        mender: Mender,
        boots: Boots,
        *,
        seal: Callable[[], Awaitable[int]],
        on_missing: Callable[[int, Missing], None],
    ) -> None:
        """Take over a reader.

        Args:
            data_dir: of the gateway.
            reader: nobody else may use it.
            mender: nobody else may use it.
            boots: tells the true times of events.
            seal: leaves the segment that is written for good and tells where the new one begins.
            on_missing: called when the ledger knows of more numbers without events, with the highest number that was
                salvaged (0 if there was nothing to salvage) and all such numbers; before a reader steps over them.
        """
        self._folder = data_dir / "log"
        self._state_path = state.path_of(data_dir)
        self._reader = reader
        self._mender = mender
        self._boots = boots
        self._seal = seal
        self._on_missing = on_missing
        self._thread = ThreadPoolExecutor(1, "log-reader")
        self._mending = asyncio.Lock()
        self.damaged: Damaged | None = None
        """What was found when the log was opened; for `mend_found`."""
        self._unchecked = [segment.path_of(self._folder, first) for first in reader.segments[-1:]]
        """The segment that is gone on with, of which only the end was looked at."""

    @property
    def segments(self) -> list[int]:
        """First sequence numbers of the segments, in order."""
        return self._reader.segments

    def scan(self, after_seq: int, last_seq: int) -> Iterator[Event]:
        """Events one by one, in the calling thread; to be used before anything else is asked.

        Raises:
            Damaged: a segment is.
        """
        return self._reader.scan(after_seq, last_seq)

    def recover(self, messages: RetainedMessages, head: int, last_seq: int) -> None:
        """Look through what `messages` do not know yet: at once if it is little and readable, else they are behind.

        To be used before anything else is asked.

        Args:
            messages: those of the log.
            head: the last event that can be read.
            last_seq: the last number given out.
        """
        try:
            if self.damaged is None and head - messages.seq <= CATCH_UP_EVENTS_MAX:
                for event in self.scan(messages.seq, head):
                    if event.retain:
                        messages.note(event)
                return
        except Damaged as damaged:
            self.damaged = damaged
        messages.behind = (messages.seq, last_seq)

    async def read(self, after_seq: int, last_seq: int, events_max: int) -> list[Event]:
        """The next events after `after_seq` up to `last_seq`; empty if there are none.

        Raises:
            LogError: the disk refused.
        """
        return await self._call(self._reader.read, after_seq, last_seq, events_max)

    async def seq_at(self, time_ns: int, head: int) -> int:
        """The first event, in the order of the log, that came at `time_ns` or later; `head` + 1 if none did.

        Raises:
            LogError: the disk refused.
        """
        return await self._call(times.seq_at, self._reader, self._boots, time_ns, head)

    async def bounds(self, begin_ns: int | None, end_ns: int | None, first_seq: int, last_seq: int) -> Span | None:
        """Between which numbers all events from `begin_ns` to `end_ns` are (see `times.bounds`).

        Raises:
            LogError: the disk refused.
        """
        return await self._call(times.bounds, self._reader, self._boots, begin_ns, end_ns, first_seq, last_seq)

    async def find(
        self, after_seq: int, last_seq: int, is_wanted: Callable[[str], bool], events_max: int
    ) -> tuple[list[Event], int]:
        """A step towards the next events whose topic is wanted (see `LogReader.find`).

        Raises:
            LogError: the disk refused.
        """
        return await self._call(self._reader.find, after_seq, last_seq, is_wanted, events_max)

    async def noted(self, after_seq: int, last_seq: int) -> noted.Noted:
        """A step through what is noted of events (see `noted`).

        Raises:
            LogError: the disk refused.
        """
        return await self._call(lambda: noted.noted(self._folder, self.segments, after_seq, last_seq))

    async def facts(self, head: int, age_ns: Callable[[str, int, int], int]) -> list[SegmentFacts]:
        """What retention needs to know of each segment of a log that ends at `head` (see `LogReader.facts`).

        Raises:
            LogError: the disk refused.
        """
        return await self._call(self._reader.facts, head, age_ns)

    def begun(self, first_seq: int | None) -> None:
        """Note that a segment was begun, if one was."""
        if first_seq is None:
            return
        if first_seq in self._reader.segments:  # a new file under an old name: nothing of the old one was durable
            self._thread.submit(self._reader.forget, first_seq)
        else:
            self._reader.segments = [*self._reader.segments, first_seq]

    def free_bytes(self) -> int:
        """Room on the disk."""
        return shutil.disk_usage(self._folder).free

    async def held(self, after_seq: int, last_seq: int) -> list[Span]:
        """The numbers after `after_seq` up to `last_seq` that have an event, in order.

        Raises:
            LogError: the disk refused.
        """
        found: list[Span] = []
        for part in held.parts(self._folder, self.segments, after_seq, last_seq):
            found += await self._call(part.held)
        return found

    async def explain(self, after_seq: int, last_seq: int, missing: Missing, now_ns: int) -> None:
        """Note in the ledger which numbers have no event, as far as it does not say so yet.

        Args:
            after_seq: where to begin; what is before the oldest segment is left out.
            last_seq: where to end.
            missing: what the ledger says.
            now_ns: wall clock.

        Raises:
            LogError: the disk refused; call again.
        """
        first = max(after_seq + 1, self.segments[0])
        if first > last_seq:
            return
        known = [*await self.held(after_seq, last_seq), *missing.gaps, *missing.damaged]
        unknown = losses.without([Span(first, last_seq)], known)
        if not unknown:
            return
        unknown = losses.without(unknown, [each for span in unknown for each in await self._hidden(span, last_seq)])
        unsure = []
        for part in held.parts(self._folder, self.segments[1:], after_seq, last_seq + 1):
            text = await self._call(part.meta, UNSURE_FROM)
            if text.isdecimal():
                unsure.append(Span(int(text), segment.first_seq_of(part.path) - 1))
        lost = losses.without(unknown, unsure)
        gaps = losses.without(unknown, lost)
        why = "no file of the log holds these"
        await self._in_thread(losses.record, self._state_path, lost, losses.DAMAGED, why, now_ns)
        await self._in_thread(losses.record, self._state_path, gaps, losses.GAP, why, now_ns)
        self._on_missing(0, await self._in_thread(self._missing))

    async def _hidden(self, span: Span, last_seq: int) -> list[Span]:
        """The events in `span` after all: a damaged tree hides some from `held`; who reads on beyond them notices."""
        found: list[Span] = []
        at = span.first - 1
        while at < span.last and (events := await self.read(at, last_seq, _READ_EVENTS)):
            for event in events:
                if found and found[-1].last == event.seq - 1:
                    found[-1] = Span(found[-1].first, event.seq)
                else:
                    found.append(Span(event.seq, event.seq))
            at = events[-1].seq
        return found

    async def remove(self, first_seqs: Sequence[int]) -> None:
        """Unlink segments, one by one, so that whoever wants to read waits for one at the most.

        Raises:
            LogError: one cannot be.
        """
        # Changed in the loop, where new segments are added too, and before a file is gone.
        self._reader.segments = [first for first in self._reader.segments if first not in first_seqs]
        for first in first_seqs:
            await self._in_thread(self._unlink, first)

    async def mend_found(self) -> None:
        """Mend what was found damaged when the log was opened, and once look over the segment that is gone on with.

        Raises:
            LogError: the disk refused; call again.
        """
        if self.damaged is not None:
            await self.mend(self.damaged)
            self.damaged = None
        while self._unchecked:
            path = self._unchecked[0]
            try:
                await asyncio.to_thread(look_over_file, path)  # not in our thread: forwarders wait for that
            except Damaged as damaged:
                await self.mend(damaged)
            if path in self._unchecked:  # another call may have been quicker
                self._unchecked.remove(path)

    async def mend(self, damaged: Damaged) -> None:
        """Salvage a damaged segment, unless it was mended meanwhile; the one being written is left first.

        Raises:
            LogError: the disk refused.
        """
        async with self._mending:
            first = segment.first_seq_of(damaged.path)
            if first == self._reader.segments[-1] and damaged.inode == inode_of(damaged.path):
                self.begun(await self._seal())
            index = bisect_right(self._reader.segments, first) - 1
            if index < 0 or self._reader.segments[index] != first or index + 1 == len(self._reader.segments):
                return  # removed or replaced meanwhile
            following = self._reader.segments[index + 1]
            mended = await self._in_thread(self._mend_segment, damaged, first, following)
            if mended is not None:
                self._on_missing(mended.last_seq, await self._in_thread(self._missing))

    async def close(self) -> None:
        """Let go of every file and end the thread."""
        await self._in_thread(self._reader.close)
        self._thread.shutdown(wait=False)

    async def _call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call `function` in the thread, again after each damaged segment that it finds was mended."""
        while True:
            try:
                return await self._in_thread(function, *args)
            except Damaged as damaged:
                await self.mend(damaged)

    async def _in_thread(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    # --- in the thread ---

    def _mend_segment(self, damaged: Damaged, first: int, following: int) -> Mended | None:
        self._reader.forget(first)
        return self._mender.mend(first, following, damaged.inode, str(damaged))

    def _missing(self) -> Missing:
        return losses.missing_in(losses.ledger(self._state_path))

    def _unlink(self, first: int) -> None:
        self._reader.forget(first)
        path = segment.path_of(self._folder, first)
        try:
            segment.remove(path)
        except OSError as error:
            raise LogError(f"{path} cannot be removed: {error}", "Look at the disk (dmesg).") from error
