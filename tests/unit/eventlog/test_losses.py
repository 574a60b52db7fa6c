"""The loss ledger: what it says, and that it stays small."""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LogError
from gateway.eventlog import losses
from gateway.eventlog.losses import DAMAGED, GAP, Loss, Span, count_in, ledger, record, without
from gateway.eventlog.retention import DROPPED
from gateway.eventlog.state import State, path_of
from tests.unit.eventlog.logs import execute

DAY_NS = 24 * 3600 * 10**9
NOW_NS = 1_700_000_000 * 10**9
spans = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda n: Span(n[0], sum(n))), max_size=6)


def dropped(number, at_ns=NOW_NS, upstream="a"):
    return Loss(at_ns, upstream, number * 10, number * 10 + 9, 10, DROPPED, "retention", at_ns)


@pytest.fixture
def state(tmp_path):
    with closing(State(path_of(tmp_path))) as state:
        yield state


def book(state, *rows):
    state.flush({}, [], 0, 0, lost=rows)
    return [row for row in state.losses() if row.cause == DROPPED]


@given(spans, spans)
def test_what_is_known_is_left_out(some, known):
    numbers = {number for span in some for number in range(span.first, span.last + 1)}
    numbers -= {number for span in known for number in range(span.first, span.last + 1)}
    found = without(some, known)
    assert {number for span in found for number in range(span.first, span.last + 1)} == numbers
    assert found == sorted(found)


def test_numbers_in_runs_are_counted():
    assert count_in([Span(1, 3), Span(7, 7), Span(9, 20)], 2, 10) == 5
    assert count_in([], 1, 10) == 0


def test_what_is_dropped_again_within_a_day_continues_a_row(state):
    assert book(state, dropped(1), dropped(1, upstream="b")) == [dropped(1), dropped(1, upstream="b")]
    later = NOW_NS + DAY_NS - 1
    assert book(state, dropped(2, later)) == [
        Loss(NOW_NS, "a", 10, 29, 20, DROPPED, "retention", later),
        dropped(1, upstream="b"),
    ]
    assert book(state, dropped(3, NOW_NS + DAY_NS))[-1] == dropped(3, NOW_NS + DAY_NS)


def test_a_clock_that_is_set_back_begins_a_row(state):
    book(state, dropped(1))
    assert len(book(state, dropped(2, NOW_NS - 1))) == 2


def test_years_of_dropping_stay_within_the_rows_there_may_be(state, monkeypatch):
    monkeypatch.setattr(losses, "_ROWS_MAX", 20)
    for day in range(100):
        rows = book(state, dropped(day, NOW_NS + day * DAY_NS))
    assert len(rows) == 20
    assert sum(row.events for row in rows) == 1000
    assert (rows[0].first_seq, rows[0].last_seq, rows[0].at_ns) == (0, 809, NOW_NS)
    assert rows[-1] == dropped(99, NOW_NS + 99 * DAY_NS)


def test_numbers_are_recorded_once_whatever_the_cause(state):
    assert record(state.path, [Span(5, 9)], DAMAGED, "why", NOW_NS) == [Span(5, 9)]
    book(state, dropped(0))
    assert record(state.path, [Span(1, 20)], GAP, "why", NOW_NS) == [Span(1, 4), Span(10, 20)]
    found = [row[2:6] for row in ledger(state.path) if row.upstream is None]
    assert found == [(5, 9, 5, DAMAGED), (1, 4, 0, GAP), (10, 20, 0, GAP)]


def test_reading_the_ledger_writes_nothing(tmp_path):
    path = path_of(tmp_path)
    with closing(State(path)):
        pass
    record(path, [Span(1, 2)], DAMAGED, "why", NOW_NS)
    before = {each: each.read_bytes() for each in tmp_path.iterdir() if each.suffix == ".db"}
    assert len(ledger(path)) == 1
    assert {each: each.read_bytes() for each in tmp_path.iterdir() if each.suffix == ".db"} == before


def test_a_ledger_that_is_gone_is_an_error(state):
    execute(state.path, "DROP TABLE losses")
    with pytest.raises(LogError, match="cannot be read"):
        ledger(state.path)
    with pytest.raises(LogError):
        record(state.path, [Span(1, 2)], DAMAGED, "why", NOW_NS)
