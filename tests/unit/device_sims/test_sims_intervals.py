"""The set of numbers, against Python's own."""

from hypothesis import given
from hypothesis import strategies as st

from device_sims.intervals import IntervalSet


@given(st.lists(st.integers(1, 40)))
def test_it_holds_what_a_set_holds(numbers):
    ours, theirs = IntervalSet(), set()
    for number in numbers:
        assert ours.add(number) == (number not in theirs)
        theirs.add(number)
    assert len(ours) == len(theirs)
    assert [number for number in range(42) if number in ours] == sorted(theirs)


@given(st.permutations(range(1, 30)))
def test_numbers_without_gaps_are_one_interval_in_whatever_order_they_came(numbers):
    ours = IntervalSet()
    for number in numbers:
        ours.add(number)
    assert (ours._starts, ours._ends) == ([1], [29])
