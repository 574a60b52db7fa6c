"""What became of every event, for each upstream, whatever happened to the log."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from gateway.errors import ConfigError, LogError
from gateway.eventlog import schema
from gateway.eventlog.books import Account, Line, lines
from gateway.eventlog.history import History
from gateway.eventlog.losses import DAMAGED, Missing, Span, ledger
from gateway.eventlog.segment import path_of as segment_path_of
from gateway.eventlog.state import State, path_of
from tests.unit.eventlog.logs import CLOUD, execute, fill, firsts, opened, power_cut, put, read_all

NOTHING = Missing([], [])


async def only_line(log) -> Line:
    (line,) = await log.books()
    return line


def told(line: Line) -> tuple[int, ...]:
    return line.received, line.forwarded, line.pending, line.quarantined, line.filtered, line.dropped


def test_an_account_counts_what_its_cursor_passes():
    account = Account(10, 4, forwarded=6).moved(20, NOTHING, forwarded=5, filtered=3, quarantined=2)
    assert account == Account(20, 4, forwarded=11, filtered=3, quarantined=2)


def test_numbers_without_events_count_as_lost_only_if_the_ledger_says_so():
    missing = Missing(gaps=[Span(12, 13)], damaged=[Span(15, 16), Span(30, 40)])
    assert Account(10, 0).moved(20, missing, forwarded=6) == Account(20, 0, forwarded=6, lost=2)
    assert Account(10, 0).moved(20, missing, forwarded=5).lost == 2  # somebody forgot one: the books will tell
    assert Account(10, 0).moved(20, missing, forwarded=8).lost == 0  # read before they were lost
    assert Account(10, 0).moved(20, NOTHING, forwarded=6).lost == 0


def test_an_event_that_nobody_counted_or_somebody_counted_twice_unbalances_the_books():
    facts = {"held": [Span(9, 10)], "missing": NOTHING, "booked": {}, "configured": ["a", "b", "c"]}
    accounts = {
        "a": Account(8, 0, forwarded=8),
        "b": Account(8, 0, forwarded=7),
        "c": Account(8, 0, forwarded=8, filtered=1),
    }
    found = lines(accounts, head=10, **facts)
    assert [(line.difference, line.balances) for line in found] == [(0, True), (1, False), (-1, False)]


def test_a_drop_that_the_ledger_does_not_know_unbalances_the_books():
    (line,) = lines(
        {"a": Account(8, 0, dropped=8)}, head=8, held=[], missing=NOTHING, booked={"a": 7}, configured=["a"]
    )
    assert (line.difference, line.unbooked, line.balances) == (0, 1, False)


async def test_every_event_is_in_the_books(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 20)
        log.advance(CLOUD, 10, forwarded=7, filtered=2, quarantined=1)
        assert told(await only_line(log)) == (20, 7, 10, 1, 2, 0)
        log.advance(CLOUD, 9, forwarded=100)  # it is beyond already
        assert told(await only_line(log)) == (20, 7, 10, 1, 2, 0)
    with History(tmp_path) as history:
        (line,) = history.books([CLOUD])
    assert told(line) == (20, 7, 10, 1, 2, 0)
    assert line.balances


async def test_counters_go_back_with_the_cursor_in_a_power_cut(tmp_path):
    async with opened(tmp_path / "a") as log:
        await fill(log, 10, b"x")
        log.advance(CLOUD, 4, forwarded=4)
        await log.flush()
        log.advance(CLOUD, 8, filtered=4)
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert told(await only_line(log)) == (10, 4, 6, 0, 0, 0)


async def test_an_upstream_that_is_new_begins_at_the_oldest_event(tmp_path):
    async with opened(tmp_path, [], retention_bytes_max=1) as log:
        await fill(log, 10)
        await log.retain()
        oldest = log.status().oldest
    async with opened(tmp_path) as log:
        line = await only_line(log)
    assert (line.started, told(line)) == (oldest - 1, (11 - oldest, 0, 11 - oldest, 0, 0, 0))


async def test_an_upstream_that_is_configured_no_more_holds_nothing_back_and_keeps_its_books(tmp_path):
    async with opened(tmp_path, ["gone", "kept"]) as log:
        await fill(log, 10)
        log.advance("gone", 2, forwarded=2)
    async with opened(tmp_path, ["kept"], retention_bytes_max=1, retention_policy="refuse_new") as log:
        log.advance("kept", 10, forwarded=10)
        await log.retain()
        dropped = firsts(tmp_path)[0] - 3
        kept, gone = await log.books()
    assert (kept.upstream, kept.configured, told(kept)) == ("kept", True, (10, 10, 0, 0, 0, 0))
    assert (gone.upstream, gone.configured, told(gone)) == ("gone", False, (10, 2, 8 - dropped, 0, 0, dropped))
    assert (dropped > 0, kept.balances, gone.balances) == (True, True, True)
    (row,) = ledger(path_of(tmp_path))
    assert (row.upstream, row.events, row.cause) == ("gone", dropped, "dropped")
    assert "not configured" in row.detail


@pytest.mark.parametrize("which", [0, 1], ids=["the oldest", "one in between"])
async def test_a_segment_that_has_vanished_is_booked_at_the_next_start(tmp_path, which):
    async with opened(tmp_path) as log:
        await fill(log, 12)
    first, following = firsts(tmp_path)[which : which + 2]
    segment_path_of(tmp_path / "log", first).unlink()
    with History(tmp_path) as history:
        assert [line.difference for line in history.books([CLOUD])] == [following - first]
    async with opened(tmp_path, recent_bytes_max=0) as log:
        line = await only_line(log)
        assert told(line) == (12, 0, 12 - (following - first), 0, 0, following - first)
        assert (line.balances, line.lost) == (True, following - first)
        assert log.pending(CLOUD) == line.pending
        log.advance(CLOUD, 12, forwarded=len(await read_all(log)))
        line = await only_line(log)
        assert (line.balances, line.lost) == (True, following - first)
    rows = [row for row in ledger(path_of(tmp_path)) if row.cause == DAMAGED]
    assert sum(row.events for row in rows) == following - first
    assert all(row.at_ns > 0 for row in rows)


async def test_what_vanished_beside_a_mended_segment_is_booked_before_anybody_reads_on(tmp_path):
    for _ in range(2):
        async with opened(tmp_path, recent_bytes_max=0) as log:
            if log.head == 0:
                await fill(log, 12)
            await read_all(log)
        segment_path_of(tmp_path / "log", firsts(tmp_path)[1]).unlink()
    async with opened(tmp_path, recent_bytes_max=0) as log:
        log.advance(CLOUD, 12, forwarded=len(await read_all(log)))
        line = await only_line(log)
    assert (line.balances, line.dropped > 0) == (True, True)


async def test_a_state_that_was_lost_begins_new_books_and_no_row_is_without_a_time(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 10, b"x")
        log.advance(CLOUD, 4, forwarded=4)
    path_of(tmp_path).unlink()
    async with opened(tmp_path) as log:
        assert told(await only_line(log)) == (10, 0, 10, 0, 0, 0)
        (row,) = ledger(path_of(tmp_path))
    assert row.at_ns > 0


async def test_what_the_disk_refuses_to_tell_is_an_error(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 1)
        execute(path_of(tmp_path), "ALTER TABLE losses RENAME TO away")
        with pytest.raises(LogError):
            await log.books()
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO losses")
        put(log)
        await log.intake.settled()
        assert told(await only_line(log)) == (2, 0, 2, 0, 0, 0)


def state_of_the_version_before(path, crc):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        schema.migrate(db, schema.state)
        db.execute("DELETE FROM _sqlite_migrations WHERE name = '0003_books'")
        for column in ("started", "forwarded", "filtered", "quarantined", "dropped", "lost"):
            db.execute(f"ALTER TABLE cursors DROP COLUMN {column}")
        db.execute("ALTER TABLE losses DROP COLUMN until_ns")
        db.execute("INSERT INTO cursors VALUES ('cloud', 7, 1)")
        db.execute("INSERT OR REPLACE INTO meta VALUES ('cursors_crc', ?)", (crc,))
        db.execute("INSERT INTO losses VALUES (1, 0, NULL, 0, 0, 0, 'gap', 'old')")


def test_books_of_an_earlier_version_begin_at_its_cursors(tmp_path):
    path = path_of(tmp_path)
    state_of_the_version_before(path, schema.checksum_of_cursors([("cloud", 7)]))
    with closing(State(path)) as state:
        state.check()
        assert state.accounts() == {"cloud": Account(7, 7)}
        assert all(row.at_ns == row.until_ns > 0 for row in state.losses())


def test_a_cursor_of_an_earlier_version_that_is_not_what_was_written_is_still_damage(tmp_path):
    path = path_of(tmp_path)
    state_of_the_version_before(path, schema.checksum_of_cursors([("cloud", 6)]))
    with closing(State(path)) as state, pytest.raises(LogError, match="damaged"):
        state.check()


def test_where_no_books_were_kept_yet_a_command_says_what_to_do(tmp_path):
    state_of_the_version_before(path_of(tmp_path), "")
    with History(tmp_path) as history, pytest.raises(ConfigError) as caught:
        history.books([])
    assert "gateway run" in caught.value.hint


@pytest.mark.parametrize("column", ["started", "forwarded", "filtered", "quarantined", "dropped", "lost"])
def test_a_flipped_bit_in_a_counter_is_damage(tmp_path, column):
    path = path_of(tmp_path)
    with closing(State(path)) as state:
        state.flush({"a": Account(9, 1, 2, 3, 4, 5, 6)}, [], 9, 1)
        state.check()
        execute(path, f"UPDATE cursors SET {column} = {column} + 8")
        with pytest.raises(LogError, match="damaged"):
            state.check()
