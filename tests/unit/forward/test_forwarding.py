"""Several forwarders of one upstream on a real log: what goes live, what waits, what goes first, what is too old."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.errors import Refused, Unreachable
from gateway.forward.forwarding import HISTORICAL, Forwarding
from tests.unit.eventlog.logs import CLOUD, HandClock, opened, power_cut, put, until
from tests.unit.forward.forward_fakes import ScriptedUpstream, make_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.eventlog.books import Line
    from gateway.eventlog.log import EventLog

ALARMS = ["alarms/#"]


class Site:
    """An upstream with all its connections: what each was given, and what all were."""

    def __init__(self) -> None:
        self.connections: dict[str, ScriptedUpstream] = {}
        self.marks: dict[str, object] = {}

    def build(self, *, marks=(), suffix: str = "") -> ScriptedUpstream:
        upstream = self.connections.setdefault(suffix, ScriptedUpstream())
        self.marks[suffix] = tuple(marks)
        return upstream

    @property
    def live(self) -> list[int]:
        return self.connections[""].taken

    @property
    def backlog(self) -> list[int]:
        return self.connections["-backlog"].taken

    def lane(self, number: int = 1) -> list[int]:
        return self.connections[f"-priority-{number}"].taken


@asynccontextmanager
async def forwarding(log: EventLog, site: Site, **config: object) -> AsyncIterator[Forwarding]:
    made = Forwarding(CLOUD, make_config(**config), site.build, log, log._clock)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def fill(log: EventLog, count: int, topic: str = "dev/t") -> list[int]:
    seqs = [put(log, topic=topic) for _ in range(count)]
    await log.intake.settled()
    return seqs


async def book(log: EventLog) -> Line:
    (line,) = await log.books()
    assert line.balances, line
    return line


# --- live first ---


async def test_new_events_go_at_once_and_the_backlog_beside_them_marked_as_historical(tmp_path: Path) -> None:
    async with opened(tmp_path, batch_events_max=1000) as log:
        old, site = await fill(log, 50), Site()
        async with forwarding(log, site, catch_up="live_first", batch_events_max=10, backlog_rate_max=40):
            await until(lambda: log.views.backlog_end(CLOUD) == 50)
            new = await fill(log, 20)
            await until(lambda: site.live == new)
            assert len(site.backlog) < 50
            line = await book(log)
            assert line.forwarded >= 20
            assert line.cursor < 50
            await until(lambda: log.cursor(CLOUD) == 70)
            newer = await fill(log, 5)
            await until(lambda: log.cursor(CLOUD) == 75)
        assert (site.live, site.backlog) == (new + newer, old)
        assert site.marks == {"": (), "-backlog": HISTORICAL}
        line = await book(log)
        assert (line.forwarded, line.pending) == (75, 0)


async def test_a_backlog_that_is_no_larger_than_a_batch_goes_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        old, site = await fill(log, 10), Site()
        async with forwarding(log, site, catch_up="live_first", batch_events_max=10):
            await until(lambda: log.cursor(CLOUD) == 10)
        assert (site.live, site.connections["-backlog"].opens) == (old, 0)


async def test_the_connection_of_a_backlog_is_closed_when_it_has_caught_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        site = Site()
        await fill(log, 30)
        async with forwarding(log, site, catch_up="live_first", batch_events_max=10) as made:
            await until(lambda: log.cursor(CLOUD) == 30 and log.views.backlog_end(CLOUD) is None)
            await until(lambda: site.connections["-backlog"].closes)
            assert [place.status.state for place in made.places()] == ["connected", "stopped"]


async def test_each_outage_makes_one_more_backlog_and_all_of_them_arrive(tmp_path: Path) -> None:
    async with opened(tmp_path, batch_events_max=1000) as log:
        site = Site()
        await fill(log, 30)
        config = {"catch_up": "live_first", "batch_events_max": 10, "backlog_rate_max": 8}
        for _ in range(3):
            async with forwarding(log, site, **config):
                await until(lambda: log.views.live_seq(CLOUD) == log.head)
                new = await fill(log, 5)
                await until(lambda last=new[-1]: site.live[-1:] == [last])
                await book(log)
            await fill(log, 30)
        assert len(log.views.progress(CLOUD).ahead.spans) == 3
        async with forwarding(log, site, **(config | {"backlog_rate_max": 0})):
            await until(lambda: log.cursor(CLOUD) == log.head)
        assert sorted({*site.live, *site.backlog}) == list(range(1, log.head + 1))
        assert site.backlog == sorted(site.backlog)
        assert (await book(log)).forwarded == log.head


async def test_what_was_read_before_an_outage_is_left_to_the_backlog(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        site = Site()
        async with forwarding(log, site, catch_up="live_first", batch_events_max=10):
            live = site.connections[""]
            await until(lambda: live.opens == 1)
            live.on_send = lambda _: (0, Unreachable("gone"))
            live.on_open = lambda: Unreachable("gone")
            old = await fill(log, 25)
            await until(lambda: live.opens > 2)
            live.on_send = lambda _: None
            live.on_open = lambda: None
            await until(lambda: log.cursor(CLOUD) == 25)
        assert (site.live, site.backlog) == ([], old)


async def test_a_backlog_goes_on_in_order_when_live_first_is_configured_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path, batch_events_max=1000) as log:
        site = Site()
        await fill(log, 30)
        async with forwarding(log, site, catch_up="live_first", batch_events_max=10, backlog_rate_max=4):
            await until(lambda: log.views.backlog_end(CLOUD) == 30)
            new = await fill(log, 5)
            await until(lambda: site.live == new)
        await fill(log, 5)
        sent, site.connections[""].taken = site.backlog, []
        async with forwarding(log, site):
            await until(lambda: log.cursor(CLOUD) == 40)
        assert [*sent, *site.live] == [*range(1, 31), *range(36, 41)]
        assert (await book(log)).forwarded == 40


async def test_a_crash_in_the_middle_of_a_backlog_loses_nothing_and_the_books_balance(tmp_path: Path) -> None:
    site = Site()
    config = {"catch_up": "live_first", "batch_events_max": 10}
    async with opened(tmp_path / "a", batch_events_max=1000) as log:
        await fill(log, 40)
        async with forwarding(log, site, **config, backlog_rate_max=40):
            new = await fill(log, 20)
            await until(lambda: site.live == new and len(site.backlog) >= 10)
            await log.flush()
            await fill(log, 5)
            await until(lambda: len(site.live) == 25)
            left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert log.views.live_seq(CLOUD) == 60
        assert (await book(log)).forwarded >= 30
        async with forwarding(log, site, **config):
            await until(lambda: log.cursor(CLOUD) == 65)
        assert (await book(log)).pending == 0
    assert {*site.live, *site.backlog} == set(range(1, 66))


# --- priorities ---


async def test_events_of_a_priority_go_before_all_others_and_no_other_is_passed_by(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        site = Site()
        values, alarms = await fill(log, 300), await fill(log, 3, "alarms/fire")
        more, later = await fill(log, 30), await fill(log, 1, "alarms/fire")
        site.build().hold = 1
        async with forwarding(log, site, priorities=ALARMS, batch_events_max=10):
            await until(lambda: site.lane() == alarms + later)
            line = await book(log)
            assert (line.forwarded, line.pending) == (4, 330)
            site.connections[""].release.set()
            await until(lambda: log.cursor(CLOUD) == 334)
        assert site.live == values + more
        line = await book(log)
        assert (line.forwarded, line.pending, line.filtered) == (334, 0, 0)


async def test_an_event_goes_by_the_first_priority_that_it_matches(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        site = Site()
        fire, water = await fill(log, 2, "alarms/fire"), await fill(log, 2, "alarms/water")
        other, foreign = await fill(log, 2), await fill(log, 2, "else/t")
        priorities = ["alarms/fire", "alarms/#"]
        async with forwarding(log, site, priorities=priorities, topics=["alarms/#", "dev/#"]) as made:
            await until(lambda: log.cursor(CLOUD) == foreign[-1])
            assert (made.status().forwarded, made.status().filtered) == (6, 2)
        assert (site.lane(1), site.lane(2), site.live) == (fire, water, other)
        line = await book(log)
        assert (line.forwarded, line.filtered) == (6, 2)


async def test_what_is_refused_in_a_lane_counts_as_quarantined(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        site = Site()
        alarms, others = await fill(log, 5, "alarms/fire"), await fill(log, 5)
        lane = site.build(suffix="-priority-1")

        def refuse(given):
            if given[0].seq != alarms[1]:
                return (1, Unreachable("one at a time")) if len(given) > 1 else None
            lane.acknowledged += 1
            return 0, Refused({alarms[1]: "no"})

        lane.on_send = refuse
        async with forwarding(log, site, priorities=ALARMS):
            await until(lambda: log.cursor(CLOUD) == others[-1])
        line = await book(log)
        assert (line.forwarded, line.quarantined, line.pending) == (9, 1, 0)
        assert alarms[1] not in site.lane()


async def test_a_lane_starts_over_when_priorities_mean_something_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        site = Site()
        await fill(log, 3)
        alarms = await fill(log, 3, "alarms/fire")
        site.build().on_open = lambda: Unreachable("gone")
        async with forwarding(log, site, priorities=ALARMS):
            await until(lambda: site.lane() == alarms)
        async with forwarding(log, site, priorities=["alarms/#", "dev/t"]):
            await until(lambda: log.views.lanes_seq(CLOUD) == 6)
        assert (site.lane(1), site.lane(2)) == (alarms * 2, [1, 2, 3])
        site.connections[""].on_open = lambda: None
        async with forwarding(log, site):
            await until(lambda: log.cursor(CLOUD) == 6)
        assert site.live == [1, 2, 3, *alarms]
        assert (await book(log)).forwarded == 6


async def test_live_first_and_priorities_go_together(tmp_path: Path) -> None:
    async with opened(tmp_path, batch_events_max=1000) as log:
        site = Site()
        old, old_alarms = await fill(log, 40), await fill(log, 5, "alarms/fire")
        config = {"catch_up": "live_first", "batch_events_max": 10, "backlog_rate_max": 40, "priorities": ALARMS}
        async with forwarding(log, site, **config):
            await until(lambda: site.lane() == old_alarms)
            new, new_alarms = await fill(log, 5), await fill(log, 2, "alarms/fire")
            await until(lambda: site.live == new and site.lane() == old_alarms + new_alarms)
            await book(log)
            await until(lambda: log.cursor(CLOUD) == log.head)
        assert site.backlog == old
        line = await book(log)
        assert (line.forwarded, line.pending) == (52, 0)


# --- time to live ---


async def test_what_is_too_old_when_its_turn_comes_is_not_sent_and_booked_as_expired(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as log:
        site = Site()
        await fill(log, 5)
        clock.now_ns = 100 * 10**9
        log.intake.append(clock.wall_ns(), clock.mono_ns(), "dev", "dev/t", 1, False, b"fresh")
        await log.intake.settled()
        async with forwarding(log, site, time_to_live_s=60) as made:
            await until(lambda: log.cursor(CLOUD) == 6)
            assert (made.status().forwarded, made.status().expired) == (1, 5)
        assert site.live == [6]
        line = await book(log)
        assert (line.forwarded, line.dropped, line.lost, line.unbooked) == (1, 5, 0, 0)
        await log.flush()
        (row,) = log._state.losses()
        assert (row.upstream, row.cause, row.events, row.first_seq) == (CLOUD, "expired", 5, 1)


async def test_what_is_too_old_in_a_lane_or_live_is_booked_as_well(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock, batch_events_max=1000) as log:
        site = Site()
        await fill(log, 20)
        await fill(log, 5, "alarms/fire")
        clock.now_ns = 100 * 10**9
        config = {"catch_up": "live_first", "batch_events_max": 10, "priorities": ALARMS, "time_to_live_s": 60}
        async with forwarding(log, site, **config):
            await until(lambda: log.cursor(CLOUD) == 25)
            await fill(log, 5)
            await until(lambda: log.cursor(CLOUD) == 30)
        assert site.live == site.backlog == site.lane() == []
        line = await book(log)
        assert (line.forwarded, line.dropped) == (0, 30)


async def test_books_that_are_added_up_while_events_expire_balance(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock, recent_bytes_max=0) as log:
        await fill(log, 300)
        clock.now_ns = 100 * 10**9
        async with forwarding(log, Site(), time_to_live_s=60, batch_events_max=3):
            while (await book(log)).pending:
                await asyncio.sleep(0)
