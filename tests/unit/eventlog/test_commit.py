"""Group commit: nobody is told before the disk has it, and a slow disk makes batches larger and not slower."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import closing

import pytest

from gateway.errors import LogError
from gateway.eventlog.commit import GroupCommit
from gateway.eventlog.reader import LogReader
from gateway.eventlog.segment import path_of
from gateway.eventlog.writer import SegmentWriter
from tests.unit.eventlog.logs import Device, HandClock, commit_held_back, limits, refuse_inserts, turns, until


class SlowWriter(SegmentWriter):
    """A real writer that can be held before its transaction, and remembers how large each was."""

    def __init__(self, folder, segment_bytes_max):
        super().__init__(folder, "log id", segment_bytes_max)
        self.begun = 0
        self.transactions = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.bug = None

    def write(self, batch):
        self.begun += 1
        assert self.may_go_on.wait(10)
        if self.bug is not None:
            raise self.bug
        first_seq = super().write(batch)
        self.transactions.append([event.seq for event in batch.events])
        return first_seq


class Desk:
    """Group commit on a real segment; hands receipts out as the log does."""

    def __init__(self, folder, **changes):
        config = limits(**changes)
        self.folder = folder
        self.writer = SlowWriter(folder, config.segment_bytes_max)
        self.writer.open(1)
        self.begun = []
        self.durable = []
        self.commit = GroupCommit(self.writer, config, HandClock.boot_id, self.on_durable)

    def on_durable(self, batch, begun):
        self.durable += [event.seq for event in batch.events]
        self.begun.append(begun)
        for receiver, receipt in batch.receipts.items():
            receiver.committed(receipt)

    def put(self, payload=b"x", topic="t"):
        return self.commit.append(1, 2, "dev", topic, 1, False, payload)

    def bring(self, *devices):
        """An event of each, and each waits for its acknowledgement."""
        for device in devices:
            self.put()
            self.commit.ask_receipt(device, b"ack")

    def hold(self):
        self.writer.may_go_on.clear()

    def release(self):
        self.writer.may_go_on.set()

    async def hold_first(self):
        """Hold a commit of one event that is on its way to the disk."""
        self.hold()
        begun = self.writer.begun
        seq = self.put()
        await until(lambda: self.writer.begun > begun)
        return seq

    def stored(self):
        with closing(LogReader(self.folder)) as reader:
            return [event.seq for event in reader.scan()]

    def close(self):
        self.release()
        self.commit.thread.shutdown()
        self.writer.close()


@pytest.fixture
def desk_of(tmp_path):
    made = []

    def make(**changes):
        made.append(Desk(tmp_path, **changes))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def desk(desk_of):
    return desk_of()


# --- receipts ---


async def test_a_receipt_waits_for_its_commit(desk):
    device = Device()
    desk.hold()
    desk.put()
    desk.commit.ask_receipt(device, b"ack")
    await until(lambda: desk.writer.begun)
    await turns()
    assert (device.receipts, desk.durable, desk.stored()) == ([], [], [])
    desk.release()
    await until(lambda: device.receipts)
    assert (device.receipts, desk.durable, desk.stored()) == ([b"ack"], [1], [1])


async def test_a_receipt_waits_while_sqlite_cannot_commit(desk):
    device = Device()
    with commit_held_back(path_of(desk.folder, 1)):
        desk.put()
        desk.commit.ask_receipt(device, b"ack")
        await until(lambda: desk.writer.begun)
        await turns()
        assert (device.receipts, desk.stored()) == ([], [])
    await until(lambda: device.receipts)
    assert desk.stored() == [1]


async def test_receipts_of_one_receiver_arrive_joined_in_the_order_they_were_asked_for(desk):
    one, other = Device(), Device()
    await desk.hold_first()
    for n in range(5):
        desk.put()
        desk.commit.ask_receipt(one, b"%d" % n)
        desk.commit.ask_receipt(other, bytearray(b"<%d>" % n))
    desk.release()
    await desk.commit.settled()
    assert one.receipts == [b"01234"]
    assert other.receipts == [b"<0><1><2><3><4>"]


async def test_a_receipt_with_nothing_of_its_own_waits_for_what_came_before_it(desk):
    device = Device()
    await desk.hold_first()
    desk.commit.ask_receipt(device, b"ping")
    await turns()
    assert device.receipts == []
    desk.release()
    await until(lambda: device.receipts)
    assert desk.durable == [1]


async def test_a_receipt_is_no_reference_to_what_the_receiver_goes_on_using(desk):
    device, buffer = Device(), bytearray(b"ack")
    desk.put()
    desk.commit.ask_receipt(device, buffer)
    buffer[:] = b"xxx"
    desk.commit.ask_receipt(device, b"2")
    await desk.commit.settled()
    assert device.receipts == [b"ack2"]


async def test_receipts_over_many_commits_stay_in_order(desk_of):
    desk, device = desk_of(batch_events_max=3), Device()
    for n in range(50):
        desk.put()
        desk.commit.ask_receipt(device, b"%02d" % n)
        if n % 7 == 0:
            await turns(1)
    await desk.commit.settled()
    assert b"".join(device.receipts) == b"".join(b"%02d" % n for n in range(50))
    assert desk.stored() == list(range(1, 51))


# --- batches ---


async def test_what_arrives_during_a_commit_lands_in_one_transaction(desk):
    await desk.hold_first()
    for _ in range(500):
        desk.put()
        await turns(1)
    desk.release()
    await desk.commit.settled()
    assert [len(seqs) for seqs in desk.writer.transactions] == [1, 500]


async def test_what_is_read_in_one_turn_of_the_loop_lands_in_one_transaction(desk):
    for _ in range(10):
        desk.put()
    await desk.commit.settled()
    assert [len(seqs) for seqs in desk.writer.transactions] == [10]


async def test_events_gather_until_everybody_who_was_acknowledged_last_has_been_heard_again(desk_of):
    desk = desk_of(commit_gather_ms=1000)
    one, other, third = Device(), Device(), Device()
    desk.bring(one, other)
    await until(lambda: other.receipts)
    desk.bring(one, third)
    await until(lambda: desk.commit.gathers)
    desk.bring(one)
    await turns()
    assert desk.writer.begun == 1
    desk.bring(other)
    await until(lambda: third.receipts)
    assert desk.writer.transactions == [[1, 2], [3, 4, 5, 6]]


async def test_after_a_slow_commit_those_it_acknowledged_are_waited_for_as_well(desk_of):
    desk = desk_of(commit_gather_ms=1000)
    one, other = Device(), Device()
    desk.hold()
    desk.bring(one)
    await until(lambda: desk.writer.begun)
    desk.bring(other)
    desk.release()
    await until(lambda: one.receipts and desk.commit.gathers)
    assert desk.writer.begun == 1
    desk.bring(one)
    await until(lambda: other.receipts)
    assert desk.writer.transactions == [[1], [2, 3]]


async def test_nobody_is_waited_for_after_a_rest(desk_of):
    desk = desk_of(commit_gather_ms=1)
    silent, device = Device(), Device()
    desk.bring(silent)
    await until(lambda: silent.receipts)
    desk.bring(device)
    await until(lambda: device.receipts)
    assert desk.writer.transactions == [[1], [2]]


async def test_a_full_transaction_does_not_gather(desk_of):
    desk = desk_of(commit_gather_ms=1000, batch_events_max=3)
    silent, device = Device(), Device()
    desk.bring(silent)
    await until(lambda: silent.receipts)
    desk.bring(device)
    await until(lambda: desk.commit.gathers)
    for _ in range(3):
        desk.put()
    await until(lambda: device.receipts)
    assert desk.writer.transactions[:2] == [[1], [2, 3, 4]]


async def test_what_nobody_waits_for_gathers(desk_of):
    desk = desk_of(commit_gather_ms=1000)
    desk.put()
    await until(lambda: desk.durable)
    desk.put()
    await until(lambda: desk.commit.gathers)
    device = Device()
    desk.bring(device)  # nobody was acknowledged by the last commit, so nobody else is waited for
    await until(lambda: device.receipts)
    assert desk.writer.transactions == [[1], [2, 3]]


async def test_the_shortest_time_between_commits_is_kept_whoever_has_been_heard(desk_of):
    desk = desk_of(commit_interval_ms=1000, commit_gather_ms=0)
    device = Device()
    desk.bring(device)
    await until(lambda: device.receipts)
    desk.bring(device)
    await turns()
    assert desk.writer.begun == 1


async def test_a_transaction_holds_no_more_events_than_it_may(desk_of):
    desk = desk_of(batch_events_max=10)
    await desk.hold_first()
    for _ in range(35):
        desk.put()
    desk.release()
    await desk.commit.settled()
    assert [len(seqs) for seqs in desk.writer.transactions] == [1, 10, 10, 10, 5]
    assert desk.stored() == list(range(1, 37))


async def test_a_transaction_holds_no_more_bytes_than_it_may_but_at_least_one_event(desk_of):
    desk = desk_of(batch_bytes_max=10_000)
    await desk.hold_first()
    for size in (4_000, 4_000, 4_000, 4_000, 50_000, 50_000, 10):
        desk.put(bytes(size))
    desk.release()
    await desk.commit.settled()
    assert [len(seqs) for seqs in desk.writer.transactions] == [1, 3, 2, 1, 1]


async def test_messages_that_came_together_are_taken_in_as_they_are_one_by_one(desk_of):
    desk = desk_of(batch_events_max=5, batch_bytes_max=4096, pending_bytes_max=11 * 400 + 6000)
    await desk.hold_first()
    messages = [("t", False, b"1"), ("long/topic", True, b"22"), ("t", False, b"333")]
    for _ in range(3):
        desk.commit.append_run(1, 2, "dev", messages)
    desk.commit.append_run(1, 2, "dev", [("t", False, bytes(3000))] * 2)
    assert desk.commit.congested
    desk.release()
    await desk.commit.settled()
    assert not desk.commit.congested
    assert [len(seqs) for seqs in desk.writer.transactions] == [1, 5, 5, 1]
    with closing(LogReader(desk.folder)) as reader:
        stored = list(reader.scan(1))
    assert [(e.seq, e.topic, e.qos, e.retain, e.payload) for e in stored[:9]] == [
        (seq, topic, 1, retain, payload) for seq, (topic, retain, payload) in enumerate(messages * 3, 2)
    ]
    assert {(e.received_ns, e.mono_ns, e.client_id, e.boot_id) for e in stored} == {(1, 2, "dev", HandClock.boot_id)}


async def test_a_packet_id_is_stored_in_the_transaction_of_its_event_even_if_that_is_full(desk_of):
    desk = desk_of(batch_events_max=2)
    await desk.hold_first()
    for packet_id in range(1, 5):
        desk.commit.mark_inbound("dev", packet_id, desk.put())
    seen = []
    write = desk.writer.write

    def look(batch):
        first_seq = write(batch)
        seen.append(({event.seq for event in batch.events}, {mark.seq for mark in batch.marks}))
        return first_seq

    desk.writer.write = look
    desk.release()
    await desk.commit.settled()
    assert seen == [({2, 3}, {2, 3}), ({4, 5}, {4, 5})]


async def test_a_mark_alone_is_stored(desk):
    desk.commit.mark_inbound("dev", 7, desk.put())
    await desk.commit.settled()
    desk.commit.mark_inbound("dev", 7, 0)
    await desk.commit.settled()
    assert desk.writer.inbound == {}
    assert desk.writer._segment.inbound() == {}


# --- bounds ---


async def test_it_is_congested_while_more_waits_than_may(desk_of):
    desk = desk_of(pending_bytes_max=10_000)
    await desk.hold_first()
    assert not desk.commit.congested
    desk.put(bytes(9_000))
    assert not desk.commit.congested
    desk.put(bytes(9_000))
    assert desk.commit.congested
    desk.release()
    await desk.commit.settled()
    assert not desk.commit.congested
    assert desk.commit._pending_bytes == 0


async def test_long_topics_and_properties_count_as_what_waits(desk_of):
    desk = desk_of(pending_bytes_max=100_000)
    await desk.hold_first()
    desk.put(b"", topic="t" * 60_000)
    assert not desk.commit.congested
    desk.commit.append(1, 2, "dev", "t", 1, False, b"", "cloud", bytes(60_000))
    assert desk.commit.congested
    desk.release()
    await desk.commit.settled()
    assert desk.commit._pending_bytes == 0


async def test_pending_events_are_those_that_wait_behind_the_commit_at_hand(desk_of):
    desk = desk_of(batch_events_max=4)
    await desk.hold_first()
    assert desk.commit.pending_events == 0
    for _ in range(10):
        desk.put()
    assert desk.commit.pending_events == 10
    desk.release()
    await desk.commit.settled()
    assert desk.commit.pending_events == 0


async def test_settled_returns_at_once_when_nothing_waits(desk):
    await desk.commit.settled()


async def test_an_event_has_its_number_at_once(desk):
    await desk.hold_first()
    assert [desk.put() for _ in range(3)] == [2, 3, 4]


# --- a disk that refuses ---


async def test_a_refused_write_acknowledges_nothing_and_is_repeated_under_the_same_numbers(desk, caplog):
    caplog.set_level(logging.INFO)
    device = Device()
    desk.put(b"before")
    await desk.commit.settled()
    refuse_inserts(path_of(desk.folder, 1))
    in_the_way = desk.folder / f"{2:020d}.new"
    in_the_way.mkdir()
    seqs = []
    for n in range(20):
        seqs.append(desk.put())
        desk.commit.ask_receipt(device, b"%02d" % n)
        await turns(2)
    await until(lambda: desk.writer.begun >= 5, "a third attempt")
    assert (device.receipts, desk.durable, desk.stored()) == ([], [1], [1])
    assert "00000000000000000002.db cannot be created" in desk.commit.error
    in_the_way.rmdir()
    await desk.commit.settled()
    assert b"".join(device.receipts) == b"".join(b"%02d" % n for n in range(20))
    assert desk.durable == desk.stored() == [1, *seqs]
    assert desk.begun == [None, 2] + [None] * (len(desk.begun) - 2)
    assert desk.commit.error == ""
    told = [record.message for record in caplog.records]
    assert told == [
        "the disk takes nothing: no event is acknowledged until it does",
        "the disk takes events again",
    ]


async def test_what_arrives_while_the_disk_refuses_gathers_behind_it_in_order(desk_of):
    desk = desk_of(batch_events_max=5)
    refuse_inserts(path_of(desk.folder, 1))
    in_the_way = desk.folder / f"{1:020d}.new"
    in_the_way.mkdir()
    for _ in range(23):
        desk.put()
    await until(lambda: desk.commit.error)
    in_the_way.rmdir()
    await desk.commit.settled()
    assert desk.writer.transactions == [[*range(n, min(n + 5, 24))] for n in range(1, 24, 5)]


async def test_a_bug_in_the_writer_ends_the_gateway_and_acknowledges_nothing(desk):
    desk.commit.crash = crash = asyncio.get_running_loop().create_future()
    device = Device()
    desk.writer.bug = ZeroDivisionError("a bug")
    desk.put()
    desk.commit.ask_receipt(device, b"ack")
    with pytest.raises(ZeroDivisionError):
        await crash
    desk.writer.bug = None
    desk.put()
    desk.commit.ask_receipt(device, b"ack")
    await turns()
    assert (device.receipts, desk.writer.begun) == ([], 1)


async def test_a_stopped_desk_hands_nothing_more_to_the_disk(desk):
    desk.writer.bug = LogError("the disk refuses")
    desk.put()
    await until(lambda: desk.commit.error)
    desk.commit.stop()
    desk.writer.bug = None
    begun = desk.writer.begun
    desk.put()
    await turns()
    await until(lambda: not desk.commit._queue or desk.writer.begun == begun)
    desk.commit.thread.submit(int).result()
    assert (desk.writer.begun, desk.stored()) == (begun, [])
