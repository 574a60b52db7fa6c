"""The true times of events, and how old they are."""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import Anchor
from gateway.errors import LogError
from gateway.eventlog.boots import ANCHORS_MAX, ANCHORS_PER_BOOT_MAX, Boots
from gateway.eventlog.state import State, StateReader, path_of
from tests.unit.eventlog.logs import WALL_NS, HandClock, event, execute, opened

S = 10**9
YEARS_30 = 30 * 365 * 86_400 * S
NOW, BEFORE = "boot-now", "boot-before"
RIGHT_NS = WALL_NS
"""Wall clock at the moment of the boot, as it should be."""


def heard(mono_s, offset_ns=RIGHT_NS, boot_id=NOW):
    """An event received `mono_s` after the boot, by a wall clock that is so far ahead of the time since boot."""
    return event(1, received_ns=mono_s * S + offset_ns, mono_ns=mono_s * S, boot_id=boot_id)


def boots(*anchors, boot_id=NOW):
    return Boots(NOW, [(boot_id, Anchor(mono_s * S, offset_ns, "kernel")) for mono_s, offset_ns in anchors])


def true(mono_s, offset_ns=RIGHT_NS):
    return mono_s * S + offset_ns


def test_without_a_set_clock_the_time_is_the_wall_clock_as_read():
    assert boots().of(heard(5, 0)) == (5 * S, "unsynced")
    assert boots((9, RIGHT_NS)).of(heard(5, 0, BEFORE)) == (5 * S, "unsynced")


def test_what_was_received_before_the_clock_was_set_is_corrected():
    known = boots((100, RIGHT_NS))
    assert known.of(heard(5, 0)) == (true(5), "corrected")
    assert known.of(heard(5, RIGHT_NS + YEARS_30)) == (true(5), "corrected")
    assert boots((100, RIGHT_NS), boot_id=BEFORE).of(heard(5, 0, BEFORE)) == (true(5), "corrected")


def test_what_was_received_with_the_right_clock_is_synced_whenever_that_was_noticed():
    known = boots((100, RIGHT_NS))
    assert known.of(heard(200)) == (true(200), "synced")
    assert known.of(heard(99)) == (true(99), "synced")
    small = RIGHT_NS + 900_000_000
    assert known.of(heard(200, small)) == (true(200, small), "synced")


def test_a_step_nobody_vouches_for_is_corrected():
    known = boots((100, RIGHT_NS))
    assert known.of(heard(200, RIGHT_NS + YEARS_30)) == (true(200), "corrected")
    assert known.of(heard(200, RIGHT_NS - YEARS_30)) == (true(200), "corrected")


def test_after_a_step_that_was_believed_each_event_keeps_the_time_of_its_moment():
    known = boots((100, RIGHT_NS), (200, RIGHT_NS + 60 * S), (300, RIGHT_NS))
    assert known.of(heard(50, 0)) == (true(50), "corrected")
    assert known.of(heard(150)) == (true(150), "synced")
    assert known.of(heard(199, RIGHT_NS + 60 * S)) == (true(199, RIGHT_NS + 60 * S), "synced")
    assert known.of(heard(250, RIGHT_NS + 60 * S)) == (true(250, RIGHT_NS + 60 * S), "synced")
    assert known.of(heard(299)) == (true(299), "synced")
    assert known.of(heard(250, 0)) == (true(250, RIGHT_NS + 60 * S), "corrected")
    assert known.of(heard(400)) == (true(400), "synced")


@given(st.lists(st.sampled_from([0, RIGHT_NS, RIGHT_NS + YEARS_30, RIGHT_NS - YEARS_30]), min_size=1, max_size=30))
def test_with_one_anchor_times_never_go_back_however_the_wall_clock_is_stepped(offsets):
    known = boots((10, RIGHT_NS))
    times = [known.of(heard(at, offset_ns))[0] for at, offset_ns in enumerate(offsets)]
    assert times == [true(at) for at in range(len(offsets))]


def test_a_clock_stepped_without_end_keeps_its_first_and_its_newest_anchors():
    known = boots(*((n, RIGHT_NS + n * 10 * S) for n in range(1, 1000)))
    assert known.of(heard(0, 0)) == (true(0, RIGHT_NS + 10 * S), "corrected")
    assert known.of(heard(990, RIGHT_NS + 9900 * S))[1] == "synced"
    assert len(known._anchors[NOW]) == ANCHORS_PER_BOOT_MAX


# --- ages ---


