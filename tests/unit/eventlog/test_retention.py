"""Which segments may go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.eventlog.retention import DROPPED, EXPIRED, SegmentFacts, before, is_full, surplus


def segments(count, *, bytes_=100, events=10, age_s=0):
    """Segments of `events` each; every one is `age_s` older than the one after it."""
    return [
        SegmentFacts(1 + n * events, (n + 1) * events, bytes_, (count - 1 - n) * age_s * 10**9) for n in range(count)
    ]


def gone(facts, *, needed_from=10**9, bytes_max=0, age_s=0.0):
    found = before(surplus(facts, bytes_max=bytes_max, age_s=age_s), needed_from)
    return [each.segment.first_seq for each in found]


def test_without_limits_everything_stays():
    assert gone(segments(5, age_s=1_000_000)) == []


def test_the_oldest_go_until_the_rest_is_within_the_bytes():
    assert gone(segments(5), bytes_max=300) == [1, 11]
    assert gone(segments(5), bytes_max=299) == [1, 11, 21]
    assert gone(segments(5), bytes_max=500) == []


def test_those_go_that_are_older_than_the_age():
    assert gone(segments(5, age_s=10), age_s=25) == [1, 11]
    assert gone(segments(5, age_s=10), age_s=40) == []


def test_the_newest_stays_however_large_and_old_it_is():
    assert gone([SegmentFacts(1, 10, 10**12, 10**18)], bytes_max=1, age_s=1) == []
    assert gone(segments(3, age_s=500), bytes_max=1, age_s=1) == [1, 11]


def test_a_segment_with_one_event_that_somebody_needs_stays_and_so_does_all_after_it():
    assert gone(segments(5), bytes_max=1, needed_from=20) == [1]
    assert gone(segments(5), bytes_max=1, needed_from=21) == [1, 11]
    assert gone(segments(5), bytes_max=1, needed_from=1) == []


def test_an_empty_segment_that_is_not_the_newest_counts_as_old():
    facts = [SegmentFacts(1, 0, 100, 2**63 - 1), SegmentFacts(1, 10, 100, 0)]
    assert gone(facts, age_s=10) == [1]


def test_each_goes_for_a_cause():
    facts = segments(4, age_s=10)
    assert [each.cause for each in surplus(facts, bytes_max=150, age_s=25)] == [EXPIRED, DROPPED, DROPPED]


def test_a_log_is_full_when_what_somebody_needs_is_more_than_the_limit():
    facts = segments(5)
    assert is_full(facts, needed_from=11, bytes_max=399)
    assert not is_full(facts, needed_from=11, bytes_max=400)
    assert not is_full(facts, needed_from=51, bytes_max=1)
    assert not is_full(facts, needed_from=1, bytes_max=0)


def test_of_no_segments_none_go():
    assert gone([], bytes_max=1) == []


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 1000), st.integers(0, 2000)), max_size=8),
    st.integers(0, 500),
    st.integers(0, 3000),
    st.integers(0, 1000),
)
def test_what_goes_is_a_run_from_the_oldest_that_nobody_needs(shapes, needed_from, bytes_max, age_s):
    facts, first = [], 1
    for events, bytes_, newest_s in shapes:
        facts.append(SegmentFacts(first, first + events - 1, bytes_, newest_s * 10**9))
        first += events
    found = gone(facts, needed_from=needed_from, bytes_max=bytes_max, age_s=age_s)
    assert found == [segment.first_seq for segment in facts[: len(found)]]
    assert all(segment.last_seq < needed_from for segment in facts[: len(found)])
    assert len(found) < max(1, len(facts))
