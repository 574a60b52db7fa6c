"""Puts what can be read of a damaged segment in its place, sets the damaged file aside, and notes what is missing.

Promises: no file is deleted; a crash at any moment leaves either the damaged segment or the salvaged one under the
name, or a salvaged one that the next start puts there; the same damage is never mended twice. What was not readable is
in the ledger before the salvaged segment can be read.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import LogError
from gateway.eventlog import damage, losses, salvage
from gateway.eventlog.losses import Span
from gateway.eventlog.reader import UNSURE_FROM
from gateway.eventlog.segment import Segment, path_of
from gateway.eventlog.segment_reader import SALVAGED, SegmentReader
from gateway.eventlog.state import path_of as state_path_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.event import Event
    from gateway.eventlog.salvage import Readable

_BATCH_EVENTS = 2_000
_SALVAGES_MAX = 2
"""Of one segment in one run. Damaged again after that, it is set aside with nothing in its place but the ledger."""
_ENOUGH = 0.9995
"""Share of the events on readable pages; with less, names were lost, and another first page may lead to them."""
_READY = ".salvaged"

logger = logging.getLogger(__name__)


class Mended(NamedTuple):
    """What became of a damaged segment."""

    first_seq: int
    events: int
    """Salvaged."""
    last_seq: int
    """Of the salvaged events; the number before `first_seq` if there is none."""
    missing: list[Span]
    """What was not in the ledger before."""
    aside: Path


def damaged_folder(data_dir: Path) -> Path:
    """Where damaged files are set aside."""
    return data_dir / "damaged"


def finish(data_dir: Path) -> None:
    """Complete what a crash interrupted; to be called before the log is opened.

    Raises:
        LogError: the disk refused.
    """
    shutil.rmtree(data_dir / "salvage", ignore_errors=True)  # copies only
    for ready in (data_dir / "log").glob(f"*{_READY}"):
        if ready.with_suffix(".db").exists():
            ready.unlink()  # the ledger may not tell yet what it lacks; the damaged file is there to be read again
        else:
            _put_in_place(ready, damaged_folder(data_dir))


def _put_in_place(ready: Path, aside_in: Path) -> Path:
    path = ready.with_suffix(".db")
    aside = damage.set_aside(path, aside_in)
    try:
        ready.replace(path)
        damage.sync_folder(path.parent)
    except OSError as error:
        raise LogError(f"{path} cannot be replaced: {error}", "Look at the disk (df, dmesg).") from error
    return aside


class Mender:
    """Mends segments of one log; one thread at a time. The segment must not be the one that is written."""

    def __init__(self, data_dir: Path, log_id: str, clock: Clock) -> None:
        self._data_dir = data_dir
        self._log_id = log_id
        self._clock = clock
        self._times: Counter[int] = Counter()

    def mend(self, first_seq: int, next_first_seq: int, inode: int, reason: str) -> Mended | None:
        """Salvage a segment and set the damaged file aside.

        Args:
            first_seq: its first number.
            next_first_seq: where the segment after it begins.
            inode: of the file that was found damaged; 0 if that does not matter.
            reason: what was found.

        Returns:
            None if another file has its name by now: it has been mended already.

        Raises:
            LogError: the disk refused; nothing has changed.
        """
        path = path_of(self._data_dir / "log", first_seq)
        if inode and inode != damage.inode_of(path):
            return None
        self._times[first_seq] += 1
        worth = self._times[first_seq] <= _SALVAGES_MAX
        found = Span(first_seq, next_first_seq - 1)
        ready, kept = self._salvage(path, found) if worth else (self._empty(first_seq), [])
        missing = self._note(path, losses.without([found], kept), kept, reason)
        mended = Mended(
            first_seq,
            sum(span.last - span.first + 1 for span in kept),
            kept[-1].last if kept else first_seq - 1,
            missing,
            _put_in_place(ready, damaged_folder(self._data_dir)),
        )
        logger.error(
            "a damaged segment was set aside and what can be read of it salvaged",
            extra={
                "file": str(path),
                "reason": reason,
                "aside": str(mended.aside),
                "salvaged": mended.events,
                "lost": sum(span.last - span.first + 1 for span in missing),
            },
        )
        return mended

    def _salvage(self, path: Path, found: Span) -> tuple[Path, list[Span]]:
        """A complete new segment, ready to take the place of `path`, and the numbers it holds."""
        if not path.is_file():
            return self._empty(found.first), []
        draft, kept = self.draft(path, found)
        return (self._empty(found.first), []) if draft is None else (self._ready(draft, path), kept)

    def draft(self, path: Path, found: Span) -> tuple[Path | None, list[Span]]:
        """A new segment, in a folder of its own, with what can be read of `path`, and the numbers it holds.

        Whoever asks for it sees to it that `<data_dir>/salvage` goes when it is done with.

        Raises:
            LogError: the disk refused.
        """
        work = self._work()
        first_page = salvage.template(work, damage.page_bytes_of(path))
        best: tuple[int, Path | None, list[Span]] = (-1, None, [])
        for number, page in enumerate((None, first_page)):
            readable = salvage.opened(salvage.copy(path, work), found.first, found.last, page)
            if readable is None:
                continue
            folder = work / str(number)
            folder.mkdir(exist_ok=True)
            with closing(readable.db):
                draft, kept = self._store(readable, folder, found)
            count = sum(span.last - span.first + 1 for span in kept)
            if count > best[0]:
                best = (count, draft, kept)
            if count >= _ENOUGH * readable.numbers:
                break  # another first page would lead to the same pages of events
        return best[1:]

    def _store(self, readable: Readable, folder: Path, found: Span) -> tuple[Path, list[Span]]:
        inbound = [(client_id, packet_id, seq) for (client_id, packet_id), seq in readable.inbound().items()]
        meta = readable.meta() | {"log_id": self._log_id, SALVAGED: "1"}
        target = Segment.create(folder, found.first, meta, inbound)
        kept: list[Span] = []
        try:
            batch: list[Event] = []
            for event in readable.events(*found):
                if kept and kept[-1].last == event.seq - 1:
                    kept[-1] = Span(kept[-1].first, event.seq)
                else:
                    kept.append(Span(event.seq, event.seq))
                batch.append(event)
                if len(batch) >= _BATCH_EVENTS:
                    target.append_runs(runs(batch), readable.notes(batch))
                    batch = []
            if batch:
                target.append_runs(runs(batch), readable.notes(batch))
            target.settle()
        finally:
            target.close()
        return target.path, kept

    def _empty(self, first_seq: int) -> Path:
        new = Segment.create(self._work(), first_seq, {"log_id": self._log_id, SALVAGED: "1"}, [])
        new.close()
        return self._ready(new.path, path_of(self._data_dir / "log", first_seq))

    def _ready(self, draft: Path, path: Path) -> Path:
        ready = path.with_suffix(_READY)
        try:
            draft.replace(ready)
            damage.sync_folder(ready.parent)
            shutil.rmtree(self._data_dir / "salvage", ignore_errors=True)
        except OSError as error:
            raise LogError(f"{path} cannot be salvaged: {error}", "Look at the disk (df, dmesg).") from error
        return ready

    def _work(self) -> Path:
        work = self._data_dir / "salvage"
        try:
            work.mkdir(exist_ok=True)
        except OSError as error:
            raise LogError(f"{work} cannot be made: {error}", "Look at the disk (df, dmesg).") from error
        return work

    def _note(self, path: Path, missing: list[Span], kept: list[Span], reason: str) -> list[Span]:
        """Ledger rows for what is missing; numbers that may never have been used are a gap and no loss."""
        unsure_from = self._unsure_from(path_of(path.parent, missing[-1].last + 1)) if missing else None
        gaps: list[Span] = []
        if unsure_from is not None:
            sure = Span(0, max([unsure_from - 1, *(span.last for span in kept)]))
            gaps = losses.without(missing, [sure])
            missing = losses.without(missing, gaps)
        state_path, now_ns = state_path_of(self._data_dir), self._clock.wall_ns()
        why = f"left out when {path.name} was damaged; what used these numbers, if anything, is lost"
        losses.record(state_path, gaps, losses.GAP, why, now_ns)
        return losses.record(state_path, missing, losses.DAMAGED, reason, now_ns)

    @staticmethod
    def _unsure_from(following: Path) -> int | None:
        if not following.exists():
            return None
        try:
            with closing(SegmentReader(following)) as reader:
                text = reader.meta().get(UNSURE_FROM, "")
        except LogError:
            return None
        return int(text) if text.isdecimal() else None


def runs(events: Sequence[Event]) -> list[list[Event]]:
    """Stretches of events without a gap in their numbers and of one boot each. Pure."""
    found: list[list[Event]] = []
    for event in events:
        if found and event.seq == found[-1][-1].seq + 1 and event.boot_id == found[-1][-1].boot_id:
            found[-1].append(event)
        else:
            found.append([event])
    return found
