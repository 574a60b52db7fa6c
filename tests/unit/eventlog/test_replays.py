"""Replays in `state.db`: what is kept of them, how many, and what a flipped bit does."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError, LogError
from gateway.eventlog import replays, wanted
from gateway.eventlog.history import History
from gateway.eventlog.replays import Pacing, Progress, Replay, described
from gateway.eventlog.state import path_of
from gateway.eventlog.wanted import SEQS_MAX, Wanted
from tests.unit.eventlog.logs import WALL_NS, event, execute, opened, power_cut, put


def replay(id_, state="running", **what):
    asked = Wanted(1, 100, topic="a/#", device="dev", where="t > 3", **what)
    return Replay(id_, WALL_NS + int(id_), "cloud", asked, Pacing(rate=5.0), Progress(state, 0))


async def begin(log, *some, under_way_max=10, ended_max=10):
    for one in some:
        await log.replays.begin(one, under_way_max=under_way_max, ended_max=ended_max)


async def test_a_replay_is_kept_over_a_restart(tmp_path):
    async with opened(tmp_path) as log:
        await begin(log, replay("1", seqs=(3, 5, 9)), replay("2", begin_ns=7, end_ns=8))
        log.replays.advance("1", 50, sent=30, filtered=15, refused=3, missing=2)
        before = dict(log.replays.known)
    async with opened(tmp_path) as log:
        assert log.replays.known == before
        assert list(log.replays.known) == ["1", "2"]
        assert log.replays.known["1"].progress == Progress("running", 50, 30, 15, 3, 2)


async def test_progress_is_durable_with_the_cursors_and_goes_back_as_a_whole(tmp_path):
    async with opened(tmp_path / "a", cursor_interval_s=100) as log:
        await begin(log, replay("1"))
        log.replays.advance("1", 50, sent=40, filtered=10)
        await log.flush()
        log.replays.advance("1", 60, sent=10)
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert log.replays.known["1"].progress == Progress("running", 50, 40, 10)


async def test_a_change_of_state_is_durable_at_once_with_the_progress(tmp_path):
    async with opened(tmp_path / "a", cursor_interval_s=100) as log:
        await begin(log, replay("1"))
        log.replays.advance("1", 7, sent=7)
        await log.replays.change("1", "paused", "why")
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert log.replays.known["1"].progress == Progress("paused", 7, 7, reason="why")


async def test_what_the_disk_refuses_is_written_later(tmp_path):
    async with opened(tmp_path) as log:
        await begin(log, replay("1"))
        table = "CREATE TRIGGER no BEFORE {} ON replays BEGIN SELECT RAISE(FAIL, 'the disk refuses'); END"
        execute(path_of(tmp_path), table.format("INSERT"))
        with pytest.raises(LogError):
            await log.replays.change("1", "paused")
        with pytest.raises(LogError):
            await begin(log, replay("2"))
        assert list(log.replays.known) == ["1"]
        execute(path_of(tmp_path), "DROP TRIGGER no", table.format("UPDATE"))
        log.replays.advance("1", 3, sent=3)
        with pytest.raises(LogError):
            await log.flush()
        execute(path_of(tmp_path), "DROP TRIGGER no")
        await log.flush()
        assert replays.stored(path_of(tmp_path))[0].progress == Progress("paused", 3, 3)


async def test_replays_are_bounded_and_the_oldest_that_have_ended_go(tmp_path):
    async with opened(tmp_path) as log:
        await begin(log, replay("1"), replay("2"), under_way_max=2)
        with pytest.raises(ConfigError, match="2 replays are under way") as refused:
            await begin(log, replay("3"), under_way_max=2)
        assert "replay.under_way_max" in refused.value.hint
        for id_, state in (("1", "done"), ("2", "cancelled")):
            await log.replays.change(id_, state, ended_ns=1)
        await begin(log, replay("3"), under_way_max=2, ended_max=1)
        assert list(log.replays.known) == ["2", "3"]
    assert [one.id for one in replays.stored(path_of(tmp_path))] == ["2", "3"]


async def test_a_flipped_bit_costs_that_replay_only(tmp_path, caplog):
    async with opened(tmp_path) as log:
        await begin(log, replay("1"), replay("2"), replay("3"))
        put(log)
        await log.intake.settled()
    execute(path_of(tmp_path), "UPDATE replays SET progress = replace(progress, '0', '1') WHERE id = '2'")
    execute(path_of(tmp_path), "UPDATE replays SET asked = 'x' WHERE id = '3'")
    async with opened(tmp_path) as log:
        assert list(log.replays.known) == ["1"]
        assert log.replays.known["1"].wanted.topic == "a/#"
    assert "a replay is not what was written" in caplog.text


async def test_a_command_reads_them_without_the_gateway(tmp_path):
    async with opened(tmp_path) as log:
        await begin(log, replay("1"))
        log.replays.advance("1", 25, sent=25)
    with History(tmp_path) as history:
        (one,) = history.replays()
    assert described(one)["done"] == 0.25
    execute(path_of(tmp_path), "DROP TABLE replays")
    with History(tmp_path) as history:
        assert history.replays() == []


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"first_seq": 1}', '{"seqs": 3}', '{"seqs": [], "x": 1}'])
def test_what_is_no_stretch_is_no_stretch(text):
    with pytest.raises(ValueError, match=r"Expecting|stretch|argument"):
        wanted.decoded(text)


def test_a_stretch_is_encoded_and_decoded():
    for asked in (Wanted(), Wanted.of([9, 3, 3]), Wanted(2, 3, 4, 5, "t/#", "d", "x == 1", quarantined=True)):
        assert wanted.decoded(asked.encoded()) == asked


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (Wanted(topic="a/#/b"), "is not an MQTT topic filter"),
        (Wanted(where="t = 3"), "to compare, write =="),
        (Wanted(seqs=(2, 1)), "in order"),
        (Wanted.of(range(1, SEQS_MAX + 2)), "10,000 events can be asked for; these are 10,001"),
    ],
)
def test_what_cannot_be_asked_for_is_told(asked, told):
    with pytest.raises(ValueError, match=told):
        asked.check()


def test_numbers_that_are_asked_for_come_in_runs():
    asked = Wanted.of([3, 4, 5, 8, 10, 11])
    assert [asked.next(after) for after in (0, 3, 5, 8, 11)] == [(3, 5), (4, 5), (8, 8), (10, 11), None]
    assert (asked.numbers(1, 100), asked.numbers(4, 9), asked.numbers(6, 7)) == (6, 3, 0)
    stretch = Wanted(3, 11)
    assert [stretch.next(after) for after in (0, 5, 11)] == [(3, 11), (6, 11), None]
    assert (stretch.numbers(1, 100), stretch.numbers(12, 20)) == (9, 0)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (Wanted(), True),
        (Wanted(topic="dev/+"), True),
        (Wanted(topic="other"), False),
        (Wanted(device="dev"), True),
        (Wanted(device="x"), False),
        (Wanted(begin_ns=5, end_ns=5), True),
        (Wanted(begin_ns=6), False),
        (Wanted(end_ns=4), False),
        (Wanted(where="t == 1"), True),
        (Wanted(where="t == 2"), False),
    ],
)
def test_an_event_is_chosen_by_everything_that_is_asked(asked, chosen):
    one = event(1, b'{"t": 1}')
    assert asked.chooser(lambda _: 5)(one) is chosen
    assert not asked.chooser(lambda _: 5)(one._replace(verdict=2))
    assert not asked._replace(topic="#").chooser(lambda _: 5)(one._replace(topic="$SYS/x"))


def test_quarantined_events_are_chosen_if_they_are_asked_for():
    assert Wanted(quarantined=True).chooser(lambda _: 0)(event(1, verdict=2))
