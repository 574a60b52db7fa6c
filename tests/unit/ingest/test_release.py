"""A release is a new event that names its original; none is lost and none is doubled, whatever comes in between."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.event import ACCEPTED, FLAGGED, QUARANTINED
from gateway.eventlog.quarantine_rows import Chosen
from gateway.eventlog.wanted import Wanted
from gateway.forward.envelope import time_text
from gateway.ingest.ingest import Ingest
from gateway.ingest.release import DAMAGED, Releasing
from gateway.properties import beside
from tests.unit.contracts.contracts_of import contracts_of
from tests.unit.eventlog.logs import (
    WALL_NS,
    HandClock,
    commit_held_back,
    execute,
    newest,
    opened,
    power_cut,
    read_all,
    turns,
    until,
)

ALL = Chosen(Wanted(quarantined=True))
TOPIC = "site/3/temperature"


def at_most(limit, policy="quarantine"):
    return contracts_of(
        f'[temperature]\ntopic = "site/{{device}}/temperature"\npolicy = "{policy}"\n'
        f'fields = {{ celsius = {{ type = "number", max = {limit} }} }}'
    )


@asynccontextmanager
async def site(data_dir, contracts=None, **changes):
    clock = HandClock()
    async with opened(data_dir, clock=clock, **changes) as log:
        ingest = Ingest(log, clock, contracts or at_most(85))
        yield log, ingest, Releasing(log, ingest, time_text)


async def take(log, ingest, *celsius, retain=False):
    for each in celsius:
        payload = b'{"celsius": %d}' % each
        ingest.append(*ingest.now(), "dev", TOPIC, 1, retain, payload)
    await log.intake.settled()
    await log.follow()


async def stored(log):
    return [(int(event.payload[11:-1]), event.verdict) for event in await read_all(log)]


async def test_what_fulfils_todays_contract_is_released_as_a_new_event_that_names_its_original(tmp_path):
    async with site(tmp_path) as (log, ingest, releasing):
        await take(log, ingest, 20, 90, 900)
        ingest._clock.now_ns = 10**9
        ingest.use(at_most(100))
        done = await releasing.release(ALL)
        assert done.events == 1
        assert [(still.row.seq, still.why) for still in done.still] == [(3, "temperature 1: celsius: max: 900")]
        assert await stored(log) == [(20, ACCEPTED), (90, QUARANTINED), (900, QUARANTINED), (90, ACCEPTED)]
        released = (await read_all(log))[-1]
        assert (released.client_id, released.topic, released.qos, released.received_ns) == (
            "dev",
            TOPIC,
            1,
            WALL_NS + 10**9,
        )
        assert beside(released.properties).user == (
            ("original", f"{log.log_id}.2"),
            ("originaltime", time_text(WALL_NS)),
        )
        rows = await log.quarantined.find(ALL._replace(released=True), 10)
        assert [(row.seq, row.released_seq) for row in rows] == [(2, 4), (3, 0)]


async def test_releasing_again_releases_only_what_is_left(tmp_path):
    async with site(tmp_path) as (log, ingest, releasing):
        await take(log, ingest, 90, 900)
        ingest.use(at_most(100))
        assert [(await releasing.release(ALL))[0] for _ in range(3)] == [1, 0, 0]
        ingest.use(at_most(1000, "flag"))
        assert (await releasing.release(ALL)).events == 1
        assert await stored(log) == [(90, QUARANTINED), (900, QUARANTINED), (90, ACCEPTED), (900, ACCEPTED)]


async def test_a_contract_that_only_flags_by_now_lets_it_go_on_marked(tmp_path):
    async with site(tmp_path) as (log, ingest, releasing):
        await take(log, ingest, 90)
        ingest.use(at_most(85, "flag"))
        assert (await releasing.release(ALL)).events == 1
        assert await stored(log) == [(90, QUARANTINED), (90, FLAGGED)]
        await log.follow()
        assert len(await log.quarantined.find(ALL._replace(released=True), 10)) == 1


async def test_two_releases_at_once_release_each_message_once(tmp_path):
    async with site(tmp_path) as (log, ingest, releasing):
        await take(log, ingest, *range(86, 90))
        ingest.use(at_most(100))
        done = await asyncio.gather(*(releasing.release(ALL) for _ in range(3)))
        assert sum(each.events for each in done) == 4
        assert len(await stored(log)) == 8


async def test_a_release_that_nobody_waits_for_any_more_goes_on_and_is_not_doubled(tmp_path):
    async with site(tmp_path) as (log, ingest, releasing):
        await take(log, ingest, 90)
        ingest.use(at_most(100))
        with commit_held_back(newest(tmp_path)):
            task = asyncio.create_task(releasing.release(ALL))
            await until(lambda: log.intake.last_seq == 2)
            task.cancel()
            again = asyncio.create_task(releasing.release(ALL))
            await turns()
        assert (await again).events == 0
        assert await stored(log) == [(90, QUARANTINED), (90, ACCEPTED)]


async def test_a_power_cut_after_the_commit_and_before_the_row_is_marked_does_not_double_it(tmp_path):
    async with site(tmp_path / "a") as (log, ingest, releasing):
        await take(log, ingest, 90, 91)
        ingest.use(at_most(100))
        with commit_held_back(tmp_path / "a" / "state.db"):
            task = asyncio.create_task(releasing.release(ALL))
            await until(lambda: log.head == 4)
            left = await power_cut_of(log, tmp_path / "b")
        await task
    async with site(left, at_most(100)) as (log, _, releasing):
        assert (await releasing.release(ALL)).events == 0
        assert len(await stored(log)) == 4


async def power_cut_of(log, to):
    """`power_cut`, while the writing thread waits for `state.db`."""

    shutil.copytree(log.data_dir, to, ignore=shutil.ignore_patterns("lock"))
    return to


async def test_a_released_message_does_not_take_the_place_of_a_later_retained_one(tmp_path):
    async with site(tmp_path) as (log, ingest, releasing):
        await take(log, ingest, 90, retain=True)
        await take(log, ingest, 20, retain=True)
        ingest.use(at_most(100))
        await releasing.release(ALL)
        assert log.retained[TOPIC].payload == b'{"celsius": 20}'
        ingest.use(at_most(85))
        await take(log, ingest, 95, retain=True)
        ingest.use(at_most(100))
        await releasing.release(ALL)
        assert log.retained[TOPIC].payload == b'{"celsius": 95}'


async def test_what_is_not_what_was_written_is_never_released(tmp_path):
    async with site(tmp_path) as (log, ingest, releasing):
        await take(log, ingest, 90)
        execute(tmp_path / "state.db", "UPDATE quarantine SET payload = CAST('{\"celsius\": 10}' AS BLOB)")
        done = await releasing.release(ALL)
        assert (done.events, done.still[0].why) == (0, DAMAGED)


async def test_a_release_of_more_than_may_wait_for_the_disk_waits_for_room(tmp_path):
    async with site(tmp_path, pending_bytes_max=4096) as (log, ingest, releasing):
        for n in range(500):
            ingest.append(*ingest.now(), "dev", TOPIC, 1, False, b'{"celsius": %d}' % (100 + n))
        await log.intake.settled()
        await log.follow()
        ingest.use(at_most(1000))
        assert (await releasing.release(ALL)).events == 500
        assert await log.quarantined.find(ALL, 10) == []


@settings(deadline=None, max_examples=10)
@given(st.lists(st.one_of(st.sampled_from(["release", "cut"]), st.integers(0, 4)), max_size=12))
def test_every_violation_is_released_exactly_once_whatever_the_order(tmp_path_factory, steps):
    """A number is a message with so much too much; the limit rises by one with each release."""
    folder = tmp_path_factory.mktemp("release")

    async def play():
        at, violations, limit = folder / "0", [], 0
        for number, step in enumerate([*steps, 9, "cut", "release"]):
            async with site(at, at_most(limit)) as (log, ingest, releasing):
                if step == "release":
                    limit += 1 if number < len(steps) else 10
                    ingest.use(at_most(limit))
                    await releasing.release(ALL)
                elif step == "cut":
                    await log.intake.settled()
                    at = await power_cut(log, folder / str(number + 1))
                else:
                    ingest.append(*ingest.now(), "dev", TOPIC, 1, False, b'{"celsius": %d}' % step)
                    violations += [step] if step > limit else []
                    await log.intake.settled()
        async with site(at, at_most(100)) as (log, _, releasing):
            await releasing.release(ALL)
            released = [event for event in await read_all(log) if event.properties]
            originals = [dict(beside(event.properties).user)["original"] for event in released]
            assert len(originals) == len(set(originals)) == len(violations)

    asyncio.run(play())
