"""Replays and the forwarders that run them, on a real log, with an upstream that follows a script."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from gateway.errors import ConfigError, Refused
from gateway.eventlog.history import History
from gateway.eventlog.replays import Pacing
from gateway.eventlog.wanted import Wanted
from gateway.forward.config import ReplayConfig
from gateway.forward.member import Standing
from gateway.forward.meter import Meter
from gateway.forward.replay import Replayer
from gateway.forward.replay_command import ReplayCommands
from tests.unit.eventlog.logs import WALL_NS, HandClock, fill, opened, put, until
from tests.unit.forward.forward_fakes import ScriptedUpstream, make_config


@asynccontextmanager
async def replaying(log, upstream, *, names=("cloud",), config=None, standing=None):
    """A replayer that runs; `standing` may be changed while it does."""

    def look(name):
        if name not in names:
            raise ConfigError(f"there is no upstream {name!r}")
        return standing[0]

    standing = standing or [Standing(make_config())]
    replayer = Replayer(log, config or ReplayConfig(), look, lambda *_: upstream, HandClock())
    running = asyncio.ensure_future(replayer.run())
    await asyncio.sleep(0)
    try:
        yield replayer
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def stored(tmp_path, count=10, **changes):
    async with opened(tmp_path, recent_bytes_max=0, **changes) as log:
        await fill(log, count)
        log.advance("cloud", count)
        yield log


async def test_a_replay_moves_no_cursor_and_no_books(tmp_path):
    async with stored(tmp_path) as log:
        before, upstream = await log.books(), ScriptedUpstream()
        async with replaying(log, upstream) as replayer:
            begun = await replayer.begin("cloud", Wanted(3, 6))
            await until(lambda: replayer.describe(begun.id)["state"] == "done")
        assert upstream.taken == [3, 4, 5, 6]
        assert await log.books() == before


async def test_an_upstream_that_does_not_want_a_topic_is_not_sent_it_by_a_replay_either(tmp_path):
    async with opened(tmp_path) as log:
        for topic in ("a", "b", "a"):
            put(log, topic=topic)
        put(log, topic="a", origin="cloud")
        await log.intake.settled()
        upstream, config = ScriptedUpstream(), make_config(topics=["a"])
        replayer = Replayer(log, ReplayConfig(), lambda _: Standing(config), lambda *_: upstream, HandClock())
        running = asyncio.ensure_future(replayer.run())
        begun = await replayer.begin("cloud", Wanted(1, 4))
        await until(lambda: replayer.describe(begun.id)["state"] == "done")
        told = replayer.describe(begun.id)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert upstream.taken == [1, 3]
    assert (told["sent"], told["filtered"]) == (2, 2)


async def test_what_is_refused_is_quarantined_and_the_rest_flows(tmp_path):
    async with stored(tmp_path) as log:
        upstream = ScriptedUpstream()
        upstream.on_send = lambda events: (2, Refused({4: "too large"})) if len(events) == 3 else None
        async with replaying(log, upstream) as replayer:
            begun = await replayer.begin("cloud", Wanted.of([2, 4, 6]))
            await until(lambda: replayer.describe(begun.id)["state"] == "done")
            told = replayer.describe(begun.id)
        assert upstream.batches == [[2, 4, 6], [6]]
        assert (told["sent"], told["refused"], told["missing"]) == (2, 1, 0)
    with History(tmp_path) as history:
        assert history.status()["upstreams"][0]["quarantined"] == 1


async def test_what_is_gone_when_its_turn_comes_is_told(tmp_path):
    async with stored(tmp_path, 12, retention_bytes_max=1) as log:
        await log.retain()
        upstream = ScriptedUpstream()
        async with replaying(log, upstream) as replayer:
            begun = await replayer.begin("cloud", Wanted(1, 12))
            await until(lambda: replayer.describe(begun.id)["state"] == "done")
            told = replayer.describe(begun.id)
            listed = await replayer.begin("cloud", Wanted.of([1, 12]))
            await until(lambda: replayer.describe(listed.id)["state"] == "done")
            assert replayer.describe(listed.id)["missing"] == 1
        oldest = log.status().oldest
        assert oldest > 1
        assert (told["missing"], told["sent"]) == (oldest - 1, 13 - oldest)
        assert upstream.taken == [*range(oldest, 13), 12]


async def test_a_replay_of_an_upstream_that_is_configured_no_more_rests_and_says_so(tmp_path):
    async with stored(tmp_path) as log:
        async with replaying(log, ScriptedUpstream()) as replayer:
            upstream = ScriptedUpstream()
            begun = await replayer.begin("cloud", Wanted(1, 10), Pacing(rate=0.01))
        async with replaying(log, upstream, names=()) as replayer:
            await until(lambda: replayer.describe(begun.id)["state"] == "paused")
            assert replayer.describe(begun.id)["reason"] == "there is no upstream 'cloud'"
            with pytest.raises(ConfigError, match="there is no upstream"):
                await replayer.resume(begun.id)
        async with replaying(log, upstream) as replayer:
            await replayer.resume(begun.id)
            assert replayer.describe(begun.id)["state"] == "running"


async def test_a_paced_replay_does_not_keep_its_acknowledgements_waiting(tmp_path):
    async with stored(tmp_path) as log, replaying(log, ScriptedUpstream()) as replayer:
        begun = await replayer.begin("cloud", Wanted(1, 10), Pacing(rate=0.001))
        await until(lambda: replayer.describe(begun.id)["sent"] == 1)
        assert replayer.describe(begun.id)["position"] == 1


async def test_no_replay_is_begun_beyond_the_limit(tmp_path):
    config = ReplayConfig(under_way_max=1)
    async with stored(tmp_path) as log, replaying(log, ScriptedUpstream(), config=config) as replayer:
        begun = await replayer.begin("cloud", Wanted(1, 10), Pacing(rate=0.01))
        with pytest.raises(ConfigError, match="under way"):
            await replayer.begin("cloud", Wanted(1, 10))
        await replayer.cancel(begun.id)
        await replayer.begin("cloud", Wanted(1, 10))
        with pytest.raises(ConfigError, match="has ended"):
            await replayer.pause(begun.id)


@pytest.mark.parametrize(
    ("request_", "stretch"),
    [
        ({}, (1, 10)),
        ({"first_seq": 3, "last_seq": 99}, (3, 10)),
        ({"begin_ns": WALL_NS}, (1, 10)),
        ({"end_ns": WALL_NS + 10**12}, (1, 10)),
    ],
)
async def test_a_stretch_that_is_asked_for_ends_with_what_is_stored(tmp_path, request_, stretch):
    async with stored(tmp_path) as log, replaying(log, ScriptedUpstream()) as replayer:
        commands = ReplayCommands(replayer, log)
        asked = {"command": "replay", "action": "begin", "upstream": "cloud", **request_}
        begun = await commands.obey(asked)
        assert (begun["first_seq"], begun["last_seq"]) == stretch
        assert [one["id"] for one in await commands.obey({"action": "list"})] == [begun["id"]]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"action": "begin", "upstream": "cloud", "first_seq": 11}, "no event in that stretch"),
        ({"action": "begin", "upstream": "cloud", "begin_ns": WALL_NS * 2}, "no event in that stretch"),
        ({"action": "begin", "upstream": "x"}, "there is no upstream 'x'"),
        ({"action": "begin"}, "replay: upstream: Field required"),
        ({"action": "begin", "upstream": "cloud", "rate": 0}, "replay: rate: Input should be greater than 0"),
        ({"action": "begin", "upstream": "cloud", "rate": 1.0, "speed": 1.0}, "a rate or a speed, not both"),
        ({"action": "begin", "upstream": "cloud", "topic": "a/#/b"}, "is not an MQTT topic filter"),
        ({"action": "begin", "upstream": "cloud", "more": 1}, "replay: more: Extra inputs"),
        ({"action": "cancel", "id": "x"}, "there is no replay 'x'"),
        ({"action": "show"}, "there is no replay 'None'"),
        ({"action": "dance"}, "no command"),
    ],
)
async def test_what_cannot_be_done_is_told(tmp_path, request_, told):
    async with stored(tmp_path) as log, replaying(log, ScriptedUpstream()) as replayer:
        with pytest.raises(ConfigError, match=told):
            await ReplayCommands(replayer, log).obey(request_)
        assert not log.replays.known


async def test_a_replay_waits_while_its_upstream_is_held_and_goes_on_with_its_new_section(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.forward.replay.LOOK_INTERVAL_S", 0.01)
    upstream, standing = ScriptedUpstream(), [Standing(make_config(), "paused")]
    async with stored(tmp_path) as log, replaying(log, upstream, standing=standing) as replayer:
        begun = await replayer.begin("cloud", Wanted(1, 10), Pacing(rate=0.001))
        await until(lambda: replayer.describe(begun.id)["connection"] == "paused")
        assert upstream.opens == 0
        standing[0] = Standing(make_config())
        await until(lambda: upstream.taken == [1])
        standing[0] = Standing(make_config(), "resting")
        await until(lambda: replayer.describe(begun.id)["connection"] == "resting")
        assert upstream.closes > 0
        standing[0] = Standing(make_config(batch_events_max=3))
        await until(lambda: replayer.describe(begun.id)["sent"] == 2)
        assert upstream.taken == [1, 2]


async def test_a_replay_counts_for_the_rate_of_its_upstream(tmp_path):
    class Counting(Meter):
        taken = 0

        def take(self, events, bytes_):
            self.taken += events
            super().take(events, bytes_)

    config = make_config()
    meter = Counting(config, lambda: 0.0)
    standing = [Standing(config, "", meter)]
    async with stored(tmp_path) as log, replaying(log, ScriptedUpstream(), standing=standing) as replayer:
        begun = await replayer.begin("cloud", Wanted(1, 10))
        await until(lambda: replayer.describe(begun.id)["state"] == "done")
        assert meter.taken == 10


async def test_what_is_retained_no_more_is_not_sent_to_be_retained_again(tmp_path):
    sent = []
    upstream = ScriptedUpstream()
    upstream.on_send = sent.extend
    async with opened(tmp_path) as log:
        for topic, payload in (("a", b"old"), ("a", b"new"), ("b", b"gone"), ("b", b"")):
            put(log, payload, topic, retain=True)
        put(log, b"plain", "a")
        await log.intake.settled()
        async with replaying(log, upstream) as replayer:
            begun = await replayer.begin("cloud", Wanted(1, 5))
            await until(lambda: replayer.describe(begun.id)["state"] == "done")
    assert [(event.payload, event.retain) for event in sent] == [
        (b"old", False),
        (b"new", True),
        (b"gone", False),
        (b"", True),
        (b"plain", False),
    ]


async def test_a_replay_that_is_paused_and_resumed_before_it_could_begin_runs_once(tmp_path):
    upstream = ScriptedUpstream()
    async with stored(tmp_path) as log:
        replayer = Replayer(log, ReplayConfig(), lambda _: Standing(make_config()), lambda *_: upstream, HandClock())
        begun = await replayer.begin("cloud", Wanted(1, 10))
        await replayer.pause(begun.id)
        await replayer.resume(begun.id)
        running = asyncio.ensure_future(replayer.run())
        await until(lambda: replayer.describe(begun.id)["state"] == "done")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert upstream.taken == list(range(1, 11))
