"""The window on the end of the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.eventlog.recent import Recent
from tests.unit.eventlog.logs import event


def window(*commits, bytes_max=10**6, bytes_each=100):
    """Commits of so many events, numbered on from 11."""
    recent, seq = Recent(bytes_max), 11
    for count in commits:
        recent.add([event(n) for n in range(seq, seq + count)], bytes_each * count)
        seq += count
    return recent


def seqs(events):
    return None if events is None else [each.seq for each in events]


def test_an_empty_window_reaches_back_to_nothing():
    assert Recent(100).read(0, 10) is None


def test_what_came_before_the_window_has_to_be_read_from_the_disk():
    assert window(3).read(9, 10) is None
    assert seqs(window(3).read(10, 10)) == [11, 12, 13]


def test_a_read_crosses_commits():
    assert seqs(window(2, 3, 1).read(11, 10)) == [12, 13, 14, 15, 16]


def test_a_read_ends_at_its_limit():
    assert seqs(window(2, 3, 1).read(10, 4)) == [11, 12, 13, 14]
    assert seqs(window(2, 3, 1).read(12, 1)) == [13]


def test_beyond_the_newest_event_there_is_nothing():
    assert window(2).read(12, 10) == []
    assert window(2).read(99, 10) == []


def test_whole_commits_are_forgotten_oldest_first():
    recent = window(2, 2, 2, bytes_max=450)
    assert recent.read(10, 10) is None
    assert recent.read(11, 10) is None
    assert seqs(recent.read(12, 10)) == [13, 14, 15, 16]


def test_the_newest_commit_stays_however_large_it_is():
    assert seqs(window(2, 9, bytes_max=0).read(12, 100)) == list(range(13, 22))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 60), st.integers(1, 60), st.integers(0, 30))
def test_a_window_answers_like_the_list_or_not_at_all(commits, after_seq, events_max, bytes_max):
    everything = list(range(11, 11 + sum(commits)))
    found = window(*commits, bytes_max=bytes_max, bytes_each=1).read(after_seq, events_max)
    assert found is None or seqs(found) == [seq for seq in everything if seq > after_seq][:events_max]
    if after_seq >= everything[-1]:
        assert found == []
