"""Damage that is met while the log runs."""

from __future__ import annotations

import asyncio

from gateway.eventlog.losses import ledger
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
            file.seek(100 * 4096)
            file.write(b"\xff" * 4096)
        left = await read_all(log)
        assert 195 <= len(left) < 200
        seq = put(log, b"goes on")
        await log.intake.settled()
        assert (seq, (await read_all(log))[:-1]) == (201, left)
    assert firsts(tmp_path) == [1, 201]
