"""The log against a list: whatever is done to it, and whenever the power fails, it holds what the list holds.

Its books are held against a note of what became of each event, for each upstream: they balance after any history.

A power cut is a copy of the log's files between two transactions, from which the log goes on. What had been
acknowledged by then has to be in the copy; what had not may be there, as long as nothing before it is missing.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.event import ACCEPTED, FLAGGED, QUARANTINED, Event
from gateway.eventlog.batch import Violated
from gateway.eventlog.history import History
from gateway.eventlog.log import EventLog
from gateway.eventlog.losses import DAMAGED, REJECTED
from gateway.eventlog.pages import PAGE_BYTES
from gateway.eventlog.points import Point
from gateway.eventlog.quarantine_rows import Chosen
from gateway.eventlog.state import Retained
from gateway.eventlog.wanted import Wanted
from gateway.ingest.ingest import Ingest
from tests.unit.eventlog.logs import HandClock, firsts, limits, newest, refuse_inserts

pytestmark = pytest.mark.timeout(300)
"""30 s on a machine of its own; hundreds of fsyncs take longer beside others."""
UPSTREAMS = ("cloud", "archive")
LATER = "later"
"""An upstream that is configured some time, and some time no more."""
PACKET_IDS = (1, 2, 3)
SEGMENT_BYTES_MAX = 28 * 1024
"""Less than an operator may set: an empty segment has 24 KiB, so every 4 KiB of events fill one."""


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
payloads = st.tuples(st.one_of(st.just(b"payload"), st.binary(max_size=20)), st.sampled_from([1, 300, 600]))
"""Some bytes, and how often they are repeated: failures are printed with what was drawn."""
messages = st.tuples(
    st.sampled_from(["dev", "Gerät"]),
    st.one_of(st.sampled_from(["a", "b/c", "ü"]), texts),
    st.integers(0, 1),
    st.booleans(),
    payloads,
    st.sampled_from(["", "cloud"]),
    st.one_of(st.none(), st.binary(max_size=10)),
    st.sampled_from([ACCEPTED, ACCEPTED, FLAGGED, QUARANTINED]),
)


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


def lose_page(path: Path, page: int) -> None:
    """What a worn card does: a page of the file has nothing but zeros."""
    with path.open("r+b") as file:
        pages = path.stat().st_size // PAGE_BYTES
        file.seek(page % pages * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))


def booked_as_damaged(data_dir: Path) -> set[int]:
    with History(data_dir) as history:
        rows = [row for row in history.losses() if row.cause == DAMAGED]
    return {seq for row in rows for seq in range(row.first_seq, row.last_seq + 1)}


class LogModel(RuleBasedStateMachine):
    """Drives a log in a loop of its own, which stands still between two steps while the writer's thread goes on."""

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

    # --- what devices do ---

    @rule(several=st.lists(messages, min_size=1, max_size=8), turns=st.sampled_from([0, 1, 10]))
    def publish(self, several, turns) -> None:
        async def publish():
            self.clock.now_ns += 10**9
            for message in several:
                self.append(*message)
                for _ in range(turns):
                    await asyncio.sleep(0)

        self.wait(publish())

    @rule(packet_ids=st.lists(st.sampled_from(PACKET_IDS), min_size=1, max_size=4), payload=payloads)
    def publish_exactly_once(self, packet_ids, payload) -> None:
        async def publish():
            for packet_id in packet_ids:
                is_repeat = self.ingest.is_repeat("dev", packet_id)
                assert is_repeat == (packet_id in self.taken())
                if not is_repeat:
                    seq = self.append("dev", "exactly/once", 2, False, payload, "", None, ACCEPTED)
                    self.ingest.mark("dev", packet_id, seq)
                    self.changes.append(Change(seq, packet_id, taken=True))

        self.wait(publish())

    @rule(packet_id=st.sampled_from(PACKET_IDS))
    def release(self, packet_id) -> None:
        async def release():
            self.ingest.release("dev", packet_id)
            self.changes.append(Change(len(self.events), packet_id, taken=False))

        self.wait(release())

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

    @rule(times=st.integers(1, 3))
    def be_rejected(self, times) -> None:
        async def reject():
            for _ in range(times):
                self.log.ledger.reject("contract", "max", self.log.intake.last_seq)

        self.wait(reject())
        self.rejected += times

    @rule(percent=st.integers(0, 99), payload=payloads)
    def release_from_quarantine(self, percent, payload) -> None:
        self.settle()
        held = [event.seq for event in self.quarantined() if event.seq not in self.released]
        if not held:
            return
        original = held[len(held) * percent // 100]

        async def release():
            seq = self.append("dev", "released", 1, False, payload, "", b"", ACCEPTED)
            self.log.intake.note_release(seq, original)
            self.released[original] = seq

        self.wait(release())

    # --- what the gateway does ---

    @rule()
    def settle(self) -> None:
        self.wait(self.log.intake.settled())
        assert self.log.head == len(self.events)
        assert self.log.status().pending_events == 0
        assert self.log.retained == self.retained()

    @rule(count=st.integers(1, 12))
    def publish_and_settle_one_by_one(self, count) -> None:
        async def publish():
            for _ in range(count):
                self.append("dev", "large", 1, False, (b"payload", 600), "", None, ACCEPTED)
                await self.log.intake.settled()

        self.wait(publish())

    @rule(percent=st.integers(0, 110), events_max=st.sampled_from([1, 5, 1000]))
    def read(self, percent, events_max) -> None:
        after_seq, head = self.log.head * percent // 100, self.log.head
        found = self.wait(self.log.read(after_seq, events_max))
        if found:
            expected = self.stored(max(after_seq + 1, self.oldest), found[-1].seq)
            assert list(found) == expected
            assert len(found) <= events_max
            assert found[-1].seq <= self.log.head
        else:
            # Nothing is left to read also when the newest segment holds only marks and retention took the ones before.
            assert not self.stored(max(after_seq + 1, self.oldest), head)

    @rule(
        upstream=st.sampled_from((*UPSTREAMS, LATER)),
        percent=st.integers(0, 100),
        fates=st.lists(st.sampled_from(["forwarded", "filtered", "quarantined"]), min_size=1, max_size=4),
    )
    def advance(self, upstream, percent, fates) -> None:
        if upstream not in self.upstreams:
            return
        seq = self.log.head * percent // 100
        passed = [event.seq for event in self.stored(self.cursors[upstream] + 1, seq)]
        became = {number: fates[number % len(fates)] for number in passed}
        counts = Counter(became.values())
        self.log.advance(upstream, seq, **counts)
        if seq > self.cursors[upstream]:
            self.cursors[upstream] = seq
            self.fates[upstream] |= became

    @rule(upstream=st.sampled_from((*UPSTREAMS, LATER)), percent=st.integers(0, 100))
    def move_by_hand(self, upstream, percent) -> None:
        """Back, its books begin anew; on, what it passes is dropped."""
        if upstream not in self.upstreams:
            return
        to, cursor = max(self.oldest - 1, self.log.head * percent // 100), self.cursors[upstream]
        move = self.wait(self.log.places.move(upstream, Point("seq", to + 1)))
        assert move == (cursor, to, len(self.stored(min(cursor, to) + 1, max(cursor, to))))
        if to < cursor:
            self.started[upstream] = to
            self.fates[upstream] = {seq: "lost" for seq in self.gone if seq > to}
        else:
            skipped = [event.seq for event in self.stored(cursor + 1, to)]
            self.fates[upstream] |= dict.fromkeys(skipped, "dropped")
        self.cursors[upstream] = to
        self.flushed = dict(self.cursors)

    @rule()
    def flush(self) -> None:
        self.wait(self.log.flush())
        self.flushed = dict(self.cursors)
        self.rejected_for_sure = self.rejected

    @rule()
    def look_at_the_quarantine(self) -> None:
        self.settle()
        self.wait(self.log.follow())
        chosen = Chosen(Wanted(quarantined=True), released=True)
        rows = {row.seq: row for row in self.wait(self.log.quarantined.find(chosen, 10_000))}
        must = {event.seq for event in self.quarantined() if event.seq >= self.oldest and event.seq not in self.gone}
        assert must <= rows.keys() <= {event.seq for event in self.quarantined()}
        assert all(row.is_whole for row in rows.values())
        assert [rows[seq].event() for seq in sorted(must)] == [self.events[seq - 1] for seq in sorted(must)]
        if not self.gone:
            assert {seq: row.released_seq for seq, row in rows.items() if row.released_seq} == self.released

    @rule(upstreams_have_all=st.booleans())
    def retain(self, upstreams_have_all) -> None:
        if upstreams_have_all:
            for upstream in self.upstreams:
                self.advance(upstream, 100, ["forwarded"])
        before = self.log._reading.segments
        self.wait(self.log.retain())
        kept = self.log._reading.segments
        assert kept
        known = sorted({*before, *kept})  # what still waited may have begun one meanwhile
        assert kept == known[len(known) - len(kept) :]
        if self.config.retention_policy == "refuse_new":
            assert kept[0] <= 1 + min(self.cursors[upstream] for upstream in self.upstreams)
        for upstream, cursor in self.cursors.items():
            if cursor < kept[0] - 1:
                dropped = [event.seq for event in self.stored(cursor + 1, kept[0] - 1)]
                self.fates[upstream] |= dict.fromkeys(dropped, "dropped")
                self.cursors[upstream] = kept[0] - 1
        self.flushed = dict(self.cursors)
        self.oldest = kept[0]

    @rule()
    def add_up_the_books(self) -> None:
        self.wait(self.log.intake.settled())
        head = self.log.head
        for line in self.wait(self.log.books()):
            cursor, became = self.cursors[line.upstream], Counter(self.fates[line.upstream].values())
            assert line.balances
            assert line.configured == (line.upstream in self.upstreams)
            assert (line.forwarded, line.filtered, line.quarantined) == (
                became["forwarded"],
                became["filtered"],
                became["quarantined"],
            )
            assert line.pending == len(self.stored(max(cursor + 1, self.oldest), head))
            assert (line.dropped, line.lost) == (became["dropped"] + became["lost"], became["lost"])
            assert line.received == head - self.started[line.upstream]

    # --- what happens to it ---

    @rule()
    def let_the_disk_refuse(self) -> None:
        refuse_inserts(newest(self.log.data_dir))

    @rule(upstreams=st.sampled_from([UPSTREAMS, (*UPSTREAMS, LATER), (LATER,)]))
    def reopen(self, upstreams) -> None:
        self.close()
        self.rejected_for_sure = self.rejected
        assert self.acknowledged.seqs[-1:] in ([], [len(self.events)])
        self.check_files()
        self.flushed = dict(self.cursors)
        taken = self.taken()
        self.open(self.log.data_dir, upstreams)
        self.check_recovered(len(self.events))
        assert self.open_packet_ids() == taken
        self.add_up_the_books()

    @rule(which=st.integers(0, 3), page=st.one_of(st.none(), st.integers(0, 15)))
    def harm_a_segment(self, which, page) -> None:
        """A file of the log that is not being written vanishes, or one of its pages is lost."""
        self.close()
        self.flushed = dict(self.cursors)
        found = firsts(self.log.data_dir)
        if which + 1 < len(found):
            path = self.log.data_dir / "log" / f"{found[which]:020d}.db"
            if page is None:
                path.unlink()
            else:
                lose_page(path, page)
        before = {event.seq for event in self.stored(self.oldest, len(self.events))}
        self.open(self.log.data_dir, self.upstreams)
        lost = before - self.wait(self.read_all())
        self.gone |= lost
        self.wait(self.log.flush())
        booked = booked_as_damaged(self.log.data_dir)
        for upstream, cursor in self.cursors.items():
            missed = {seq for seq in lost if seq > cursor}
            assert missed <= booked
            self.fates[upstream] |= dict.fromkeys(missed, "lost")
            self.cursors[upstream] = max(cursor, self.oldest - 1)
        self.flushed = dict(self.cursors)
        self.check_recovered(len(self.events))
        self.add_up_the_books()

    async def read_all(self) -> set[int]:
        seqs: set[int] = set()
        at = 0
        while found := await self.log.read(at, 1000):
            seqs |= {event.seq for event in found}
            at = found[-1].seq
        return seqs

    @rule(settled=st.booleans())
    def cut_the_power(self, settled) -> None:
        if settled:
            self.settle()
        self.power_cuts += 1
        left = self.folder / str(self.power_cuts)

        async def cut():
            acknowledged = self.acknowledged.seqs[-1] if self.acknowledged.seqs else 0
            await asyncio.get_running_loop().run_in_executor(
                self.log.intake.thread, shutil.copytree, self.log.data_dir, left
            )
            return acknowledged

        acknowledged = self.wait(cut())
        self.close()
        shutil.rmtree(self.log.data_dir)
        self.open(left, self.upstreams)
        head = self.log.head
        self.released = {original: seq for original, seq in self.released.items() if seq <= head}
        rejected = self.rejected_in_ledger()
        assert self.rejected_for_sure <= rejected <= self.rejected
        self.rejected = self.rejected_for_sure = rejected
        assert (len(self.events) if settled else acknowledged) <= head <= len(self.events)
        for upstream in self.cursors:
            seq = self.log.cursor(upstream)
            assert self.flushed[upstream] <= seq <= self.cursors[upstream]
            self.cursors[upstream] = seq
            lost = {number: "lost" for number in self.gone if number > seq and number in self.fates[upstream]}
            kept = {number: fate for number, fate in self.fates[upstream].items() if number <= seq}
            self.fates[upstream] = kept | lost
        # Free again for sure is what was set free before an event that is stored; what was after the last one may be.
        surely = self.taken(head, freed_before=len(self.events) + 1 if settled else head)
        perhaps = set() if settled else {change.packet_id for change in self.changes if change.seq == head}
        found = self.open_packet_ids()
        assert {packet_id: seq for packet_id, seq in surely.items() if packet_id not in perhaps - found.keys()} == found
        self.changes = [Change(seq, packet_id, taken=True) for packet_id, seq in found.items()]
        self.check_recovered(head)
        self.add_up_the_books()

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


TestLogModel = LogModel.TestCase
TestLogModel.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
