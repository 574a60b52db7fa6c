"""The log as the rest of the gateway sees it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.event import ACCEPTED, FLAGGED, QUARANTINED
from gateway.eventlog.log import EventLog
from gateway.eventlog.queue import Session
from tests.unit.eventlog.logs import (
    CLOUD,
    WALL_NS,
    Device,
    HandClock,
    commit_held_back,
    fill,
    firsts,
    limits,
    newest,
    opened,
    power_cut,
    put,
    read_all,
    seqs,
    turns,
    until,
)

EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize("recent_bytes_max", [0, 10**9], ids=["from the disk", "from memory"])
async def test_events_come_back_as_they_went_in(tmp_path, recent_bytes_max):
    async with opened(tmp_path, recent_bytes_max=recent_bytes_max) as log:
        put(log, b"", "Gewächshaus/温度", qos=0)
        put(log, EVERY_BYTE, "a", client_id="Gerät", retain=True, qos=2)
        put(log, EVERY_BYTE * 1024, "🌡", origin="cloud", properties=b"")
        put(log, b"1", origin="cloud", properties=EVERY_BYTE)
        put(log, b"2", verdict=FLAGGED)
        put(log, b"3", retain=True, qos=2, verdict=QUARANTINED)
        await log.intake.settled()
        put(log)
        await log.intake.settled()  # so that a window of 0 bytes holds this one alone
        found = [tuple(event)[4:] for event in await read_all(log)]
    assert found == [
        ("dev", "Gewächshaus/温度", 0, False, b"", "", None, ACCEPTED),
        ("Gerät", "a", 2, True, EVERY_BYTE, "", None, ACCEPTED),
        ("dev", "🌡", 1, False, EVERY_BYTE * 1024, "cloud", b"", ACCEPTED),
        ("dev", "dev/t", 1, False, b"1", "cloud", EVERY_BYTE, ACCEPTED),
        ("dev", "dev/t", 1, False, b"2", "", None, FLAGGED),
        ("dev", "dev/t", 2, True, b"3", "", None, QUARANTINED),
        ("dev", "dev/t", 1, False, b"x", "", None, ACCEPTED),
    ]


async def test_an_event_carries_the_boot_it_was_received_in(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 1)
    clock = HandClock()
    clock.boot_id = "the next boot"
    async with opened(tmp_path, clock=clock) as log:
        await fill(log, 1)
        assert [event.boot_id for event in await read_all(log)] == [HandClock.boot_id, "the next boot"]


async def test_events_of_every_segment_are_read_in_order(tmp_path):
    async with opened(tmp_path) as log:
        written = await fill(log, 30)
        assert len(firsts(tmp_path)) > 5
        assert seqs(await read_all(log)) == written == list(range(1, 31))
        assert log.status().segments == len(firsts(tmp_path))


async def test_a_read_gives_nothing_that_is_not_committed(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 1)
        with commit_held_back(newest(tmp_path)):
            put(log)
            await until(lambda: log.intake.pending_events == 0)
            await turns()
            assert log.head == 1
            assert await log.read(1, 10) == []
        await log.intake.settled()
        assert seqs(await log.read(1, 10)) == [2]


async def test_a_read_ends_at_its_limit(tmp_path):
    async with opened(tmp_path, recent_bytes_max=0) as log:
        await fill(log, 10, b"x")
        assert seqs(await log.read(2, 3)) == [3, 4, 5]
        assert await log.read(10, 3) == []
        assert await log.read(99, 3) == []


async def test_reading_goes_on_beside_writing_and_rotation(tmp_path):
    async with opened(tmp_path, recent_bytes_max=0, commit_interval_ms=0) as log:

        async def read():
            seen = []
            while len(seen) < 300:
                await log.wait_beyond(len(seen))
                seen += await log.read(len(seen), 7)
            return seen

        readers = [asyncio.ensure_future(read()) for _ in range(2)]
        for n in range(300):
            put(log, b"%d" % n + bytes(3000))
            if n % 5 == 0:
                await log.intake.settled()
        for reader in readers:
            assert seqs(await reader) == list(range(1, 301))
        assert len(firsts(tmp_path)) >= 10


async def test_those_who_wait_are_told_of_a_commit(tmp_path):
    async with opened(tmp_path) as log:
        await log.wait_beyond(-1)
        waiting = [asyncio.ensure_future(log.wait_beyond(seq)) for seq in (0, 1, 2)]
        await turns()
        assert [task.done() for task in waiting] == [False, False, False]
        await fill(log, 2)
        await asyncio.gather(*waiting[:2])
        assert not waiting[2].done()
        await fill(log, 1)
        await waiting[2]


async def test_those_who_give_up_waiting_are_forgotten(tmp_path):
    async with opened(tmp_path) as log:
        for _ in range(10):
            waiting = asyncio.ensure_future(log.wait_beyond(0))
            await turns(2)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert log._waiters == []


async def test_receipts_come_before_the_events_are_told_and_both_after_the_commit(tmp_path):
    async with opened(tmp_path) as log:
        told = []
        device = Device()
        log.on_committed.append(lambda events: told.append((seqs(events), list(device.receipts), log.head)))
        with commit_held_back(newest(tmp_path)):
            put(log)
            put(log)
            log.intake.ask_receipt(device, b"ack")
            await until(lambda: log.intake.pending_events == 0)
            await turns()
            assert told == []
        await log.intake.settled()
    assert told == [([1, 2], [b"ack"], 2)]


async def test_a_bug_in_the_writer_ends_run(tmp_path):
    log = EventLog(tmp_path, limits(), HandClock(), [])
    running = asyncio.ensure_future(log.run())
    await turns()
    log.intake._writer._segment.append = None
    put(log)
    with pytest.raises(TypeError):
        await running
    await log.close(0.01)


async def test_quarantined_events_are_kept_with_their_reasons(tmp_path):
    async with opened(tmp_path) as log:
        await log.quarantine(CLOUD, {3: "too large", 5: "topic"})
        await log.quarantine(CLOUD, {5: "topic again"})
        left = await power_cut(log, tmp_path.with_name(tmp_path.name + " cut"))
    async with opened(left) as log:
        rows = log._state._db.execute("SELECT upstream, seq, reason, quarantined_ns FROM quarantine").fetchall()
    assert rows == [(CLOUD, 3, "too large", WALL_NS), (CLOUD, 5, "topic again", WALL_NS)]


async def test_sessions_are_kept_until_they_are_dropped(tmp_path):
    async with opened(tmp_path / "a") as log:
        assert log.sessions.load() == {}
        for client_id in ("panel", "other", "gone"):
            await log.sessions.begin(client_id, "")
        await log.sessions.keep("panel", {"haus/#": 1, "Gerät/+": 2}, {"haus/#": 3})
        await log.sessions.keep("gone", {"#": 0}, {})
        await log.sessions.drop("gone")
        await log.sessions.keep("other", {"a": 0}, {})
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert log.sessions.load() == {
            "panel": Session({"haus/#": 1, "Gerät/+": 2}, {"haus/#": 3}, owner=""),
            "other": Session({"a": 0}, {}, owner=""),
        }


async def test_a_beat_waits_for_the_writer_thread(tmp_path):
    async with opened(tmp_path) as log:
        await log.beat()
        with commit_held_back(newest(tmp_path)):
            put(log)
            await until(lambda: log.intake.pending_events == 0)
            beat = asyncio.ensure_future(log.beat())
            await turns()
            assert not beat.done()
        await beat


async def test_the_status_of_a_log(tmp_path):
    async with opened(tmp_path) as log:
        assert log.status()._replace(size_bytes=0) == (0, 1, 1, 0, 0, "", "", 0, 0)
        await fill(log, 10)
        status = log.status()
    assert (status.head, status.oldest, status.segments) == (10, 1, len(firsts(tmp_path)))
    assert status.size_bytes > 80_000
