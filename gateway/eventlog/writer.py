"""Which segment is written, when the next one begins, and what is done when the disk refuses. Runs in one thread.

After a failed write nothing is retried on the same file: what the kernel kept of it cannot be known. The next attempt
begins a new segment at the first sequence number that is not durable; rows that the old file may hold from there on
are never read, because a segment ends where the next one begins.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.eventlog import ending
from gateway.eventlog.damage import Damaged, set_aside
from gateway.eventlog.losses import Span
from gateway.eventlog.reader import LOST_FROM, UNSURE_FROM, segments_in
from gateway.eventlog.segment import Segment, path_of, readable_inbound, size_of
from gateway.eventlog.state import SEQ_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.eventlog.batch import Batch, InboundMark
    from gateway.eventlog.reserve import Reserve


_EVENT_BYTES_MIN = 16
"""The shortest row there can be: sizes, eleven bytes of header, and its place in the page."""
_GAP = 1_000_000

logger = logging.getLogger(__name__)


def safely_above(seq: int, bytes_: int) -> int:
    """A number that nobody can have seen, if `seq` was known and a file of `bytes_` bytes went on from there. Pure."""
    return (seq + max(_GAP, bytes_ // _EVENT_BYTES_MIN)) // _GAP * _GAP + _GAP


class SegmentWriter:
    """Appends batches to the newest segment. Only the writer thread calls it after `open`."""

    def __init__(self, folder: Path, log_id: str, segment_bytes_max: int, reserve: Reserve | None = None) -> None:
        """Open nothing yet.

        Args:
            folder: of the segments.
            log_id: noted in each.
            segment_bytes_max: a segment that has grown to this size is left.
            reserve: without it on the disk no event is stored; None: events may have all the room there is.
        """
        self.folder = folder
        self._reserve = reserve
        self._meta = {"log_id": log_id}
        self._segment_bytes_max = segment_bytes_max
        self._segment: Segment | None = None
        self.inbound: dict[tuple[str, int], int] = {}
        """The open QoS 2 packet ids as of the last durable batch."""
        self.next_seq = 1
        """One more than the last sequence number that is durable."""
        self.damaged: Damaged | None = None
        """What is wrong with the segment before the one that `open` began; None if all is well."""
        self.unsure_from: int | None = None
        """The log ends in a gap: whether a number from here on was ever given out is not known."""
        self.gap: Span | None = None
        """Numbers that were left out for safety, and that no file can hold."""
        self.lost_tail: Span | None = None
        """Numbers that were given out for sure, and that the files do not hold."""

    def open(self, least_seq: int) -> None:
        """Find where the log ends. Looks at the newest segment only.

        Args:
            least_seq: the lowest sequence number that may be given out, whatever the files say.

        Raises:
            LogError: the newest segment cannot be opened, or a new one not be created.
        """
        for leftover in self.folder.glob("*.new*"):
            leftover.unlink()
        segments = segments_in(self.folder)
        if not segments:
            if least_seq > 1:
                self._go_on_above(least_seq)
            else:
                self._begin()
            return
        try:
            self._open_newest(path_of(self.folder, segments[-1]))
        except Damaged as damaged:
            self._leave()
            self._go_beyond(segments[-1], least_seq, damaged)
            return
        except LogError:
            self._leave()
            raise
        if self.next_seq < least_seq:
            self.lost_tail = Span(self.next_seq, least_seq - 1)
            self._go_on_above(least_seq, {LOST_FROM: str(self.next_seq)})

    def _go_on_above(self, least_seq: int, meta: Mapping[str, str] | None = None) -> None:
        """Files are gone that told of numbers before `least_seq`, and perhaps of more, which nobody else knows of."""
        self.next_seq = least_seq
        self.leap(safely_above(least_seq, self._segment_bytes_max), meta)

    def _open_newest(self, path: Path) -> None:
        segment = self._segment = Segment.open(path)
        self.inbound = segment.inbound()
        last_seq = segment.last_seq()
        if not segment.first_seq - 1 <= last_seq < SEQ_MAX:
            raise Damaged(path, f"{path} is damaged: its numbers are not what was written")
        ending.check(path, last_seq)
        self.next_seq = last_seq + 1
        if last_seq < segment.first_seq and (unsure_from := segment.meta().get(UNSURE_FROM, "")).isdecimal():
            self.unsure_from = int(unsure_from)

    def _go_beyond(self, first_seq: int, least_seq: int, damaged: Damaged) -> None:
        """Leave the damaged newest segment where it is, and begin one above every number it can have given out."""
        path = path_of(self.folder, first_seq)
        bytes_ = max(size_of(path), self._segment_bytes_max)
        self.damaged = damaged
        self.inbound = readable_inbound(path)
        self.unsure_from = max(first_seq, least_seq)
        self.next_seq = safely_above(self.unsure_from, bytes_)
        self._begin({UNSURE_FROM: str(self.unsure_from)})
        logger.error(
            "the newest segment is damaged: the log goes on in a new one, with a gap in the numbers",
            extra={"file": str(path), "reason": str(damaged), "next_seq": self.next_seq},
        )

    def leap(self, seq: int, meta: Mapping[str, str] | None = None) -> Span:
        """Go on at `seq`, in a new segment; returns the gap, of which nobody knows which numbers were used.

        Args:
            seq: the next number.
            meta: what the new segment says of why it begins there, beside that gap.

        Raises:
            LogError: the disk takes no new segment.
        """
        gap = self.gap = Span(self.next_seq, seq - 1)
        self.unsure_from = gap.first
        self.next_seq = seq
        self._begin({**(meta or {}), UNSURE_FROM: str(gap.first)})
        return gap

    def write(self, batch: Batch) -> int | None:
        """Make a batch durable.

        Returns:
            First sequence number of a segment that was begun for it; None if it went into the one at hand.

        Raises:
            LogError: nothing of the batch is stored as far as anybody may rely on; call again with the same batch.
        """
        if self._reserve is not None:
            self._reserve.hold()
        begun = None
        if self._segment is None or self._segment.bytes_ >= self._segment_bytes_max:
            begun = self._begin()
        segment = self._segment
        if segment is None:
            raise LogError("no segment is open")
        try:
            segment.append(batch)
        except LogError:
            self._leave()
            raise
        self._remember(batch.marks)
        if batch.events:
            self.next_seq = batch.events[-1].seq + 1
        return begun

    def seal(self) -> int:
        """Leave the segment at hand for good, because it was found to be damaged; returns where the new one begins.

        Raises:
            LogError: the disk takes no new segment.
        """
        self._leave()
        path = path_of(self.folder, self.next_seq)
        if path.exists():  # not one event has been stored in it
            set_aside(path, self.folder.parent / "damaged")
        return self._begin()

    def close(self) -> None:
        """Checkpoint and close the newest segment."""
        self._leave()

    def _begin(self, meta: Mapping[str, str] | None = None) -> int:
        """The segment at hand is left when there is a new one: a process that is killed leaves a write-ahead log."""
        inbound = ((client_id, packet_id, seq) for (client_id, packet_id), seq in self.inbound.items())
        begun = Segment.create(self.folder, self.next_seq, {**self._meta, **(meta or {})}, inbound)
        self._leave()
        self._segment = begun
        return self.next_seq

    def _leave(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _remember(self, marks: Sequence[InboundMark]) -> None:
        for client_id, packet_id, seq in marks:
            if seq:
                self.inbound[client_id, packet_id] = seq
            elif packet_id:
                self.inbound.pop((client_id, packet_id), None)
            else:
                for key in [key for key in self.inbound if key[0] == client_id]:
                    del self.inbound[key]
