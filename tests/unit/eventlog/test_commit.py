"""Group commit: nobody is told before the disk has it, what waits is bounded, and a disk that refuses loses nothing."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.errors import LogError
from gateway.eventlog.segment import path_of
from tests.unit.eventlog.logs import Device, commit_held_back, refuse_inserts, turns, until

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
