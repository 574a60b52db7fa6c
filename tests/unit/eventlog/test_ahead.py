"""What is kept of what goes ahead of cursors: stored with them, under a checksum, and carried over everything."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from gateway.eventlog import ahead_rows
from gateway.eventlog.ahead import NOTHING, Ahead, LiveSpan, as_text, from_text
from gateway.eventlog.backup import backup
from gateway.eventlog.books import Account
from gateway.eventlog.damage import Damaged
from gateway.eventlog.history import History
from gateway.eventlog.state import State, path_of
from tests.unit.eventlog.logs import CLOUD, execute, fill, opened, power_cut

SOME = Ahead((LiveSpan(Account(20, 10, 4, 3, 2, 1), 7), LiveSpan(Account(30, 25))), "terms", (22, 31), 5, 1, 2)


@pytest.fixture
def state(tmp_path):
    with closing(State(path_of(tmp_path))) as state:
        state.flush({CLOUD: Account(5, 0, 5)}, [], 31, 0, ahead={CLOUD: SOME})
        yield state


def test_what_is_stored_is_what_was_ahead():
    assert from_text(as_text(SOME)) == SOME
    assert from_text(as_text(NOTHING)) == NOTHING


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[[],1,[],0,0,0]",
        '[[],"",[],0,0,-1]',
        '[[[1]],"",[],0,0,0]',
        '[[],"",["a"],0,0,0]',
        '[[],""]',
    ],
)
def test_what_is_something_else_is_refused(text):
    with pytest.raises(ValueError):
        from_text(text)


def test_it_is_kept_with_the_cursors(state, tmp_path):
    state.check()
    assert state.ahead() == {CLOUD: SOME}
    state.flush({}, [], 31, 0, ahead={CLOUD: NOTHING, "other": SOME})
    with closing(State(path_of(tmp_path))) as again:
        assert again.ahead() == {CLOUD: NOTHING, "other": SOME}


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE views SET ahead = replace(ahead, '20', '24')",
        "UPDATE views SET upstream = 'clouc'",
        "DELETE FROM meta WHERE key = 'views_crc'",
        "UPDATE views SET ahead = 'nonsense'",
    ],
)
def test_a_flipped_bit_in_it_is_damage(state, tmp_path, harm):
    execute(path_of(tmp_path), harm)
    with pytest.raises(Damaged, match="ahead of its cursors"):
        state.check()


def test_a_database_of_an_earlier_version_has_nothing_ahead(state, tmp_path):
    execute(path_of(tmp_path), "DROP TABLE views")
    assert state.ahead() == {}


async def test_after_damage_to_the_state_everything_is_sent_again_in_order(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 10, b"x")
        log.views.begin_span(CLOUD, 5)
        log.views.advance_live(CLOUD, 8, forwarded=3)
        log.views.set_lanes(CLOUD, "some", 1)
        await log.flush()
    execute(path_of(tmp_path), "UPDATE views SET ahead = 'nonsense'")
    async with opened(tmp_path) as log:
        assert (log.cursor(CLOUD), log.views.live_seq(CLOUD), log.views.lanes_seq(CLOUD)) == (0, 0, None)
        (line,) = await log.books()
        assert (line.pending, line.balances) == (10, True)


async def test_spans_and_lanes_survive_a_power_cut_as_of_the_last_flush(tmp_path):
    async with opened(tmp_path / "a") as log:
        await fill(log, 10, b"x")
        log.views.begin_span(CLOUD, 5)
        log.views.set_lanes(CLOUD, "some", 1)
        log.views.advance_lane(CLOUD, 0, 9, forwarded=2)
        log.views.advance_live(CLOUD, 8, forwarded=2, taken=1)
        await log.flush()
        log.views.advance_live(CLOUD, 9, forwarded=1)
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert (log.cursor(CLOUD), log.views.live_seq(CLOUD), log.views.lanes_seq(CLOUD)) == (0, 8, 9)
        (line,) = await log.books()
        assert (line.forwarded, line.pending, line.balances) == (4, 6, True)
        log.advance(CLOUD, 5, forwarded=4, taken=1)
        assert log.cursor(CLOUD) == 8
        (line,) = await log.books()
        assert (line.forwarded, line.pending, line.balances) == (8, 2, True)
    with History(left) as history:
        assert history.books([CLOUD]) == [line]
        assert [each["pending"] for each in history.status()["upstreams"]] == [2]


async def test_retention_drops_what_waits_and_not_what_was_sent_live(tmp_path):
    async with opened(tmp_path, retention_bytes_max=150_000) as log:
        await fill(log, 20)
        log.views.begin_span(CLOUD, 10)
        log.views.advance_live(CLOUD, 15, forwarded=5)
        await fill(log, 40)
        await log.retain()
        oldest = log.status().oldest
        assert oldest > 16
        assert log.cursor(CLOUD) == oldest - 1
        (line,) = await log.books()
        assert (line.forwarded, line.dropped, line.unbooked, line.balances) == (5, oldest - 1 - 5, 0, True)


async def test_under_refuse_new_what_waits_behind_live_events_stays(tmp_path):
    async with opened(tmp_path, retention_bytes_max=150_000, retention_policy="refuse_new") as log:
        await fill(log, 20)
        log.views.begin_span(CLOUD, 10)
        log.views.advance_live(CLOUD, 20, forwarded=10)
        await log.retain()
        assert (log.status().oldest, bool(log.status().full)) == (1, True)
        log.advance(CLOUD, 10, forwarded=10)
        await log.retain()
        assert (log.cursor(CLOUD), log.status().full) == (20, "")


async def test_a_backup_holds_what_is_ahead_and_is_not_ahead_of_its_log(tmp_path):
    async with opened(tmp_path / "a") as log:
        await fill(log, 10, b"x")
        log.views.begin_span(CLOUD, 5)
        log.views.advance_live(CLOUD, 8, forwarded=3)
        await log.flush()
        assert backup(tmp_path / "a", tmp_path / "b", 1).faults == []
    async with opened(tmp_path / "b") as log:
        assert (log.cursor(CLOUD), log.views.live_seq(CLOUD)) == (0, 8)
    execute(path_of(tmp_path / "a"), "DELETE FROM views", "DELETE FROM meta WHERE key = 'views_crc'")
    with closing(State(path_of(tmp_path / "a"))) as state:
        state.flush({}, [], 10, 0, ahead={CLOUD: SOME})
    (fault,) = backup(tmp_path / "a", tmp_path / "c", 1).faults
    assert "ahead of the log" in fault


def test_lanes_come_back_for_events_that_are_in_the_log_again(state, tmp_path):
    assert ahead_rows.step_back(path_of(tmp_path), 24) == [CLOUD]
    assert state.ahead()[CLOUD] == SOME._replace(lanes=(22, 24))
    assert ahead_rows.step_back(path_of(tmp_path), 30) == []
    state.check()


def test_the_text_is_short():
    """It is written with every flush of cursors."""
    assert len(as_text(SOME)) < 120
    assert json.loads(as_text(NOTHING)) == [[], "", [], 0, 0, 0]
