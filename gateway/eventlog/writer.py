"""Which segment is written, when the next one begins, and what is done when the disk refuses. Runs in one thread.

After a failed write nothing is retried on the same file: what the kernel kept of it cannot be known. The next attempt
begins a new segment at the first sequence number that is not durable; rows that the old file may hold from there on
are never read, because a segment ends where the next one begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.eventlog.reader import segments_in
from gateway.eventlog.segment import Segment, path_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.eventlog.batch import Batch, InboundMark


class SegmentWriter:
    """Appends batches to the newest segment. Only the writer thread calls it after `open`."""

    def __init__(self, folder: Path, log_id: str, segment_bytes_max: int) -> None:
        self._folder = folder
        self._meta = {"log_id": log_id}
        self._segment_bytes_max = segment_bytes_max
        self._segment: Segment | None = None
        self.inbound: dict[tuple[str, int], int] = {}
        """The open QoS 2 packet ids as of the last durable batch."""
        self.next_seq = 1
        """One more than the last sequence number that is durable."""

    def open(self, least_seq: int) -> None:
        """Find where the log ends. Looks at the newest segment only.

        Args:
            least_seq: the lowest sequence number that may be given out, whatever the files say.

        Raises:
            LogError: the newest segment is damaged, or a first one cannot be created.
        """
        for leftover in self._folder.glob("*.new*"):
            leftover.unlink()
        segments = segments_in(self._folder)
        if not segments:
            self.next_seq = least_seq
            self._begin()
            return
        self._segment = Segment.open(path_of(self._folder, segments[-1]))
        self.inbound = self._segment.inbound()
        self.next_seq = self._segment.last_seq() + 1
        if self.next_seq < least_seq:
            self.next_seq = least_seq
            self._begin()

    def write(self, batch: Batch) -> int | None:
        """Make a batch durable.

        Returns:
            First sequence number of a segment that was begun for it; None if it went into the one at hand.

        Raises:
            LogError: nothing of the batch is stored as far as anybody may rely on; call again with the same batch.
        """
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

    def close(self) -> None:
        """Checkpoint and close the newest segment."""
        self._leave()

    def _begin(self) -> int:
        self._leave()
        inbound = ((client_id, packet_id, seq) for (client_id, packet_id), seq in self.inbound.items())
        self._segment = Segment.create(self._folder, self.next_seq, self._meta, inbound)
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
