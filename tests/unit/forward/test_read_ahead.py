"""Reading ahead changes when the log is asked, never what is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import LogError
from gateway.forward.read_ahead import ReadAhead
from tests.unit.forward.forward_fakes import MemoryLog, make_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.event import Event


class AskedLog(MemoryLog):
    """Remembers what it was asked, and can be damaged."""

    def __init__(self, count: int) -> None:
        super().__init__([make_event(seq) for seq in range(1, count + 1)])
        self.asked: list[int] = []
        self.damaged = False

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        self.asked.append(after_seq)
        if self.damaged:
            raise LogError("damaged")
        return await super().read(after_seq, events_max)


def seqs(events: Sequence[Event]) -> list[int]:
    return [event.seq for event in events]


async def test_a_whole_batch_is_read_before_it_is_asked_for() -> None:
    log = AskedLog(10)
    ahead = ReadAhead(log, 5)
    ahead.begin(5)
    await asyncio.sleep(0)
    assert log.asked == [5]
    assert seqs(await ahead.read(5)) == [6, 7, 8, 9, 10]
    assert log.asked == [5]


async def test_less_than_a_batch_is_not_read_ahead_because_more_may_come() -> None:
    log = AskedLog(9)
    ahead = ReadAhead(log, 5)
    ahead.begin(5)
    await asyncio.sleep(0)
    assert log.asked == []
    assert seqs(await ahead.read(5)) == [6, 7, 8, 9]


async def test_what_was_read_ahead_and_turned_out_to_be_lost_is_no_end() -> None:
    log = AskedLog(10)
    log.events = []
    ahead = ReadAhead(log, 5)
    ahead.begin(5)
    for _ in range(5):
        await asyncio.sleep(0)
    await log.append(make_event(20))
    assert seqs(await ahead.read(5)) == [20]


async def test_only_one_read_is_ahead() -> None:
    log = AskedLog(20)
    ahead = ReadAhead(log, 5)
    ahead.begin(5)
    ahead.begin(10)
    await asyncio.sleep(0)
    assert log.asked == [5]
    await ahead.close()


async def test_what_was_read_ahead_for_another_place_is_not_given_out() -> None:
    log = AskedLog(20)
    ahead = ReadAhead(log, 5)
    ahead.begin(5)
    await asyncio.sleep(0)
    assert seqs(await ahead.read(7)) == [8, 9, 10, 11, 12]


async def test_a_failed_read_is_told_when_it_is_asked_for_and_the_next_one_is_a_new_one() -> None:
    log = AskedLog(10)
    log.damaged = True
    ahead = ReadAhead(log, 5)
    ahead.begin(0)
    with pytest.raises(LogError):
        await ahead.read(0)
    log.damaged = False
    assert seqs(await ahead.read(0)) == [1, 2, 3, 4, 5]


async def test_a_failed_read_that_nobody_asks_for_is_let_go_at_the_end() -> None:
    log = AskedLog(10)
    log.damaged = True
    ahead = ReadAhead(log, 5)
    ahead.begin(0)
    await asyncio.sleep(0)
    await ahead.close()
    await ahead.close()
