"""The log against a list: whatever is done to it, and whenever the power fails, it holds what the list holds.

Its books are held against a note of what became of each event, for each upstream: they balance after any history.

A power cut is a copy of the log's files between two transactions, from which the log goes on. What had been
acknowledged by then has to be in the copy; what had not may be there, as long as nothing before it is missing.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from gateway.event import ACCEPTED, FLAGGED, QUARANTINED
from gateway.eventlog.history import History
from gateway.eventlog.losses import DAMAGED
from gateway.eventlog.pages import PAGE_BYTES
from gateway.eventlog.points import Point
from gateway.eventlog.quarantine_rows import Chosen
from gateway.eventlog.wanted import Wanted
from tests.property.log_and_list import UPSTREAMS, Change, LogAndList
from tests.unit.eventlog.logs import firsts, newest, refuse_inserts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)
"""30 s on a machine of its own; hundreds of fsyncs take longer beside others."""
LATER = "later"
"""An upstream that is configured some time, and some time no more."""
PACKET_IDS = (1, 2, 3)


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


class LogModel(LogAndList):
    """Drives the log, and notes in the list what is done to it."""

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


TestLogModel = LogModel.TestCase
TestLogModel.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
