"""Upstreams that come, go and rest while the others go on: a real log, and upstreams that follow a script."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.clock import Anchor
from gateway.errors import ConfigError, LogError
from gateway.eventlog.state import path_of as state_path_of
from gateway.forward import fleet as fleets
from gateway.forward import member as members
from tests.unit.eventlog.logs import HandClock, execute, fill, opened, put, until
from tests.unit.forward.fleet_site import Site, configs, running
from tests.unit.forward.forward_fakes import ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path


async def test_what_did_not_change_is_not_touched(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a", "b") as site:
        await fill(log, 3, b"x")
        await until(lambda: site.has_all("a", "b"))
        await site.fleet.configure(configs("a") | configs("b", topics=["dev/#"]) | configs("c"))
        await fill(log, 3, b"x")
        await until(lambda: site.has_all("a", "b", "c"))
        assert (site.opened("a"), site.opened("b"), site.opened("c")) == (1, 2, 1)
        for name in "abc":
            assert site.taken(name) == [*range(1, 7)]
        assert [line["name"] for line in site.fleet.describe()] == ["a", "b", "c"]
        assert site.line("b")["forwarded"] == 6  # counted on over the change


async def test_another_start_is_no_change_for_an_upstream_that_has_begun(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a") as site:
        await fill(log, 3, b"x")
        await until(lambda: site.has_all("a"))
        await site.fleet.configure(configs("a", start="now"))
        assert site.opened("a") == 1


async def test_one_that_cannot_be_built_leaves_all_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a", "b") as site:
        await fill(log, 3, b"x")
        await until(lambda: site.has_all("a", "b"))
        site.refuse = "c"
        with pytest.raises(ConfigError, match=r"upstreams\.c"):
            await site.fleet.configure(configs("a", topics=["x"]) | configs("c"))
        await fill(log, 3, b"x")
        await until(lambda: site.has_all("a", "b"))
        assert (site.opened("a"), site.opened("b")) == (1, 1)
        assert [line.upstream for line in await log.books() if line.configured] == ["a", "b"]


async def test_one_that_is_removed_keeps_cursor_and_books_and_goes_on_there_if_it_comes_back(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a", "b") as site:
        await fill(log, 3, b"x")
        await until(lambda: site.has_all("a", "b"))
        await site.fleet.configure(configs("a"))
        assert site.built["b"][-1].closes == 1
        await fill(log, 2, b"x")
        await until(lambda: site.has_all("a"))
        book = await site.book("b")
        assert (book.configured, book.cursor, book.pending, book.forwarded) == (False, 3, 2, 3)
        await site.fleet.configure(configs("a", "b", start="now"))
        await until(lambda: site.has_all("b"))
        assert site.taken("b") == [1, 2, 3, 4, 5]
        assert (await site.book("b")).received == 5


async def test_retention_waits_for_an_upstream_until_it_is_removed(tmp_path: Path) -> None:
    limits = {"retention_bytes_max": 1, "retention_policy": "refuse_new"}
    async with opened(tmp_path, [], **limits) as log, running(log, "a", "b") as site:
        await site.fleet.pause("b")
        await fill(log, 10)
        await until(lambda: site.has_all("a"))
        await log.retain()
        assert log.status().oldest == 1
        await site.fleet.configure(configs("a"))
        await log.retain()
        assert log.status().oldest > 1


@pytest.mark.parametrize(("start", "first"), [("beginning", 1), ("now", 7), ("4", 4), ("0", 1), ("99", 7)])
async def test_a_new_upstream_begins_at_its_start_and_its_books_with_it(tmp_path: Path, start: str, first: int) -> None:
    async with opened(tmp_path, []) as log, running(log) as site:
        await fill(log, 6, b"x")
        await site.fleet.configure(configs("new", start=start))
        await until(lambda: log.places.has_begun("new"))
        await fill(log, 2, b"x")
        await until(lambda: site.has_all("new"))
        assert site.taken("new") == [*range(first, 9)]
        assert (await site.book("new")).received == 9 - first
        assert log._state.accounts()["new"].started == first - 1


async def test_a_new_upstream_can_begin_at_a_time(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, [], clock) as log, running(log) as site:
        for second in range(6):
            log.intake.append(clock.wall_ns() + second * 10**9, second * 10**9 + 1, "dev", "t", 1, False, b"x")
        await log.intake.settled()
        fourth = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.wall_ns() // 10**9 + 3))
        await site.fleet.configure(configs("new", start=fourth) | configs("later", start="2099-01-01"))
        await until(lambda: log.places.has_begun("later") and site.has_all("new"))
        assert site.taken("new") == [4, 5, 6]
        await fill(log, 1, b"x")
        await until(lambda: site.has_all("later"))
        assert site.taken("later") == [7]


async def test_where_an_upstream_began_counts_and_not_what_start_says_later(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log:
        await fill(log, 3, b"x")
        async with running(log, "a", start="now") as site:
            await until(lambda: log.places.has_begun("a"))
    async with opened(tmp_path, []) as log, running(log, "a", start="beginning") as site:
        await fill(log, 1, b"x")
        await until(lambda: site.has_all("a"))
        assert site.taken("a") == [4]


async def test_a_log_that_has_lost_its_cursors_begins_no_upstream_at_now(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log:
        await fill(log, 3, b"x")
        async with running(log, "a", start="now"):
            await until(lambda: log.places.has_begun("a"))
    for path in tmp_path.glob("state.db*"):
        path.unlink()
    async with opened(tmp_path, []) as log:
        pass  # and it ends before any upstream has its place
    async with opened(tmp_path, []) as log, running(log, "a", start="now") as site:
        await until(lambda: site.has_all("a"))
        assert site.taken("a") == [1, 2, 3]
        await log.places.all_have_begun()
        await site.fleet.configure(configs("a", "b", start="now"))
        await until(lambda: site.has_all("b"))
        assert site.taken("b") == []


async def test_a_paused_upstream_waits_over_a_restart_and_misses_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a", "b") as site:
        await fill(log, 3, b"x")
        await until(lambda: site.has_all("a", "b"))
        await site.fleet.pause("a")
        await site.fleet.pause("a")
        await fill(log, 2, b"x")
        await until(lambda: site.has_all("b"))
        line = site.line("a")
        assert (line["state"], line["pending"], line["cursor"]) == ("paused", 2, 3)
        assert site.built["a"][-1].closes == 1
    async with opened(tmp_path, []) as log, running(log, "a", "b") as site:
        await fill(log, 1, b"x")
        await until(lambda: site.has_all("b"))
        assert (site.line("a")["state"], site.taken("a")) == ("paused", [])
        await site.fleet.configure(configs("a", topics=["dev/#"]) | configs("b"))
        assert site.line("a")["state"] == "paused"
        await site.fleet.resume("a")
        await until(lambda: site.has_all("a"))
        assert site.taken("a") == [4, 5, 6]
        await site.fleet.resume("a")
        assert site.opened("a") == 1
    async with opened(tmp_path, []) as log:
        assert log.places.paused == {}


async def test_a_pause_outlives_damage_to_the_state(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a") as site:
        await fill(log, 1, b"x")
        await site.fleet.pause("a")
    execute(state_path_of(tmp_path), "UPDATE meta SET value = 'many' WHERE key = 'high_water'")
    async with opened(tmp_path, []) as log, running(log, "a") as site:
        assert (tmp_path / "damaged").is_dir()
        await until(lambda: site.line("a")["state"] == "paused")
        assert site.opened("a") == 0


async def test_a_pause_that_the_disk_refuses_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path, []) as log, running(log, "a") as site:
        await fill(log, 1, b"x")
        await until(lambda: site.has_all("a"))

        def refuse(*_: object) -> None:
            raise LogError("the disk refuses")

        monkeypatch.setattr(log._state, "transact", refuse)
        with pytest.raises(LogError):
            await site.fleet.pause("a")
        await fill(log, 1, b"x")
        await until(lambda: site.has_all("a"))
        assert (site.line("a")["state"], site.opened("a")) == ("connected", 1)


@pytest.mark.parametrize("command", ["resume", "seek"])
async def test_it_goes_on_if_whoever_gives_a_command_does_not_wait_for_its_end(tmp_path: Path, command: str) -> None:
    async with opened(tmp_path, []) as log, running(log, "a") as site:
        await fill(log, 3, b"x")
        await until(lambda: site.has_all("a"))
        closing, may_close = asyncio.Event(), asyncio.Event()

        async def close() -> None:
            closing.set()
            await may_close.wait()

        site.built["a"][0].close = close  # type: ignore[method-assign]
        if command == "resume":
            log.places.paused = {"a": 1}
        work = site.fleet.resume("a") if command == "resume" else site.fleet.seek("a", "1", sure=True)
        asked = asyncio.create_task(work)
        await closing.wait()
        asked.cancel()
        await asyncio.wait([asked])
        may_close.set()
        await fill(log, 1, b"x")
        await until(lambda: site.has_all("a"))
        assert site.taken("a") == [1, 2, 3, 4]


async def test_connections_to_a_metered_upstream_take_turns(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log) as site:
        for _ in range(400):
            put(log, topic="value")
        await log.intake.settled()
        await site.fleet.configure(configs("a", priorities=["alarm"], rate_events_max=40))
        await until(lambda: site.taken("a"))
        alarm = put(log, topic="alarm")
        await until(lambda: alarm in site.taken("a"))
        assert len(site.taken("a")) < 300
        await site.fleet.configure({})


async def test_outside_of_its_hours_it_is_not_connected_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "LOOK_INTERVAL_S", 0.005)
    minute = 0
    async with opened(tmp_path, []) as log:
        site = Site(log)
        monkeypatch.setattr(site.fleet, "_minute", lambda: minute)
        await site.fleet.configure(configs("a", active_hours=["00:00-06:00"]) | configs("b"))
        task = asyncio.create_task(site.fleet.run())
        await fill(log, 2, b"x")
        await until(lambda: site.has_all("a", "b"))
        minute = 6 * 60
        await until(lambda: site.line("a")["state"] == "resting")
        assert site.built["a"][-1].closes == 1
        await fill(log, 2, b"x")
        await until(lambda: site.has_all("b"))
        assert site.line("a")["pending"] == 2
        minute = 23 * 60 + 59
        await asyncio.sleep(0.02)
        assert site.line("a")["state"] == "resting"
        minute = 0
        await until(lambda: site.has_all("a"))
        assert site.taken("a") == [1, 2, 3, 4]
        task.cancel()
        await asyncio.wait([task])


async def test_hours_are_those_of_the_machine_and_do_not_count_while_its_clock_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        clock = HandClock()
        async with opened(tmp_path, [], clock) as log:
            site = Site(log)
            assert site.fleet._minute() is None
            await log.keep_anchor(Anchor(0, clock.wall_ns(), "trust"))
            assert site.fleet._minute() == (22 + 9 - 24) * 60 + 13  # WALL_NS is 22:13:20 UTC
            clock.stepped_ns = 5 * 3600 * 10**9  # nobody vouches for this
            assert site.fleet._minute() == 7 * 60 + 13
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_figures_tell_what_waits_since_when_and_when_it_will_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleets, "LOOK_INTERVAL_S", 0.005)
    clock = HandClock()
    async with opened(tmp_path, [], clock) as log, running(log, "a") as site:
        await site.fleet.pause("a")
        put(log)
        log.intake.append(clock.wall_ns(), clock.mono_ns(), "dev", "t", 1, False, b"12345")
        await log.intake.settled()
        clock.now_ns += 90 * 10**9
        await until(lambda: site.line("a")["oldest_s"] is not None)
        line = site.line("a")
        assert (line["pending"], round(line["oldest_s"]), line["eta_s"], line["bytes"]) == (2, 90, None, 0)
        await site.fleet.resume("a")
        await until(lambda: site.has_all("a"))
        await until(lambda: site.line("a")["eta_s"] == 0)
        line = site.line("a")
        assert (line["pending"], line["oldest_s"], line["bytes"]) == (0, None, 6 + 6)


async def test_a_bug_in_one_upstream_ends_the_fleet(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log:
        site = Site(log)
        await site.fleet.configure(configs("a"))
        upstream = ScriptedUpstream()
        upstream.on_open = lambda: 1 / 0  # type: ignore[assignment, return-value]
        site._upstream = lambda *_, **__: upstream  # type: ignore[method-assign]
        with pytest.raises(ExceptionGroup):
            async with asyncio.timeout(10):
                await site.fleet.run()


async def test_commands_are_carried_out_and_unknown_ones_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, []) as log, running(log, "a") as site:
        await fill(log, 2, b"x")
        await until(lambda: site.has_all("a"))

        async def ask(**request: object) -> Any:
            return await site.fleet.obey({"command": "upstreams", **request})

        assert [line["name"] for line in await ask(action="list")] == ["a"]
        assert (await ask(action="pause", name="a"))["state"] == "paused"
        assert (await ask(action="seek", name="a", to="1"))["events"] == 2
        assert log.cursor("a") == 2
        assert (await ask(action="seek", name="a", to="1", sure=True))["to"] == 0
        assert (await ask(action="show", name="a"))["pending"] == 2
        assert (await ask(action="resume", name="a"))["name"] == "a"
        await until(lambda: site.has_all("a"))
        for wrong in ({"action": "launch", "name": "a"}, {}, {"action": "pause", "name": "b"}, {"action": "pause"}):
            with pytest.raises(ConfigError):
                await ask(**wrong)
