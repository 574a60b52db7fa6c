"""How often somebody may fail, and whose turn is next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.broker.throttle import Failures, Line, source_of
from tests.unit.broker.ports import Now


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::1", "::1"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_network_is_one_source_unless_neighbours_share_it(address: str, source: str) -> None:
    assert source_of(address) == source


def test_so_many_failures_at_once_and_then_so_many_a_minute() -> None:
    now = Now()
    failures = Failures(6, 10, now)
    for _ in range(6):
        assert not failures.exhausted("a")
        failures.note("a")
    assert failures.exhausted("a")
    assert not failures.exhausted("b")
    now.seconds += 9.9
    assert failures.exhausted("a")
    now.seconds += 0.2
    assert not failures.exhausted("a")
    failures.note("a")
    assert failures.exhausted("a")
    now.seconds += 59
    assert failures.has_failed("a")
    now.seconds += 2
    assert not failures.has_failed("a")
    assert len(failures) == 0


def test_the_table_is_bounded_and_forgets_who_failed_longest_ago() -> None:
    failures = Failures(1, 3, Now())
    for key in "abcad":
        failures.note(key)
    assert [failures.has_failed(key) for key in "abcd"] == [True, False, True, True]
    assert len(failures) == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())), st.integers(1, 5))
def test_a_line_is_bounded_loses_nobody_and_each_source_is_served_in_order(
    story: list[tuple[str, bool]], length_max: int
) -> None:
    line: Line[tuple[str, int]] = Line(length_max)
    waiting: list[tuple[str, int]] = []
    for number, (source, is_taken) in enumerate(story):
        before = len(waiting)
        waiting.append((source, number))
        out = line.add(source, (source, number))
        assert (out is not None) == (before == length_max)
        if out is not None:
            crowd = [each for each in waiting if each[0] == out[0]]
            assert out == crowd[-1]
            assert all(len(crowd) >= sum(each[0] == other for each in waiting) for other in "abc")
            waiting.remove(out)
        if is_taken:
            one = line.take()
            assert one is not None
            assert one == next(each for each in waiting if each[0] == one[0])
            waiting.remove(one)
        assert len(line) == len(waiting) <= length_max
    taken = []
    while (one := line.take()) is not None:
        taken.append(one)
    assert sorted(taken) == sorted(waiting)


def test_sources_take_turns() -> None:
    line: Line[str] = Line(100)
    for one in ("a1", "a2", "a3", "b1", "c1", "b2"):
        line.add(one[0], one)
    assert [line.take() for _ in range(7)] == ["a1", "b1", "c1", "a2", "b2", "a3", None]