@pytest.mark.parametrize("anchors", [(), ((1, RIGHT_NS),), ((1, RIGHT_NS), (2, RIGHT_NS + YEARS_30))])
@pytest.mark.parametrize("offset_ns", [0, RIGHT_NS, RIGHT_NS + YEARS_30])
def test_within_a_boot_an_event_is_as_old_as_monotonic_time_says(anchors, offset_ns):
    assert boots(*anchors).age_ns(100 * S, NOW, 40 * S, 40 * S + offset_ns) == 60 * S


def test_an_event_of_an_earlier_boot_is_older_than_this_boot():
    assert boots().age_ns(100 * S, BEFORE, 40 * S, 0) == 100 * S
    assert boots((1, RIGHT_NS)).age_ns(100 * S, BEFORE, 40 * S, 0) == 100 * S
    assert boots((1, RIGHT_NS), boot_id=BEFORE).age_ns(100 * S, BEFORE, 40 * S, 0) == 100 * S


def test_with_both_clocks_set_the_age_goes_beyond_a_boot():
    anchors = [(BEFORE, Anchor(1, RIGHT_NS, "kernel")), (NOW, Anchor(1, RIGHT_NS + 5000 * S, "kernel"))]
    assert Boots(NOW, anchors).age_ns(100 * S, BEFORE, 40 * S, 0) == (5000 + 100 - 40) * S


@pytest.mark.parametrize("step_ns", [YEARS_30, -YEARS_30])
def test_a_step_makes_no_event_of_an_earlier_boot_older(step_ns):
    anchors = [(BEFORE, Anchor(1, RIGHT_NS, "kernel")), (NOW, Anchor(1, RIGHT_NS + 5000 * S, "kernel"))]
    known = Boots(NOW, anchors)
    before = known.age_ns(100 * S, BEFORE, 40 * S, 0)
    known.add(Anchor(2, RIGHT_NS + 5000 * S + step_ns, "kernel"))
    assert 100 * S <= known.age_ns(100 * S, BEFORE, 40 * S, 0) <= before


# --- on disk ---


async def test_an_anchor_outlives_the_process(tmp_path):
    anchor = Anchor(7, RIGHT_NS, "kernel")
    async with opened(tmp_path) as log:
        assert log.boots.newest() is None
        await log.keep_anchor(anchor)
        assert log.boots.newest() == anchor
    with closing(StateReader(path_of(tmp_path))) as reader:
        assert reader.anchors() == [(HandClock.boot_id, anchor)]
    async with opened(tmp_path) as log:
        assert log.boots.newest() == anchor


async def test_an_anchor_that_cannot_be_stored_is_not_used(tmp_path):
    async with opened(tmp_path) as log:
        execute(path_of(tmp_path), "ALTER TABLE anchors RENAME TO away")
        with pytest.raises(LogError):
            await log.keep_anchor(Anchor(7, RIGHT_NS, "kernel"))
        assert log.boots.newest() is None
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO anchors")


def test_of_one_boot_the_first_and_the_newest_are_kept_and_other_boots_stay(tmp_path):
    with closing(State(tmp_path / "state.db")) as state:
        state.keep_anchor(BEFORE, Anchor(1, 1, "kernel"))
        for n in range(100):
            state.keep_anchor(NOW, Anchor(n, n, "kernel"))
        kept = [anchor.mono_ns for boot_id, anchor in state.anchors() if boot_id == NOW]
        assert kept == [0, *range(100 - ANCHORS_PER_BOOT_MAX + 1, 100)]
        assert state.anchors()[0] == (BEFORE, Anchor(1, 1, "kernel"))


def test_so_many_boots_are_kept_and_no_more(tmp_path):
    with closing(State(tmp_path / "state.db")) as state:
        rows = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ANCHORS_MAX + 10}) "
        execute(state.path, f"{rows}INSERT INTO anchors SELECT NULL, 'boot-' || i, 1, 1, 'kernel', 0 FROM n")
        state.keep_anchor(NOW, Anchor(1, 1, "kernel"))
        assert state._look("SELECT count(*) FROM anchors") == [(ANCHORS_MAX,)]
        assert state.anchors() == [(NOW, Anchor(1, 1, "kernel"))]


@pytest.mark.parametrize("damage", ["offset_ns = offset_ns + 1", "mono_ns = 'x'", "boot_id = 'other'"])
def test_an_anchor_that_is_not_what_was_written_is_not_believed(tmp_path, damage):
    with closing(State(tmp_path / "state.db")) as state:
        state.keep_anchor(NOW, Anchor(1, RIGHT_NS, "kernel"))
        execute(state.path, f"UPDATE anchors SET {damage}")
        assert state.anchors() == []


def test_a_state_that_knows_nothing_of_clocks_can_be_read(tmp_path):
    with closing(State(tmp_path / "state.db")) as state:
        execute(state.path, "DROP TABLE anchors")
        with closing(StateReader(state.path)) as reader:
            assert reader.anchors() == []
