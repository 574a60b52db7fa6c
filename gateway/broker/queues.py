"""What persistent sessions are owed, over a restart: written with the cursors, read back from the log at start.

The queue of a session is the log: kept are only its place in it and what is in flight (`eventlog/queue.py`). After a
start the log is looked through, for all sessions together, in the background; until it has come to the head, a session
that is behind is sent nothing of QoS 1 and 2, so that its messages keep their order.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.broker.outbox import Behind, Message, Scan
from gateway.broker.rights import Identity
from gateway.errors import LogError
from gateway.eventlog.queue import NOTHING, Flight, Owed, Queue, Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.broker.delivery import Delivery
    from gateway.event import Event
    from gateway.eventlog.log import EventLog

_AT_A_TIME = 1000
_IN_FLIGHT_AT_A_TIME = 100
_NEAR_EVENTS = 100_000
"""Sessions no further behind are caught up first: they need not wait for one that has been away for months."""
_REFILL_WAIT_S = 0.5
"""So long clients are kept waiting at start, that sessions may have what they are owed."""
_RETRY_S = 1.0
_AWAY_STEP_S = 3600
"""How exactly it is stored how long a client has been away."""

logger = logging.getLogger(__name__)


class _Kept:
    """A persistent session."""

    def __init__(self, session: Session) -> None:
        self.stored: Queue | None = session.queue
        """What is on disk of its queue; None: not known."""
        self.away_s: float = session.queue.away_s
        self.owner = session.owner


class Queues:
    """Knows which sessions are persistent. `Queues` for `eventlog.sessions.Sessions`."""

    def __init__(self, log: EventLog, delivery: Delivery) -> None:
        self._log = log
        self._delivery = delivery
        self._kept: dict[str, _Kept] = {}
        self._restored: dict[str, Queue] = {}
        """Of these sessions the messages in flight have still to be read."""
        self._scans: list[Scan] = []
        self._is_due = False
        self._refilling: asyncio.Task[None] | None = None

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def begin(self, client_id: str, owner: str) -> None:
        """A session is persistent from now on."""
        self._kept[client_id] = _Kept(Session({}, {}, owner=owner))

    def owner(self, client_id: str) -> Identity | None:
        """Who began a session; None: somebody without a login, or it is not known."""
        kept = self._kept.get(client_id)
        return Identity(client_id, kept.owner) if kept is not None and kept.owner else None

    def end(self, client_id: str) -> None:
        """A session is over."""
        self._kept.pop(client_id, None)
        self._restored.pop(client_id, None)

    # --- time away ---

    def age(self, seconds: float) -> None:
        """Note that so much time has passed."""
        for client_id, kept in self._kept.items():
            before = kept.away_s
            kept.away_s = 0 if self._delivery.is_connected(client_id) else before + seconds
            if kept.away_s // _AWAY_STEP_S != before // _AWAY_STEP_S:
                self._delivery.changed.add(client_id)

    def away_for(self, seconds: float) -> list[str]:
        """The sessions whose clients have been away for longer."""
        return [client_id for client_id, kept in self._kept.items() if kept.away_s > seconds]

    # --- to the disk ---

    def take(self, head: int) -> Owed:
        """What has changed, as of the event `head`, up to which everything has been delivered."""
        if self._restored:  # what is in flight is not known yet
            return NOTHING
        changed = self._delivery.changed & self._kept.keys()
        self._delivery.changed.clear()
        found: dict[str, Queue] = {}
        for client_id in changed:
            kept = self._kept[client_id]
            queue = self._queue(client_id, kept, head)
            if queue != kept.stored:
                found[client_id] = kept.stored = queue
        is_due, self._is_due = bool(changed) or self._is_due, False
        return Owed(found, None if self._scans else head, is_due)

    def put_back(self, owed: Owed) -> None:
        """What `take` gave could not be stored."""
        self._is_due = True
        for client_id in owed.queues:
            if client_id in self._kept:
                self._kept[client_id].stored = None
                self._delivery.changed.add(client_id)

    def _queue(self, client_id: str, kept: _Kept, head: int) -> Queue:
        behind = self._delivery.behind(client_id)
        place = head if self._scans else None
        if behind is not None:
            place = max(behind.after_seq, behind.scan.seq)
        outbox = self._delivery.known_outbox(client_id)
        queue = Queue(place) if outbox is None else outbox.queue(place)
        return queue._replace(away_s=int(kept.away_s) // _AWAY_STEP_S * _AWAY_STEP_S)

    # --- from the disk ---

    def open(self) -> None:
        """Bring back the sessions of the last run; `refill` has to follow."""
        head, seq = self._log.head, self._log.sessions.seq()
        near, far = Scan(head), Scan(head)
        for client_id, session in self._log.sessions.load().items():
            queue = session.queue
            self._kept[client_id] = _Kept(session)
            for topic_filter, qos in session.subscriptions.items():
                self._delivery.subscribe(client_id, topic_filter, qos, session.since.get(topic_filter, 0))
            after_seq = seq if queue.after_seq is None else queue.after_seq
            if after_seq is not None and after_seq < head:
                scan = near if head - after_seq <= _NEAR_EVENTS else far
                scan.seq = min(scan.seq, after_seq)
                self._fall_behind(client_id, Behind(scan, after_seq))
            elif queue.inflight or queue.retained:
                self._fall_behind(client_id, Behind(near, head))
            if queue.inflight or queue.retained or queue.packet_ids:
                self._delivery.outbox(client_id).restore(queue)
                self._restored[client_id] = queue
        self._log.sessions.queues = self

    def _fall_behind(self, client_id: str, behind: Behind) -> None:
        self._delivery.fall_behind(client_id, behind)
        if behind.scan not in self._scans:
            self._scans.append(behind.scan)

    async def refill(self) -> None:
        """Begin to give the sessions what they are owed from before the start; if that is much, it goes on alone."""
        self._refilling = asyncio.get_running_loop().create_task(self._refill())
        await asyncio.wait([self._refilling], timeout=_REFILL_WAIT_S)

    def check(self) -> None:
        """Raises whatever has ended `refill` unexpectedly."""
        if self._refilling is not None and self._refilling.done():
            self._refilling.result()

    def close(self) -> None:
        """Look no further."""
        if self._refilling is not None:
            self._refilling.cancel()

    async def _refill(self) -> None:
        await self._supply()
        self._scans.sort(key=lambda scan: scan.seq, reverse=True)
        while self._scans:
            await self._scan(self._scans[0])
            del self._scans[0]
        self._delivery.changed.update(self._kept)

    async def _supply(self) -> None:
        """Read the messages that were in flight, and the retained ones that waited."""
        parts = [queue.inflight + queue.retained for queue in self._restored.values()]
        wanted = sorted({each.seq for part in parts for each in part if each.seq})
        found: dict[int, Event] = {}
        while wanted:
            events = await self._read(wanted[0] - 1, _IN_FLIGHT_AT_A_TIME)
            last_seq = events[-1].seq if events else wanted[-1]
            ready = {seq for seq in wanted if seq <= last_seq}
            found.update((event.seq, event) for event in events if event.seq in ready)
            wanted = wanted[len(ready) :]
        for client_id, queue in self._restored.items():
            self._give(client_id, queue, found)
        self._restored.clear()

    def _give(self, client_id: str, queue: Queue, found: Mapping[int, Event]) -> None:
        outbox = self._delivery.known_outbox(client_id)
        if outbox is None:  # the session is over
            return
        for each in queue.inflight:
            outbox.supply(each.packet_id, each.seq, self._message(each, found))
        for each in queue.retained:
            message = self._message(each, found)
            if message is not None:
                outbox.add(message)

    def _message(self, flight: Flight, found: Mapping[int, Event]) -> Message | None:
        kept = self._log.retained.get(flight.topic)
        source = kept if kept is not None and kept.seq == flight.seq else found.get(flight.seq)
        if source is None:
            return None
        return Message(source.topic, source.payload, flight.qos, bool(flight.topic), source.seq)

    async def _scan(self, scan: Scan) -> None:
        while scan.seq < self._log.head:  # no await after this has been seen to be false
            head = self._log.head
            events = await self._read(scan.seq, _AT_A_TIME)
            self._delivery.look_through(events, scan)
            scan.seq = events[-1].seq if events else head
            await asyncio.sleep(0)
        self._delivery.catch_up(scan)

    async def _read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        while True:
            try:
                return await self._log.read(after_seq, events_max)
            except LogError as error:
                logger.error("what waits for local subscribers cannot be read yet", extra={"reason": str(error)})  # noqa: TRY400
                await asyncio.sleep(_RETRY_S)
