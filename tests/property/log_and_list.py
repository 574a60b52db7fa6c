"""A log, and the list it is held against: how both begin, what is appended to both, and what has to be true of them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from gateway.event import ACCEPTED, QUARANTINED, Event
from gateway.eventlog.batch import Violated
from gateway.eventlog.history import History
from gateway.eventlog.log import EventLog
from gateway.eventlog.losses import REJECTED
from gateway.eventlog.state import Retained
from gateway.ingest.ingest import Ingest
from tests.unit.eventlog.logs import HandClock, firsts, limits

UPSTREAMS = ("cloud", "archive")
SEGMENT_BYTES_MAX = 28 * 1024
"""Less than an operator may set: an empty segment has 24 KiB, so every 4 KiB of events fill one."""


class Change(NamedTuple):
    """A QoS 2 packet id was taken by event `seq`, or set free after it."""

    seq: int
    packet_id: int
    taken: bool


class Acknowledged:
    """A receiver; each receipt names the event it is for."""

    def __init__(self) -> None:
        self.seqs: list[int] = []

    def committed(self, receipt: bytes | bytearray) -> None:
        self.seqs += [int(number) for number in receipt.split()]


def violated(seq: int, verdict: int) -> Violated:
    return Violated(seq, verdict, "contract", "1", "dev", "celsius", "max", str(seq))


class LogAndList(RuleBasedStateMachine):
    """Has a log in a loop of its own, which stands still between two steps while the writer's thread goes on."""

    @initialize(
        recent_bytes_max=st.sampled_from([0, 5_000, 10**7]),
        batch_events_max=st.sampled_from([1, 3, 1000]),
        retention_bytes_max=st.sampled_from([1, 120_000]),
        policy=st.sampled_from(["drop_oldest", "refuse_new"]),
    )
    def begin(self, recent_bytes_max: int, batch_events_max: int, retention_bytes_max: int, policy: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="log-model-"))
        self.clock = HandClock()
        self.config = limits(
            recent_bytes_max=recent_bytes_max,
            batch_events_max=batch_events_max,
            retention_bytes_max=retention_bytes_max,
            retention_policy=policy,
            retry_interval_s=0.001,
            commit_interval_ms=0,
        ).model_copy(update={"segment_bytes_max": SEGMENT_BYTES_MAX})
        self.events: list[Event] = []
        self.changes: list[Change] = []
        self.gone: set[int] = set()
        """Events whose segment somebody has deleted."""
        self.cursors: dict[str, int] = {}
        self.started: dict[str, int] = {}
        self.fates: dict[str, dict[int, str]] = {}
        """By upstream, what became of each event up to its cursor."""
        self.flushed: dict[str, int] = {}
        self.power_cuts = 0
        self.released: dict[int, int] = {}
        """Quarantined events, and the event each was released as."""
        self.rejected = self.rejected_for_sure = 0
        """Messages that were not stored because of their contracts, and how many of them the ledger must know of."""
        self.open(self.folder / "0", UPSTREAMS)

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.close()
            self.check_files()
            self.loop.close()
            shutil.rmtree(self.folder)

    def open(self, data_dir: Path, upstreams: tuple[str, ...]) -> None:
        self.upstreams = upstreams
        self.log = EventLog(data_dir, self.config, self.clock, upstreams)
        self.ingest = Ingest(self.log, self.clock)
        self.acknowledged = Acknowledged()
        self.oldest = firsts(data_dir)[0]
        for upstream in upstreams:
            if upstream not in self.cursors:
                self.cursors[upstream] = self.started[upstream] = self.flushed[upstream] = self.oldest - 1
                self.fates[upstream] = {seq: "lost" for seq in self.gone if seq >= self.oldest}

    def close(self) -> None:
        self.wait(self.log.close(10))

    def wait(self, coroutine):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 20))

    def append(self, client_id, topic, qos, retain, payload, origin, properties, verdict) -> int:
        some, times = payload
        what = (client_id, topic, qos, retain, some * times, origin, properties, verdict)
        stamp = self.ingest.now()
        seq = self.ingest.append(*stamp, *what)
        assert seq == len(self.events) + 1
        self.events.append(Event(seq, *stamp, self.clock.boot_id, *what))
        if verdict != ACCEPTED:
            self.log.intake.note_violation(violated(seq, verdict))
        self.ingest.ask_receipt(self.acknowledged, b"%d " % seq)
        return seq

    # --- what has to be true ---

    @invariant()
    def acknowledgements_come_in_order_and_after_the_commit(self) -> None:
        seqs = self.acknowledged.seqs
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else True
        assert (seqs[-1] if seqs else 0) <= self.log.head <= len(self.events)

    @invariant()
    def cursors_are_never_ahead(self) -> None:
        for upstream, cursor in self.cursors.items():
            assert self.log.cursor(upstream) == cursor <= self.log.head

    def check_recovered(self, head: int) -> None:
        assert self.log.head == head
        del self.events[head:]
        assert self.log.retained == self.retained()
        self.check_files()

    def check_files(self) -> None:
        """What is on the disk is what is in the list, up to the head and from the oldest segment on."""
        with History(self.log.data_dir) as history:
            assert history.head() == self.log.head
            assert list(history.scan(0)) == self.stored(self.oldest, self.log.head)

    def stored(self, first: int, last: int) -> list[Event]:
        return [event for event in self.events[first - 1 : last] if event.seq not in self.gone]

    def taken(self, head: int | None = None, freed_before: int | None = None) -> dict[int, int]:
        """Packet ids that are open once the events up to `head` are stored, and the event of each."""
        found: dict[int, int] = {}
        for change in self.changes:
            if change.taken and (head is None or change.seq <= head):
                found[change.packet_id] = change.seq
            elif not change.taken and (freed_before is None or change.seq < freed_before):
                found.pop(change.packet_id, None)
        return found

    def open_packet_ids(self) -> dict[int, int]:
        return {packet_id: seq for (_, packet_id), seq in self.log.inbound.items()}

    def quarantined(self) -> list[Event]:
        return [event for event in self.events if event.verdict == QUARANTINED]

    def rejected_in_ledger(self) -> int:
        with History(self.log.data_dir) as history:
            return sum(row.events for row in history.losses() if row.cause == REJECTED)

    def retained(self) -> dict[str, Retained]:
        found: dict[str, Retained] = {}
        for event in self.events:
            if event.retain and event.verdict != QUARANTINED:
                found[event.topic] = Retained(event.topic, event.seq, event.qos, event.payload)
        return {topic: message for topic, message in found.items() if message.payload}
