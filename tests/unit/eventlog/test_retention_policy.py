"""What becomes of events beyond the limits that an upstream still needs."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.errors import LogError
from gateway.eventlog.history import History
from gateway.eventlog.losses import ledger
from gateway.eventlog.state import path_of
from gateway.ingest.ingest import Ingest
from tests.unit.eventlog.logs import (
    CLOUD,
    HandClock,
    execute,
    fill,
    firsts,
    opened,
    power_cut,
    put,
    read_all,
    seqs,
    until,
)

SMALL = {"retention_bytes_max": 150_000, "recent_bytes_max": 0}


class Usage:
    """Of a disk that has hardly any room."""

    free = 1000


class Device:
    def __init__(self) -> None:
        self.relieved = 0

    def committed(self, _receipt: bytes | bytearray) -> None:
        pass

    def relieve(self) -> None:
        self.relieved += 1


async def test_the_oldest_are_dropped_and_booked_for_each_upstream_that_lacks_them(tmp_path, caplog):
    async with opened(tmp_path, ["a", "b"], **SMALL) as log:
        await fill(log, 30)
        log.advance("b", 12, forwarded=12)
        await log.retain()
        oldest = firsts(tmp_path)[0]
        assert log.status().size_bytes <= 150_000
        assert (log.cursor("a"), log.cursor("b")) == (oldest - 1, oldest - 1)
        assert seqs(await read_all(log)) == list(range(oldest, 31))
        a, b = await log.books()
    assert (a.dropped, b.dropped, a.pending, b.pending) == (oldest - 1, oldest - 13, 31 - oldest, 31 - oldest)
    assert (a.balances, b.balances) == (True, True)
    assert [row[1:6] for row in ledger(path_of(tmp_path))] == [
        ("a", 1, oldest - 1, oldest - 1, "dropped"),
        ("b", 13, oldest - 1, oldest - 13, "dropped"),
    ]
    assert caplog.text.count("retention drops events that an upstream did not have yet") == 2


async def test_events_that_are_too_old_expire(tmp_path):
    clock = HandClock()
    async with opened(tmp_path, clock=clock, retention_bytes_max=0, retention_age_s=100) as log:
        await fill(log, 20)
        clock.now_ns = 101 * 10**9
        await log.retain()
        oldest = firsts(tmp_path)[0]
        (line,) = await log.books()
    assert (line.dropped, line.balances) == (oldest - 1, True)
    (row,) = ledger(path_of(tmp_path))
    assert (row.cause, row.events, row.at_ns) == ("expired", oldest - 1, clock.wall_ns())


async def test_a_drop_is_on_the_disk_before_its_segment_is_gone(tmp_path, monkeypatch):
    async with opened(tmp_path / "a", **SMALL) as log:
        await fill(log, 30)
        left, cut = tmp_path / "b", log._reading.remove

        async def remove(first_seqs):
            await power_cut(log, left)
            await cut(first_seqs)

        monkeypatch.setattr(log._reading, "remove", remove)
        await log.retain()
        dropped = firsts(tmp_path / "a")[0] - 1
    async with opened(left, **SMALL) as log:
        assert firsts(left)[0] == 1
        (line,) = await log.books()
        assert (line.cursor, line.dropped, line.pending, line.balances) == (dropped, dropped, 30 - dropped, True)


async def test_nothing_that_is_needed_goes_while_a_drop_cannot_be_booked(tmp_path):
    async with opened(tmp_path, ["a", "b"], **SMALL) as log:
        await fill(log, 30)
        log.advance("b", 30, forwarded=30)
        before = firsts(tmp_path)
        execute(path_of(tmp_path), "ALTER TABLE cursors RENAME TO away")
        await log.retain()
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO cursors", "ALTER TABLE losses RENAME TO away")
        with pytest.raises(LogError):
            await log.retain()
        await log.retain()
        assert firsts(tmp_path) == before
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO losses")
        await log.retain()
        assert firsts(tmp_path)[0] > 1
        assert [line.balances for line in await log.books()] == [True, True]
        assert sum(row.events for row in ledger(path_of(tmp_path))) == firsts(tmp_path)[0] - 1


async def test_a_drop_during_a_cancelled_flush_is_booked_once(tmp_path):
    async with opened(tmp_path, **SMALL) as log:
        await fill(log, 30)
        retaining = asyncio.ensure_future(log.retain())
        await until(lambda: log.cursor(CLOUD) > 0)
        retaining.cancel()
        await asyncio.wait([retaining])
        await log.retain()
        (line,) = await log.books()
        assert line.balances
        assert line.dropped >= firsts(tmp_path)[0] - 1 > 0
    assert sum(row.events for row in ledger(path_of(tmp_path))) == line.dropped


async def test_a_full_log_takes_nothing_until_an_upstream_made_room(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    async with opened(tmp_path, retention_policy="refuse_new", cursor_interval_s=0.01, **SMALL) as log:
        ingest, device = Ingest(log, HandClock()), Device()
        running = asyncio.ensure_future(log.run())
        while not ingest.congested:
            await fill(log, 1)
            await asyncio.sleep(0)
        ingest.wait_for_room(device)
        assert (log.status().error, "refuse_new" in log.status().full) == ("", True)
        assert firsts(tmp_path)[0] == 1
        head = log.head
        assert put(log) == head + 1  # what was read already is taken
        await log.intake.settled()
        assert device.relieved == 0
        log.advance(CLOUD, head + 1, forwarded=head + 1)
        await until(lambda: device.relieved)
        assert (ingest.congested, log.status().full) == (False, "")
        (line,) = await log.books()
        assert (line.forwarded, line.dropped, line.balances) == (head + 1, 0, True)
        running.cancel()
        await asyncio.wait([running])
    assert ledger(path_of(tmp_path)) == []
    assert [caplog.text.count(text) for text in ("the log is full", "the log has room again")] == [1, 1]


async def test_a_log_that_is_full_at_its_start_says_so_at_once(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 30)
    limits = SMALL | {"retention_policy": "refuse_new", "cursor_interval_s": 0.01}
    async with opened(tmp_path, **limits) as log:
        running = asyncio.ensure_future(log.run())
        await until(lambda: log.intake.congested)
        running.cancel()
        await asyncio.wait([running])


async def test_a_limit_below_one_segment_does_not_lock_up_a_log_whose_upstreams_have_all(tmp_path):
    async with opened(tmp_path, retention_policy="refuse_new", retention_bytes_max=1) as log:
        await fill(log, 2)
        await log.retain()
        assert log.intake.congested
        log.advance(CLOUD, 2, forwarded=2)
        await log.retain()
        assert not log.intake.congested


async def test_what_is_refused_is_booked_by_qos_in_one_row_each(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 1)
        ingest = Ingest(log, HandClock())
        for qos in (0, 1, 1):
            ingest.refuse(qos)
        await log.flush()
        ingest.refuse(1)
    with History(tmp_path) as history:
        rows = [(row.cause, row.events, row.detail, row.upstream) for row in history.losses()]
        assert sorted(rows) == [("refused", 1, "QoS 0", None), ("refused", 3, "QoS 1", None)]
        assert all(line.balances for line in history.books([CLOUD]))


async def test_a_full_disk_lets_segments_go_that_nobody_needs(tmp_path, monkeypatch):
    async with opened(tmp_path, ["a", "b"], recent_bytes_max=0) as log:
        await fill(log, 10)
        log.advance("a", 10, forwarded=10)
        before = firsts(tmp_path)
        log.intake.error = "the disk is full"
        await log.retain()
        assert firsts(tmp_path) == before  # there is room
        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
        await log.retain()
        assert firsts(tmp_path) == before  # `b` needs all of it
        log.advance("b", 10, forwarded=10)
        await log.retain()
        assert firsts(tmp_path) == before[1:]
        log.intake.error = ""
        await log.retain()
        assert firsts(tmp_path) == before[1:]


async def test_a_log_that_opens_beyond_its_limit_is_full_until_it_was_looked_at(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 40)
    async with opened(tmp_path, retention_policy="refuse_new", **SMALL) as log:
        assert log.intake.congested
        log.advance(CLOUD, 40, forwarded=40)
        await log.retain()
        assert not log.intake.congested
    async with opened(tmp_path, retention_policy="refuse_new", **SMALL) as log:
        assert not log.intake.congested
