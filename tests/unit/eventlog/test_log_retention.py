"""Segments that go once every upstream has them, and those that stay."""

from __future__ import annotations

import asyncio

import pytest

from gateway.clock import Anchor
from gateway.errors import LogError
from gateway.eventlog import segment
from gateway.eventlog.state import path_of
from tests.unit.eventlog.logs import (
    CLOUD,
    WALL_NS,
    HandClock,
    execute,
    fill,
    firsts,
    newest,
    opened,
    put,
    read_all,
    seqs,
    turns,
    until,
)


async def test_segments_go_that_every_upstream_has_once_the_log_is_too_large(tmp_path):
    limited = {"retention_bytes_max": 150_000, "retention_policy": "refuse_new", "recent_bytes_max": 0}
    async with opened(tmp_path, ["a", "b"], **limited) as log:
        await fill(log, 30)
        before = firsts(tmp_path)
        await log.retain()
        assert firsts(tmp_path) == before
        log.advance("a", 30)
        await log.retain()
        assert firsts(tmp_path) == before
        log.advance("b", before[3])
        await log.retain()
        assert firsts(tmp_path) == before[3:]
        log.advance("b", 30)
        await log.retain()
        assert before[3:] != firsts(tmp_path) == before[-len(firsts(tmp_path)) :]
        assert log.status().size_bytes <= 150_000
        assert log.status().oldest == firsts(tmp_path)[0]
        assert seqs(await read_all(log)) == list(range(firsts(tmp_path)[0], 31))
        assert await fill(log, 1) == [31]
    async with opened(tmp_path, ["a", "b"]) as log:
        assert log.head == 31


async def test_old_segments_go_and_the_newest_stays(tmp_path):
    clock = HandClock()
    async with opened(tmp_path, clock=clock, retention_bytes_max=0, retention_age_s=100) as log:
        await fill(log, 10)
        log.advance(CLOUD, 10)
        before = firsts(tmp_path)
        await log.retain()
        assert firsts(tmp_path) == before
        clock.now_ns = 101 * 10**9
        await log.retain()
        assert firsts(tmp_path) == before[-1:]
        assert log.head == 10
    async with opened(tmp_path) as log:
        assert put(log) == 11


@pytest.mark.parametrize("years", [30, -30])
async def test_no_step_of_the_wall_clock_makes_a_segment_old(tmp_path, years):
    clock = HandClock()
    async with opened(tmp_path, clock=clock, retention_bytes_max=0, retention_age_s=100) as log:
        await fill(log, 10)
        log.advance(CLOUD, 10)
        before = firsts(tmp_path)
        await log.keep_anchor(Anchor(1, WALL_NS, "kernel"))
        clock.stepped_ns = years * 365 * 86_400 * 10**9
        await log.keep_anchor(Anchor(2, WALL_NS + clock.stepped_ns, "kernel"))
        await log.retain()
        assert firsts(tmp_path) == before


async def test_a_log_without_upstreams_is_bounded_too(tmp_path):
    async with opened(tmp_path, [], retention_bytes_max=1) as log:
        await fill(log, 10)
        await log.retain()
        assert len(firsts(tmp_path)) == 1


async def test_a_segment_goes_with_its_companions(tmp_path):
    async with opened(tmp_path, [], retention_bytes_max=1, recent_bytes_max=0) as log:
        for _ in range(10):
            await fill(log, 1)
            await read_all(log)  # a reader has every segment open while it is sealed
        await log.retain()
        assert {path.name[:20] for path in (tmp_path / "log").iterdir()} == {newest(tmp_path).stem}


async def test_retention_works_while_it_runs(tmp_path):
    changes = {"cursor_interval_s": 0.005, "retention_interval_s": 0.01, "retention_bytes_max": 1}
    async with opened(tmp_path, **changes) as log:
        await fill(log, 10)
        assert len(firsts(tmp_path)) > 1
        running = asyncio.ensure_future(log.run())
        log.advance(CLOUD, 10)
        await until(lambda: len(firsts(tmp_path)) == 1)
        running.cancel()
        await asyncio.wait([running])


async def test_a_disk_too_full_for_cursors_gets_room_by_retention(tmp_path):
    async with opened(tmp_path, retention_bytes_max=1) as log:
        await fill(log, 5)
        put(log, b"1", "a", retain=True)
        await log.intake.settled()
        await log.flush()
        flushed = log.head
        put(log, b"1", "b", retain=True)
        await log.intake.settled()
        await fill(log, 10)
        log.advance(CLOUD, log.head)
        before = firsts(tmp_path)
        execute(path_of(tmp_path), "ALTER TABLE cursors RENAME TO away")
        await log.retain()
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO cursors")
        kept = firsts(tmp_path)
        assert kept != before
        assert kept[0] <= flushed + 1 < kept[1]  # what only the log knows of the retained messages is still there
        await log.retain()
        assert firsts(tmp_path) == before[-1:]


async def test_segments_that_are_begun_during_retention_are_not_lost(tmp_path):
    async with opened(tmp_path, [], retention_bytes_max=1, recent_bytes_max=0, commit_interval_ms=0) as log:
        for _ in range(20):
            filling = asyncio.ensure_future(fill(log, 6))
            while not filling.done():
                await log.retain()
                await turns(1)
            await log.retain()
            assert seqs(await read_all(log))[-1] == log.head
            assert log._reading.segments == firsts(tmp_path)


async def test_a_segment_that_cannot_be_unlinked_is_an_error_of_the_log(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    async with opened(tmp_path, [], retention_bytes_max=1) as log:
        await fill(log, 10)
        with monkeypatch.context() as patched:
            patched.setattr(segment, "remove", refuse)
            with pytest.raises(LogError, match=r"00001\.db cannot be removed"):
                await log.retain()
        await log.retain()
