"""What a commit gathers: how long it waits for more, what lands in one transaction, and how large that becomes."""

from __future__ import annotations

from contextlib import closing

from gateway.eventlog.reader import LogReader
from tests.unit.eventlog.logs import Device, HandClock, turns, until


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
