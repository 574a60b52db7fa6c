"""Events of some topics are found across segments, quickly and whatever damage hides."""

from __future__ import annotations

from contextlib import closing

import pytest

from gateway.eventlog import finding
from gateway.eventlog.damage import Damaged
from gateway.eventlog.reader import UNSURE_FROM, LogReader
from gateway.eventlog.segment import Segment, path_of
from gateway.eventlog.segment_reader import SALVAGED
from tests.unit.eventlog.logs import event, execute, opened, power_cut, put, seqs
from tests.unit.eventlog.test_reader import store


def alarms(topic):
    return topic.startswith("alarms/")


def run(first, last, every=4):
    return [
        event(seq, topic="alarms/fire" if seq % every == 0 else f"plant/{seq % 3}") for seq in range(first, last + 1)
    ]


@pytest.fixture
def folder(tmp_path):
    """Four segments: 1-10, 11-20 without an alarm, 21-30, 31-40."""
    for first, last, every in ((1, 10, 4), (11, 20, 1000), (21, 30, 4), (31, 40, 4)):
        store(tmp_path, first, run(first, last, every))
    return tmp_path


@pytest.fixture
def reader(folder):
    with closing(LogReader(folder)) as reader:
        yield reader


def find_all(reader, last_seq=40, events_max=1000):
    found, at, steps = [], 0, 0
    while at < last_seq:
        events, seen = reader.find(at, last_seq, alarms, events_max)
        assert seen > at
        assert all(at < each.seq <= seen for each in events)
        found += events
        at, steps = seen, steps + 1
    return found, steps


def test_all_events_of_the_topics_are_found_and_no_other(reader):
    found, steps = find_all(reader)
    assert found == [each for each in [*run(1, 10), *run(21, 40)] if alarms(each.topic)]
    assert steps == 4


@pytest.mark.parametrize("events_max", [1, 2, 3])
def test_no_more_are_given_than_wanted_and_none_is_passed(reader, events_max):
    found, _ = find_all(reader, events_max=events_max)
    assert seqs(found) == [4, 8, 24, 28, 32, 36, 40]


def test_nothing_is_found_beyond_the_end(reader):
    assert seqs(find_all(reader, last_seq=30)[0]) == [4, 8, 24, 28]


def test_a_gap_behind_a_segment_is_stepped_over_at_once_however_long_it_is(tmp_path):
    above = 10**13  # as far as a log may go on above a backup that it was restored from
    store(tmp_path, 1, run(1, 10))
    store(tmp_path, above, run(above, above + 3), {UNSURE_FROM: "11"})
    with closing(LogReader(tmp_path)) as reader:
        found, _ = find_all(reader, last_seq=above + 3)
    assert seqs(found) == [4, 8, above]


def test_a_long_segment_is_looked_through_in_steps(reader, monkeypatch):
    monkeypatch.setattr(finding, "_STEP", 3)
    assert seqs(find_all(reader)[0]) == [4, 8, 24, 28, 32, 36, 40]


def test_many_bytes_are_given_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "_BYTES_MAX", 25)
    store(tmp_path, 1, [event(seq, bytes(10), topic="alarms/fire") for seq in range(1, 8)])
    with closing(LogReader(tmp_path)) as reader:
        first, seen = reader.find(0, 7, alarms, 100)
        assert (seqs(first), seen) == ([1, 2], 2)
        assert seqs(find_all(reader, last_seq=7)[0]) == [*range(1, 8)]


def test_a_topic_that_comes_later_is_found(tmp_path):
    store(tmp_path, 1, run(1, 3))
    with closing(LogReader(tmp_path)) as reader, closing(Segment.open(path_of(tmp_path, 1))) as segment:
        assert reader.find(0, 3, alarms, 10) == ([], 3)
        segment.append_runs([run(4, 6)])
        assert seqs(reader.find(3, 6, alarms, 10)[0]) == [4]


@pytest.mark.parametrize("gone", [2, 8, 9, 25, 40])
def test_a_number_that_damage_hides_is_not_passed(folder, gone):
    first = max(each for each in (1, 21, 31) if each <= gone)
    execute(path_of(folder, first), f"DELETE FROM events WHERE seq BETWEEN {gone} AND {gone + (gone == 9)}")
    with closing(LogReader(folder)) as reader:
        if gone == 40:  # the end of the newest segment is told by the head, not by the file
            assert seqs(find_all(reader)[0])[-1] == 36
        else:
            with pytest.raises(Damaged):
                find_all(reader)


def test_numbers_that_a_salvaged_segment_lacks_are_passed(folder):
    execute(
        path_of(folder, 21),
        "DELETE FROM events WHERE seq IN (22, 24, 30)",
        f"INSERT INTO meta VALUES ('{SALVAGED}', '')",
    )
    with closing(LogReader(folder)) as reader:
        assert seqs(find_all(reader)[0]) == [4, 8, 28, 32, 36, 40]


def test_the_topic_of_an_event_is_checked_with_the_rest_of_it(folder):
    execute(path_of(folder, 21), "UPDATE topics SET name = 'alarms/water' WHERE name = 'alarms/fire'")
    with closing(LogReader(folder)) as reader, pytest.raises(Damaged, match="checksum of event 24"):
        find_all(reader)


async def test_the_newest_events_are_found_in_memory_and_older_ones_on_disk(tmp_path):
    async with opened(tmp_path, recent_bytes_max=10**6) as log:
        for seq in range(1, 101):
            put(log, topic="alarms/fire" if seq % 10 == 0 else "plant/t")
        await log.intake.settled()
        found = await log.matching.read(0, 100, alarms, 3)
        assert (seqs(found.events), found.seq) == ([10, 20, 30], 30)
        found = await log.matching.read(30, 95, alarms, 100)
        assert (seqs(found.events), found.seq) == ([40, 50, 60, 70, 80, 90], 95)
        left = await power_cut(log, tmp_path / "copy")
    async with opened(left) as log:
        found = await log.matching.read(30, 95, alarms, 100)
        assert (seqs(found.events), found.seq) == ([40, 50, 60, 70, 80, 90], 95)


async def test_what_is_damaged_is_mended_on_the_way(tmp_path):
    async with opened(tmp_path) as log:
        for seq in range(1, 41):
            put(log, bytes(4000), topic="alarms/fire" if seq % 5 == 0 else "plant/t")
            await log.intake.settled()
    first = min(path_of(tmp_path / "log", 1).parent.glob("*.db"))
    execute(first, "DELETE FROM events WHERE seq = 5")
    async with opened(tmp_path) as log:
        at, found = 0, []
        while at < log.head:
            events, at = await log.matching.read(at, log.head, alarms, 100)
            found += seqs(events)
        assert found == [10, 15, 20, 25, 30, 35, 40]
        (line,) = await log.books()
        assert (line.lost, line.balances) == (1, True)
