"""Group commit: while one transaction is on its way to the disk, all that arrives gathers in the next one.

So a slow card costs latency and not throughput. Neither is the disk asked for a commit for each few events: after one
the next gathers for `commit_gather_ms`, unless it is full, or everybody who was acknowledged by the last one has been
heard again, because a device that waits for its acknowledgement has nothing more to bring. What waits is
bounded by `pending_bytes_max`: `congested` tells whoever brings events to stop reading from its sockets. A batch that
the disk refused is tried again, whole and in its place, until it is stored; nothing of it is acknowledged before.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.event import ACCEPTED, LOCAL, new_event
from gateway.eventlog.batch import Batch, InboundMark, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.eventlog.batch import Numbered, Receiver, Violated
    from gateway.eventlog.config import LogConfig
    from gateway.eventlog.writer import SegmentWriter

EVENT_OVERHEAD_BYTES = 60
"""What a row costs on disk beside its topic, properties and payload, about."""
MEMORY_PER_EVENT_BYTES = 400
"""What an event costs in memory beside its topic, properties and payload, about."""
MEMORY_PER_NUMBER_BYTES = 200
"""What it costs to remember the number of a message until it is followed, also of one that is not stored, about."""

logger = logging.getLogger(__name__)


class GroupCommit:
    """Gathers events into batches and has one thread make them durable, one batch after the other."""

    def __init__(
        self,
        writer: SegmentWriter,
        config: LogConfig,
        boot_id: str,
        on_durable: Callable[[Batch, int | None], None],
    ) -> None:
        """Begin where the writer's last durable event ends.

        Args:
            writer: makes a batch durable; called in `thread` only.
            config: limits of a batch and of what may wait.
            boot_id: stamped on every event.
            on_durable: called in the loop for each batch on disk, with the first sequence number of the segment that
                was begun for it, if one was.
        """
        self._writer = writer
        self._config = config
        self._batch_events_max = config.batch_events_max
        self._batch_bytes_max = config.batch_bytes_max
        self._boot_id = boot_id
        self._on_durable = on_durable
        self.thread = ThreadPoolExecutor(1, "log-writer")
        self.crash: asyncio.Future[None] | None = None
        """Ends with the exception that stopped the writer unexpectedly; set up by whoever watches it."""
        self.error = ""
        """Why the disk takes nothing at the moment; empty if all is well."""
        self.full = ""
        """Why nothing more may come though the disk takes it; empty if there is room."""
        self._next_seq = writer.next_seq
        self._batch = Batch()
        self._queue: deque[Batch] = deque()
        self._pending_bytes = 0
        self._handing_over = False
        self._stopped = False
        self._next_commit_s = 0.0
        self._gathered_s = 0.0
        """Until when the next commit waits for more, in the time of the loop."""
        self._gathering: asyncio.TimerHandle | None = None
        self._awaited: set[Receiver] = set()
        """Whom the last commit acknowledged, or will, and who has not been heard since."""
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def congested(self) -> bool:
        """Whether more waits for the disk than `pending_bytes_max`, or the log is full."""
        return self._pending_bytes > self._config.pending_bytes_max or bool(self.full)

    @property
    def pending_events(self) -> int:
        """Events that are not yet on their way to the disk."""
        return len(self._batch.events) + sum(len(batch.events) for batch in self._queue)

    @property
    def gathers(self) -> bool:
        """Whether what is at hand waits for more to come, before the disk is asked to take it."""
        return self._gathering is not None

    def append(
        self,
        received_ns: int,
        mono_ns: int,
        client_id: str,
        topic: str,
        qos: int,
        retain: bool,  # noqa: FBT001 - positional for speed
        payload: bytes,
        origin: str = LOCAL,
        properties: bytes | None = None,
        verdict: int = ACCEPTED,
    ) -> int:
        """Take an event in and give it its sequence number; a receipt asked for after this call covers it."""
        seq = self._next_seq
        self._next_seq = seq + 1
        batch = self._batch
        events = batch.events
        if len(events) >= self._batch_events_max or batch.bytes_ >= self._batch_bytes_max:
            # Not sooner: what is marked or asked for after an event belongs into the transaction of that event.
            self._queue.append(batch)
            batch = self._batch = Batch()
            events = batch.events
            self._end_gathering()
        named = client_id, topic, qos, retain, payload, origin, properties, verdict
        events.append(new_event((seq, received_ns, mono_ns, self._boot_id, *named)))
        size = len(payload) + len(topic)
        if properties:
            size += len(properties)
        batch.bytes_ += size + EVENT_OVERHEAD_BYTES
        self._pending_bytes += size + MEMORY_PER_EVENT_BYTES
        if not self._handing_over:
            self._schedule()
        return seq

    def append_run(
        self, received_ns: int, mono_ns: int, client_id: str, messages: Sequence[tuple[str, bool, bytes]]
    ) -> None:
        """Take in events of QoS 1 that one client brought together; of each, topic, RETAIN flag and payload."""
        batch = self._batch
        size = sum([len(topic) + len(payload) for topic, _, payload in messages])
        count = len(messages)
        bytes_ = batch.bytes_ + size + EVENT_OVERHEAD_BYTES * count
        if len(batch.events) + count > self._batch_events_max or bytes_ > self._batch_bytes_max:
            for topic, retain, payload in messages:
                self.append(received_ns, mono_ns, client_id, topic, 1, retain, payload)
            return
        boot_id = self._boot_id
        batch.events += [
            new_event((seq, received_ns, mono_ns, boot_id, client_id, topic, 1, retain, payload, LOCAL, None, ACCEPTED))
            for seq, (topic, retain, payload) in enumerate(messages, self._next_seq)
        ]
        self._next_seq += count
        batch.bytes_ = bytes_
        self._pending_bytes += size + MEMORY_PER_EVENT_BYTES * count
        if not self._handing_over:
            self._schedule()

    def mark_inbound(self, client_id: str, packet_id: int, seq: int) -> None:
        """Store a change of a client's QoS 2 packet ids with the events around it (see `InboundMark`)."""
        self._batch.marks.append(InboundMark(client_id, packet_id, seq))
        self._schedule()

    @property
    def last_seq(self) -> int:
        """The last number given out."""
        return self._next_seq - 1

    def note_number(self, numbered: Numbered) -> None:
        """Have the device's own number of the message taken in last followed when it is on disk."""
        self._batch.numbered.append(numbered)
        self._pending_bytes += MEMORY_PER_NUMBER_BYTES
        if not self._handing_over:
            self._schedule()

    def note_violation(self, violated: Violated) -> None:
        """Store why the event taken in last was flagged or quarantined, in its transaction."""
        self._batch.violations.append(violated)

    def note_release(self, seq: int, original: int) -> None:
        """Store that the event taken in last, `seq`, is the release of `original`, in its transaction."""
        self._batch.releases.append(Release(seq, original))

    def ask_receipt(self, receiver: Receiver, receipt: bytes | bytearray) -> None:
        """Hand `receipt` to `receiver.committed` once everything taken in so far is on disk, never before.

        Receipts of one receiver in one commit arrive joined, in the order they were asked for.
        """
        receipts = self._batch.receipts
        joined = receipts.get(receiver)
        if joined is None:
            receipts[receiver] = bytearray(receipt)
            self._awaited.discard(receiver)
            if not self._awaited:
                self._end_gathering()
            self._schedule()
        else:
            joined += receipt

    async def settled(self) -> None:
        """Wait until everything taken in so far is on disk."""
        await self._idle.wait()

    def stop(self) -> None:
        """Hand nothing more to the disk: what still waits is neither stored nor acknowledged."""
        self._stopped = True

    def report(self, error: str) -> None:
        """Note whether the disk takes what it is given; each change is logged once."""
        if error and not self.error:
            logger.error("the disk takes nothing: no event is acknowledged until it does", extra={"reason": error})
        elif self.error and not error:
            logger.info("the disk takes events again")
        self.error = error

    def _schedule(self) -> None:
        if self._handing_over:
            return
        self._handing_over = True
        self._idle.clear()
        # Not at once: everything that is read in this turn of the loop goes into the same commit.
        asyncio.get_running_loop().call_soon(self._hand_over)

    def _hand_over(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_commit_s:
            # A timer may fire a little early, so it leads to the commit itself and not back to this question.
            loop.call_at(self._next_commit_s, self._gather)
        else:
            self._gather()

    def _gather(self) -> None:
        """Commit, but not before there has been time for more to come, if more is to be expected."""
        loop = asyncio.get_running_loop()
        is_due = self._queue or (self._batch.receipts and not self._awaited) or loop.time() >= self._gathered_s
        if is_due or not self._batch:
            self._commit()
        else:
            self._gathering = loop.call_at(self._gathered_s, self._commit)

    def _end_gathering(self) -> None:
        """Wait no longer; what is read in this turn of the loop is in the commit all the same."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
            asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        self._gathering = None
        if self._stopped:
            return
        if not self._queue and self._batch:
            self._queue.append(self._batch)
            self._batch = Batch()
        if not self._queue:
            self._handing_over = False
            self._idle.set()
            return
        batch = self._queue.popleft()
        loop = asyncio.get_running_loop()
        self._next_commit_s = loop.time() + self._config.commit_interval_ms / 1000
        self._awaited = set(batch.receipts)
        future = self.thread.submit(self._writer.write, batch)
        future.add_done_callback(partial(_tell, loop, self._written, batch))

    def _written(self, batch: Batch, future: Future[int | None]) -> None:
        error = future.exception()
        if isinstance(error, LogError):
            self.report(str(error))
            self._queue.appendleft(batch)
            asyncio.get_running_loop().call_later(self._config.retry_interval_s, self._hand_over)
        elif error is not None:
            if self.crash is not None and not self.crash.done():
                self.crash.set_exception(error)
        else:
            self.report("")
            self._gathered_s = asyncio.get_running_loop().time() + self._config.commit_gather_ms / 1000
            self._hand_over()  # the disk works on the next batch while this one is acknowledged
            self._pending_bytes -= MEMORY_PER_NUMBER_BYTES * len(batch.numbered)
            if batch.events:
                self._pending_bytes -= batch.bytes_
                self._pending_bytes -= (MEMORY_PER_EVENT_BYTES - EVENT_OVERHEAD_BYTES) * len(batch.events)
            self._on_durable(batch, future.result())


def _tell(
    loop: asyncio.AbstractEventLoop,
    written: Callable[[Batch, Future[int | None]], None],
    batch: Batch,
    future: Future[int | None],
) -> None:
    """Have `written` called in the loop; the thread calls this, and it costs less than a future of the loop."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(written, batch, future)
