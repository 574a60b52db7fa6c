"""When the regular work of a log is done. An interval of a minute never ends in these tests."""

from __future__ import annotations

import asyncio

import pytest

from gateway.eventlog.rhythm import Rhythm
from tests.unit.eventlog.logs import turns


def crash() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def begun(waiting) -> asyncio.Task[None]:
    task = asyncio.ensure_future(waiting)
    await turns()
    return task


async def test_the_first_move_after_a_rest_is_work_at_once_and_counts_once():
    rhythm = Rhythm(60)
    task = await begun(rhythm.due())
    assert not task.done()
    rhythm.moved()
    await task
    task = await begun(rhythm.due())
    assert not task.done()
    task.cancel()


async def test_a_new_segment_ends_a_rest_and_is_asked_for_once():
    rhythm = Rhythm(60)
    assert rhythm.take_grown()  # nobody has looked at the log yet
    assert not rhythm.take_grown()
    task = await begun(rhythm.rest(crash()))
    assert not task.done()
    rhythm.grew()
    await task
    await rhythm.due()
    assert rhythm.take_grown()


async def test_without_anything_new_an_interval_ends_both():
    rhythm = Rhythm(0.01)
    rhythm.take_grown()
    await rhythm.rest(crash())
    await rhythm.due()


async def test_a_crash_ends_a_rest_and_is_raised():
    rhythm, failed = Rhythm(60), crash()
    rhythm.take_grown()
    task = await begun(rhythm.rest(failed))
    failed.set_exception(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        await task
