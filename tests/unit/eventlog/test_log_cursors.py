"""How far each upstream has come: kept, flushed while the log runs, and made up for after trouble."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing, suppress

import pytest

from gateway.errors import LogError
from gateway.eventlog.state import StateReader, path_of
from tests.unit.eventlog.logs import (
    CLOUD,
    commit_held_back,
    execute,
    fill,
    newest,
    opened,
    power_cut,
    put,
    turns,
    until,
)


async def test_a_cursor_begins_at_0_and_never_goes_back(tmp_path):
    async with opened(tmp_path, ["a", "b"]) as log:
        await fill(log, 5, b"x")
        assert (log.cursor("a"), log.cursor("b"), log.cursor("unknown")) == (0, 0, 0)
        log.advance("a", 3)
        log.advance("a", 3)
        log.advance("a", 2)
        log.advance("b", 0)
        assert (log.cursor("a"), log.cursor("b")) == (3, 0)


async def test_cursors_survive_a_clean_stop(tmp_path):
    async with opened(tmp_path, ["a", "b"]) as log:
        await fill(log, 5, b"x")
        log.advance("a", 3)
        log.advance("b", 5)
    async with opened(tmp_path, ["a", "c"]) as log:
        assert (log.cursor("a"), log.cursor("b"), log.cursor("c")) == (3, 5, 0)


async def test_flushed_cursors_survive_a_power_cut_and_later_ones_are_behind(tmp_path):
    async with opened(tmp_path / "a") as log:
        await fill(log, 5, b"x")
        log.advance(CLOUD, 3)
        await log.flush()
        log.advance(CLOUD, 5)
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert (log.cursor(CLOUD), log.head) == (3, 5)


@pytest.mark.parametrize(
    "cursor_interval_s",
    [
        pytest.param(0.01, id="at the interval"),
        # A gateway that is killed again and again soon after its start must get on nevertheless.
        pytest.param(30, id="the first move without waiting for the interval"),
    ],
)
async def test_cursors_are_flushed_while_it_runs(tmp_path, cursor_interval_s):
    async with opened(tmp_path / "a", cursor_interval_s=cursor_interval_s) as log:
        running = asyncio.ensure_future(log.run())
        await fill(log, 5, b"x")
        log.advance(CLOUD, 4)
        await until(lambda: not log._cursors.moved)
        await log.beat()
        left = await power_cut(log, tmp_path / "b")
        running.cancel()
        await asyncio.wait([running])
    async with opened(left) as log:
        assert log.cursor(CLOUD) == 4


async def test_a_flush_that_the_disk_refuses_is_made_up_for(tmp_path):
    async with opened(tmp_path) as log:
        put(log, b"21.5", "room", retain=True)
        await log.intake.settled()
        log.advance(CLOUD, 1)
        execute(path_of(tmp_path), "ALTER TABLE cursors RENAME TO away")
        with pytest.raises(LogError, match=r"state\.db: no such table: cursors"):
            await log.flush()
        assert log.cursor(CLOUD) == 1
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO cursors")
        await log.flush()
        assert (log._state.cursors(), log._state.retained_seq()) == ({CLOUD: 1}, 1)
        assert [message.topic for message in log._state.retained()] == ["room"]


async def test_a_flush_that_is_cancelled_is_made_up_for(tmp_path):
    """Whoever stops the gateway cancels `run`, perhaps while its flush waits behind a commit."""
    async with opened(tmp_path) as log:
        put(log, b"21.5", "room", retain=True)
        await log.intake.settled()
        log.advance(CLOUD, 1)
        with commit_held_back(newest(tmp_path)):
            put(log)
            await until(lambda: log.intake.pending_events == 0)
            flush = asyncio.ensure_future(log.flush())
            await turns()
            flush.cancel()
            await asyncio.wait([flush])
        put(log, b"3", "other room", retain=True)
    with closing(StateReader(path_of(tmp_path))) as state:
        assert state.cursors() == {CLOUD: 1}
    with suppress(FileNotFoundError):
        shutil.rmtree(tmp_path / "log")
    async with opened(tmp_path) as log:
        assert set(log.retained) == {"room", "other room"}


async def test_trouble_with_cursors_is_told_and_ends(tmp_path, caplog):
    async with opened(tmp_path, cursor_interval_s=0.005) as log:
        running = asyncio.ensure_future(log.run())
        execute(path_of(tmp_path), "ALTER TABLE cursors RENAME TO away")
        await fill(log, 1)
        log.advance(CLOUD, 1)
        await until(lambda: "state.db" in log.status().error)
        assert await fill(log, 1) == [2]
        assert "state.db" in log.status().error
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO cursors")
        await until(lambda: log.status().error == "")
        running.cancel()
        await asyncio.wait([running])
    assert caplog.text.count("the disk refuses regular work") == 1
