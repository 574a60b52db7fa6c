"""Finding events by their true time: exactly those that a look at each event finds, with a look at few of them."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import Anchor
from gateway.eventlog import segment, times
from gateway.eventlog.boots import Boots
from gateway.eventlog.reader import LogReader
from gateway.eventlog.segment import Segment
from tests.unit.eventlog.logs import WALL_NS, event, fill, opened, put

S = 10**9
YEAR = 365 * 86_400 * S


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An empty segment: to copy it costs no fsync."""
    Segment.create(tmp_path_factory.mktemp("template"), 1, {}, []).close()
    return next(tmp_path_factory.getbasetemp().glob("template*/*.db"))


@pytest.fixture
def store(template, tmp_path):
    """Make a folder of segments of these events, `per_segment` each."""
    return partial(store_in, template, tmp_path)


def store_in(template, folder, events, per_segment):
    boots = {name: number for number, name in enumerate(dict.fromkeys(each.boot_id for each in events))}
    for at in range(0, len(events), per_segment):
        part = events[at : at + per_segment]
        path = segment.path_of(folder, part[0].seq)
        shutil.copy(template, path)
        with closing(sqlite3.connect(path)) as db, db:
            db.executemany("INSERT INTO boots VALUES (?, ?, 0, 0)", [(id_, name) for name, id_ in boots.items()])
            db.execute("INSERT INTO topics VALUES (1, 'dev/t')")
            db.execute("INSERT INTO clients VALUES (1, 'dev')")
            rows = [(each.seq, each.received_ns, each.mono_ns, boots[each.boot_id]) for each in part]
            db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, 1, 1, 1, NULL, NULL, x'78', NULL)", rows)
    return folder


def heard(seq, boot, mono_s, wall_s):
    return event(seq, boot_id=boot, mono_ns=mono_s * S, received_ns=wall_s * S)


moments = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, 0, 0, 0, 500, -500, 10**6])), max_size=30)
"""Of the events of a boot: seconds since the one before, and a step of the wall clock between the two."""
anchors = st.lists(st.tuples(st.integers(0, 300), st.sampled_from([0, 500, 10**6])), max_size=3)


@st.composite
def logs(draw):
    """Events of up to four boots, whose clocks may have been set or stepped at any time, or never."""
    events, known = [], []
    begun_s = 0
    for number in range(draw(st.integers(1, 4))):
        boot = f"boot-{number}"
        known += [(boot, Anchor(at * S, (begun_s + step) * S, "kernel")) for at, step in sorted(draw(anchors))]
        mono_s, wall_s = 0, begun_s
        for wait_s, step_s in draw(moments):
            mono_s += wait_s
            wall_s += wait_s + step_s
            events.append(heard(len(events) + 1, boot, mono_s, max(0, wall_s)))
        begun_s += draw(st.sampled_from([0, 1000]))
    return events, Boots("boot-3", known)


@settings(max_examples=60, deadline=None)
@given(
    log=logs(),
    per_segment=st.integers(1, 20),
    begin_s=st.one_of(st.none(), st.integers(0, 3000)),
    end_s=st.one_of(st.none(), st.integers(0, 3000)),
)
def test_what_is_found_holds_every_event_of_the_time(template, log, per_segment, begin_s, end_s):
    """Steps that nobody noticed and that end where they began are the only thing that is not seen."""
    events, boots = log
    begin_ns, end_ns = (None if each is None else each * S for each in (begin_s, end_s))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store_in(template, folder, events, per_segment)
        with closing(LogReader(folder)) as reader:
            found = list(times.spans(reader, boots, begin_ns, end_ns, 1, len(events)))
            first = None if begin_ns is None else times.seq_at(reader, boots, begin_ns, len(events))
            stretches = list(times._stretches(reader, 1, len(events)))
    in_them = {seq for span in found for seq in range(span.first, span.last + 1)}
    wanted = {
        each.seq
        for each in events
        if (begin_ns is None or boots.of(each)[0] >= begin_ns) and (end_ns is None or boots.of(each)[0] <= end_ns)
    }
    unseen = {each.seq for stretch in stretches for each in hidden(events, boots, stretch)}
    assert wanted - unseen <= in_them
    assert [span.first for span in found] == sorted(span.first for span in found)
    if first is not None and not unseen:
        later = [each.seq for each in events if boots.of(each)[0] >= begin_ns]
        assert first == (later[0] if later else len(events) + 1)


