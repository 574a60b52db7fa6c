"""Topics and filters against the examples of MQTT 3.1.1 section 4.7, and the index against `matches`."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.topics import FilterIndex, is_valid_filter, is_valid_topic, matches

_words = st.sampled_from(["", "a", "b", "$SYS", "é"])
_topics = st.lists(_words, min_size=1, max_size=4).map("/".join).filter(bool)
_filters = (
    st.tuples(st.lists(st.one_of(_words, st.just("+")), max_size=4), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
)


@pytest.mark.parametrize("topic", ["a", "/", "a/b", "/a", "a//b", "$SYS/x", "Å" * 32_767, "x" * 65_535, " "])
def test_topic_is_valid(topic: str) -> None:
    assert is_valid_topic(topic)


@pytest.mark.parametrize("topic", ["", "a\0", "a/+", "#", "a#", "x" * 65_536, "Å" * 32_768, "\ud800"])
def test_topic_is_invalid(topic: str) -> None:
    assert not is_valid_topic(topic)


@pytest.mark.parametrize("topic_filter", ["#", "+", "a/#", "+/+", "/+", "+/a/#", "a", "/", "$SYS/#", "/#"])
def test_filter_is_valid(topic_filter: str) -> None:
    assert is_valid_filter(topic_filter)


@pytest.mark.parametrize(
    "topic_filter", ["", "a#", "a/#/b", "#/", "+a", "a+/b", "a/b\0", "##", "++", "\udfff", "x" * 65_536]
)
def test_filter_is_invalid(topic_filter: str) -> None:
    assert not is_valid_filter(topic_filter)


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1"),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
        ("sport/#", "sport"),
        ("#", "sport/tennis"),
        ("#", "/"),
        ("sport/tennis/+", "sport/tennis/player1"),
        ("sport/+", "sport/"),
        ("+/+", "/finance"),
        ("/+", "/finance"),
        ("$SYS/#", "$SYS/x"),
        ("$SYS/monitor/+", "$SYS/monitor/Clients"),
    ],
)
def test_filter_matches_topic(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic)


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("sport/tennis/+", "sport/tennis/player1/ranking"),
        ("sport/+", "sport"),
        ("+", "/finance"),
        ("#", "$SYS/x"),
        ("+/monitor/Clients", "$SYS/monitor/Clients"),
        ("a", "A"),
        ("a/b/#", "a"),
        ("a", "a/"),
    ],
)
def test_filter_does_not_match_topic(topic_filter: str, topic: str) -> None:
    assert not matches(topic_filter, topic)


@given(st.lists(_filters, max_size=12), st.lists(_filters, max_size=6), _topics)
@example(["#"], [], "$SYS")
@example(["a/#", "a"], ["a"], "a")
def test_index_finds_what_matches_and_forgets_what_is_removed(added: list[str], removed: list[str], topic: str) -> None:
    index: FilterIndex[str] = FilterIndex()
    for topic_filter in added:
        index.add(topic_filter, topic_filter)
    for topic_filter in removed:
        index.remove(topic_filter, topic_filter)
    left = set(added) - set(removed)

    assert Counter(index.match(topic)) == Counter(f for f in left if matches(f, topic))
    assert len(index) == len(left)
    assert bool(index) == bool(left)


@given(st.lists(_filters, max_size=12))
def test_index_without_filters_holds_no_memory(filters: list[str]) -> None:
    index: FilterIndex[int] = FilterIndex()
    for topic_filter in filters:
        index.add(topic_filter, 1)
    for topic_filter in filters:
        index.remove(topic_filter, 1)
    assert index._root.is_empty()


def test_index_keeps_several_values_under_one_filter() -> None:
    index: FilterIndex[int] = FilterIndex()
    index.add("a/+", 1)
    index.add("a/+", 2)
    index.add("a/+", 2)
    index.remove("a/+", 3)
    index.remove("b/c", 1)
    assert index.match("a/b") == [1, 2]
    assert len(index) == 2
