"""Which messages are remembered, and how many."""

from __future__ import annotations

from gateway.ingest.repeats import Repeats


def known(repeats, count):
    return [n for n in range(count) if repeats.is_known("dev", "t", b"%04d" % n)]


def test_the_newest_messages_are_remembered_up_to_either_limit():
    few, small = Repeats(3, 10**6), Repeats(100, 3 * 5)
    for repeats in (few, small):
        for n in range(10):
            repeats.add("dev", "t", b"%04d" % n)
        assert known(repeats, 10) == [7, 8, 9]


def test_a_message_that_comes_again_is_remembered_longer_and_counted_once():
    repeats = Repeats(3, 10**6)
    for n in (1, 2, 3, 1, 4):
        repeats.add("dev", "t", b"%04d" % n)
    assert known(repeats, 10) == [1, 3, 4]
    assert repeats.suppressed == 3


def test_a_limit_of_none_remembers_none():
    repeats = Repeats(0, 0)
    repeats.add("dev", "t", b"x")
    assert not repeats.is_known("dev", "t", b"x")