def hidden(events, boots, stretch):
    """Events whose clock was stepped after the first event of their stretch, and back before the last one."""
    inside = events[stretch.first.seq - 1 : stretch.last.seq]
    offsets = [boots.of(each)[0] - each.mono_ns for each in inside]
    ends = offsets[0], offsets[-1]
    return [
        each
        for each, offset in zip(inside, offsets, strict=True)
        if not min(ends) - times.SLACK_NS <= offset <= max(ends) + times.SLACK_NS
    ]


class CountingReader(LogReader):
    looks = 0

    def stamped(self, *args, **kwargs):
        self.looks += 1
        return super().stamped(*args, **kwargs)


def test_few_events_are_looked_at(store, tmp_path):
    events = [event(seq, mono_ns=seq * S, received_ns=WALL_NS + seq * S) for seq in range(1, 2001)]
    store(events, 500)
    with closing(CountingReader(tmp_path)) as reader:
        found = list(times.spans(reader, Boots(""), WALL_NS + 1000 * S, WALL_NS + 1000 * S, 1, 2000))
        assert [(span.first, span.last) for span in found] == [(998, 1000), (1001, 1002)]
        assert reader.looks < 60
        assert times.seq_at(reader, Boots(""), WALL_NS + 700 * S, 2000) == 700


@pytest.mark.parametrize(("time_s", "seq"), [(0, 1), (5, 5), (6, 6), (11, 11)])
def test_the_first_event_of_a_time_is_found(store, tmp_path, time_s, seq):
    store([heard(each, "boot", each, each) for each in range(1, 11)], 4)
    with closing(LogReader(tmp_path)) as reader:
        assert times.seq_at(reader, Boots(""), time_s * S, 10) == seq


def test_a_boot_whose_clock_was_never_set_does_not_hide_the_ones_around_it(store, tmp_path):
    events = [heard(seq, "first", seq, 1000 + seq) for seq in range(1, 11)]
    events += [heard(seq, "unset", seq, seq) for seq in range(11, 21)]
    events += [heard(seq, "third", seq, 2000 + seq) for seq in range(21, 31)]
    store(events, 30)
    with closing(LogReader(tmp_path)) as reader:
        assert times.seq_at(reader, Boots(""), 1009 * S, 30) == 9
        assert times.seq_at(reader, Boots(""), 2000 * S, 30) == 21
        assert times.bounds(reader, Boots(""), 11 * S, 20 * S, 1, 30) == (11, 20)
        assert times.bounds(reader, Boots(""), 5000 * S, None, 1, 30) is None


def test_events_are_found_by_the_time_that_was_worked_out_later(store, tmp_path):
    """The clock showed 1970 until it was set."""
    events = [heard(seq, "boot", seq, seq) for seq in range(1, 11)]
    events += [heard(seq, "boot", seq, 5000 + seq) for seq in range(11, 21)]
    store(events, 20)
    boots = Boots("boot", [("boot", Anchor(10 * S, 5000 * S, "kernel"))])
    with closing(LogReader(tmp_path)) as reader:
        assert times.seq_at(reader, boots, 5003 * S, 20) == 3
        assert times.bounds(reader, boots, 5003 * S, 5003 * S, 1, 20) == (1, 5)


def test_a_step_there_and_back_that_was_noticed_hides_nothing(store, tmp_path):
    events = [heard(seq, "boot", 10 * seq, 10 * seq + (9000 if 5 <= seq <= 8 else 0)) for seq in range(1, 13)]
    store(events, 12)
    known = [("boot", Anchor(at * S, offset * S, "kernel")) for at, offset in ((0, 0), (45, 9000), (85, 0))]
    with closing(LogReader(tmp_path)) as reader:
        assert times.seq_at(reader, Boots("boot", known), 9000 * S, 12) == 5


async def test_a_log_that_runs_is_asked_in_its_reading_thread(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 10)
        assert await log._reading.seq_at(0, log.head) == 1
        assert await log._reading.seq_at(WALL_NS + YEAR, log.head) == 11
        assert await log._reading.bounds(WALL_NS, None, 3, 7) == (3, 7)


async def test_an_empty_log_has_no_event_of_any_time(tmp_path):
    async with opened(tmp_path) as log:
        assert await log._reading.seq_at(0, log.head) == 1
        assert await log._reading.bounds(None, None, 1, log.head) is None
        put(log)
        await log.intake.settled()
        assert await log._reading.bounds(None, None, 1, log.head) == (1, 1)
