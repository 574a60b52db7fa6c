"""Upstreams that are moved back and on: what is sent again, what is skipped, and that the books tell of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import ConfigError
from tests.unit.eventlog.logs import fill, opened, put, until
from tests.unit.forward.fleet_site import configs, running

if TYPE_CHECKING:
    from pathlib import Path


async def test_moved_back_it_sends_again_and_its_books_begin_anew(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a", "b") as site:
        await fill(log, 6, b"x")
        await until(lambda: site.has_all("a", "b"))
        plan = await site.fleet.seek("a", "3", sure=False)
        assert (plan.cursor, plan.to, plan.events) == (6, 2, 4)
        assert log.cursor("a") == 6
        assert await site.fleet.seek("a", "3", sure=True) == plan
        await until(lambda: site.has_all("a"))
        assert site.taken("a") == [1, 2, 3, 4, 5, 6, 3, 4, 5, 6]
        assert site.opened("b") == 1
        book = await site.book("a")
        assert (book.received, book.forwarded) == (4, 4)
        (row,) = log._state.losses()
        assert (row.upstream, row.cause, row.first_seq, row.last_seq, row.events) == ("a", "rewound", 3, 6, 0)
        assert (await site.fleet.seek("a", "now", sure=True)).events == 0


async def test_with_priorities_it_can_be_moved_back_and_shown_all_the_while(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a", priorities=["dev/+/alarm"]) as site:
        await fill(log, 3, b"x")
        put(log, b"fire", topic="dev/1/alarm")
        await log.intake.settled()
        await until(lambda: site.has_all("a"))
        await site.fleet.seek("a", "2", sure=True)
        await until(lambda: site.has_all("a"))
        await site.fleet.pause("a")
        await site.fleet.seek("a", "2", sure=True)
        assert [way["seq"] for way in site.line("a")["ways"]] == [1]
        await site.fleet._members["a"].look()
        await site.fleet.resume("a")
        await until(lambda: site.has_all("a"))
        assert sorted(site.taken("a")) == sorted([1, *[2, 3, 4] * 3])
        assert (await site.book("a")).forwarded == 3


async def test_moved_on_it_skips_and_that_is_booked(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a") as site:
        await site.fleet.pause("a")
        await fill(log, 6, b"x")
        move = await site.fleet.seek("a", "5", sure=True)
        assert (move.cursor, move.to, move.events) == (0, 4, 4)
        assert site.line("a")["state"] == "paused"
        assert log._state.accounts()["a"].seq == 4
        await site.fleet.resume("a")
        await until(lambda: site.has_all("a"))
        assert site.taken("a") == [5, 6]
        book = await site.book("a")
        assert (book.received, book.forwarded, book.dropped) == (6, 2, 4)
        (row,) = log._state.losses()
        assert (row.cause, row.first_seq, row.last_seq, row.events) == ("skipped", 1, 4, 4)


async def test_what_was_sent_ahead_of_the_cursor_is_sent_again_if_it_is_moved_back(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log) as site:
        site.away = {""}
        for seq in range(6):
            put(log, topic="alarm" if seq % 2 else "value")
            await log.intake.settled()
        await site.fleet.configure(configs("a", priorities=["alarm"]))
        await until(lambda: sorted(site.taken("a")) == [2, 4, 6])
        await until(lambda: log.pending("a") == 3)
        await site.fleet.seek("a", "4", sure=True)  # 1 and 3 are skipped; of 2 nobody knows that it was sent
        book = await site.book("a")
        assert (book.cursor, book.dropped, book.pending + book.forwarded) == (3, 3, 3)
        site.away = set()
        await site.fleet.seek("a", "3", sure=True)
        await until(lambda: site.has_all("a"))
        assert sorted(site.taken("a")) == [2, 3, 4, 4, 5, 6, 6]
        book = await site.book("a")
        assert (book.received, book.forwarded, book.dropped) == (4, 4, 0)


async def test_a_backlog_beside_live_events_can_be_skipped(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log) as site:
        site.away = {"-backlog"}
        await fill(log, 6, b"x")
        await site.fleet.configure(configs("a", catch_up="live_first", batch_events_max=2))
        await until(lambda: log.views.backlog_end("a") == 6)
        await fill(log, 3, b"x")
        await until(lambda: site.taken("a") == [7, 8, 9])
        assert log.cursor("a") == 0
        await site.fleet.seek("a", "now", sure=True)
        await fill(log, 1, b"x")
        await until(lambda: site.has_all("a"))
        assert site.taken("a") == [7, 8, 9, 10]
        book = await site.book("a")
        assert (book.received, book.forwarded, book.dropped) == (10, 4, 6)


@pytest.mark.parametrize("to", ["8", "yesterday", ""])
async def test_a_place_that_is_not_there_is_refused(tmp_path: Path, to: str) -> None:
    async with opened(tmp_path, []) as log, running(log, "a") as site:
        await fill(log, 6, b"x")
        await until(lambda: site.has_all("a"))
        with pytest.raises(ConfigError):
            await site.fleet.seek("a", to, sure=True)
        with pytest.raises(ConfigError, match="there is no upstream"):
            await site.fleet.seek("b", "1", sure=True)
        assert (site.opened("a"), log.cursor("a")) == (1, 6)
