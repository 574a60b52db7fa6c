"""Damage that is met while the log runs."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from gateway.eventlog.losses import ledger
from gateway.eventlog.pages import PAGE_BYTES
from gateway.eventlog.segment import path_of
from gateway.eventlog.state import path_of as state_path_of
from tests.unit.eventlog.logs import fill, firsts, newest, opened, put, read_all


async def test_two_readers_of_one_damaged_segment_go_on_and_it_is_mended_once(tmp_path):
    async with opened(tmp_path, recent_bytes_max=0) as log:
        await fill(log, 40)
        found = firsts(tmp_path)
        path_of(tmp_path / "log", found[1]).write_bytes(b"lost" * 5000)
        one, other = await asyncio.gather(read_all(log), read_all(log))
        assert one == other
        assert [event.seq for event in one] == [n for n in range(1, 41) if not found[1] <= n < found[2]]
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    assert [row[2:6] for row in ledger(state_path_of(tmp_path))] == [
        (found[1], found[2] - 1, found[2] - found[1], "damaged")
    ]


async def test_the_segment_that_is_written_is_left_before_it_is_mended(tmp_path):
    async with opened(tmp_path, recent_bytes_max=0, segment_bytes_max=10**7) as log:
        await fill(log, 200, b"x" * 3000)
        path = newest(tmp_path)
        log._reading._reader.forget(1)
        await log.beat()
        log._writer._segment._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        with path.open("r+b") as file:
            file.seek(100 * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)
        left = await read_all(log)
        assert 195 <= len(left) < 200
        seq = put(log, b"goes on")
        await log.intake.settled()
        assert (seq, (await read_all(log))[:-1]) == (201, left)
    assert firsts(tmp_path) == [1, 201]


async def test_a_tree_that_hides_events_without_an_error_is_salvaged_before_they_count_as_lost(tmp_path):
    async with opened(tmp_path, segment_bytes_max=10**6) as log:
        await fill(log, 40, b"x" * 3000)
        log._writer.seal()
    path = path_of(tmp_path / "log", 1)
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * PAGE_BYTES)
        file.write(b"\x0d" + bytes(PAGE_BYTES - 1))  # a leaf without a row
    async with opened(tmp_path, recent_bytes_max=0) as log:
        await log.mend()
        assert [event.seq for event in await read_all(log)] == [*range(1, 41)]
    assert ledger(state_path_of(tmp_path)) == []
