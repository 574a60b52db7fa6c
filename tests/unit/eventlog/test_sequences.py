"""What devices' own numbers tell, and that it is bounded however many there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.eventlog import losses, sequences
from gateway.eventlog.sequences import WELL, Last, Sequences, Told, look
from tests.unit.eventlog.logs import execute, opened, put


class Rows:
    """Fulfils what `Sequences` needs of the ledger."""

    def __init__(self):
        self.rows = []

    def note(self, cause, detail, seq, events):
        self.rows.append((cause, detail, seq, events))


@pytest.mark.parametrize(
    ("last", "number", "told"),
    [
        (Last(5, 0), 6, WELL),
        (Last(5, 0), 7, Told("device_gap", 1)),
        (Last(5, 1), 7, WELL),
        (Last(5, 1), 9, Told("device_gap", 2)),
        (Last(5, 9), 7, WELL),
        (Last(5, 0), 5, Told("device_repeat", 1)),
        (Last(5, 0), 4, Told("device_repeat", 1)),
        (Last(5, 0), 1, Told("device_restart", 0)),
        (Last(1, 0), 0, Told("device_restart", 0)),
        (Last(0, 0), 0, Told("device_repeat", 1)),
        (Last(12, 0), 9, Told("device_repeat", 1)),
        (Last(5000, 0), 9, Told("device_restart", 0)),
        (Last(5000, 0), 4000, Told("device_repeat", 1)),
    ],
)
def test_what_a_number_says_after_the_last_one(last, number, told):
    assert look(last, number) == told


def test_a_count_that_begins_anew_is_one_row_and_goes_on_from_there():
    ledger = Rows()
    counted = Sequences({}, 0, ledger)
    counted.note([(seq, "c", "d", number) for seq, number in enumerate([4998, 4999, 0, 1, 2, 3], 1)])
    assert ledger.rows == [("device_restart", "c: d", 3, 0)]


@given(st.lists(st.integers(0, 40), min_size=1))
def test_every_number_between_first_and_last_is_seen_or_missing(jumps):
    """Of a device that only ever counts up."""
    ledger, numbers = Rows(), [sum(jumps[: n + 1]) + n for n in range(len(jumps))]
    Sequences({}, 0, ledger).note([(seq, "c", "d", number) for seq, number in enumerate(numbers, 1)])
    missing = sum(row[3] for row in ledger.rows)
    assert len(numbers) + missing == numbers[-1] - numbers[0] + 1


def test_of_too_many_devices_those_silent_for_longest_are_forgotten():
    ledger = Rows()
    counted = Sequences({}, 0, ledger)
    counted.devices_max = 3
    counted.note([(1, "c", device, 5) for device in "abcad"])
    assert counted.take(1).rows == {("c", "b"): None, **{("c", each): Last(5, 0) for each in "cad"}}
    counted.note([(2, "c", "b", 50), (2, "c", "a", 7)])
    assert [row[:2] for row in ledger.rows] == [("device_repeat", "c: a"), ("device_gap", "c: a")]


def test_what_is_known_by_a_contract_that_is_not_in_force_is_forgotten():
    ledger = Rows()
    counted = Sequences({("old", "d"): Last(5, 0), ("c", "d"): Last(5, 0)}, 0, ledger)
    counted.keep_only({"c"})
    counted.note([(1, "old", "d", 50), (1, "c", "d", 6)])
    assert ledger.rows == []
    assert Sequences({("old", "d"): Last(5, 0)}, 0, ledger).take(1).rows == {}


def test_what_could_not_be_stored_is_stored_next_time():
    counted = Sequences({}, 3, Rows())
    counted.note([(4, "c", "a", 1), (4, "c", "b", 1)])
    taken = counted.take(4)
    counted.note([(5, "c", "a", 2)])
    counted.put_back(taken)
    assert counted.seq == 3
    assert counted.take(5).rows == {("c", "a"): Last(2, 0), ("c", "b"): Last(1, 0)}


def test_numbers_that_no_column_holds_are_none():
    ledger = Rows()
    counted = Sequences({}, 0, ledger)
    counted.note([(1, "c", "d", 1), (1, "c", "d", 2**63), (1, "c", "d", -1), (1, "c", "d", 2)])
    assert ledger.rows == []


async def test_counts_are_stored_with_the_cursors_and_a_row_that_a_bit_has_changed_is_left_out(tmp_path):
    async with opened(tmp_path) as log:
        put(log)
        for device in "ab":
            log.intake.note_number((1, "c", device, 7))
        await log.intake.settled()
    execute(tmp_path / "state.db", "UPDATE sequences SET number = 8 WHERE device = 'b'")
    async with opened(tmp_path) as log:
        assert log._state.sequences() == ({("c", "a"): Last(7, 0)}, 1)


@pytest.mark.parametrize("at_once", [1, 5, 12])
async def test_rows_of_devices_are_bounded(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(losses, "_ROWS_OF_DEVICES_MAX", 5)
    async with opened(tmp_path) as log:
        for number in range(12):
            log.ledger.note(losses.DEVICE_GAP, f"c: {number}", 1, 2**40)
            if (number + 1) % at_once == 0:
                await log.flush()
        await log.flush()
        rows = log._state.losses()
    assert [row.detail for row in rows] == ["several devices", *[f"c: {number}" for number in range(7, 12)]]
    assert sum(row.events for row in rows) == 12 * losses.EVENTS_MAX


def test_a_row_is_what_was_written():
    assert sequences.whole([sequences.to_row(("c", "d"), Last(5, 2))]) == {("c", "d"): Last(5, 2)}
