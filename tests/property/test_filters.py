"""Which filters a set of grants contains, against the definition: every topic there is, tried one by one.

The alphabet is small and has what is special: the empty level and one that begins with '$'. A level that no filter
names stands for all the others, and topics go one level deeper than any filter.
"""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.broker.filters import Grants, covers
from gateway.topics import is_valid_filter, matches

LEVELS = ("a", "b", "", "$x")
DEPTH_MAX = 3
TOPICS = [
    "/".join(levels)
    for depth in range(1, DEPTH_MAX + 2)
    for levels in itertools.product((*LEVELS, "other"), repeat=depth)
    if levels != ("",)
]
PAIRS = 10_000


def a_filter(dice: random.Random) -> str:
    while True:
        levels = dice.choices((*LEVELS, "+", "+"), k=dice.randint(1, DEPTH_MAX))
        if dice.random() < 0.4:
            levels[-1] = "#"
        topic_filter = "/".join(levels)
        if is_valid_filter(topic_filter):
            return topic_filter


class Oracle:
    """Contains, by the definition."""

    def __init__(self) -> None:
        self._matched: dict[str, frozenset[str]] = {}

    def topics_of(self, topic_filter: str) -> frozenset[str]:
        found = self._matched.get(topic_filter)
        if found is None:
            found = frozenset(topic for topic in TOPICS if matches(topic_filter, topic))
            self._matched[topic_filter] = found
        return found

    def covers(self, grants: list[str], topic_filter: str) -> bool:
        granted = frozenset().union(*(self.topics_of(grant) for grant in grants))
        return self.topics_of(topic_filter) <= granted


@pytest.mark.parametrize("grants_max", [1, 4], ids=["one grant", "up to four grants together"])
def test_a_filter_is_granted_exactly_if_every_topic_it_matches_is(grants_max: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    dice, oracle = random.Random(seed), Oracle()
    answers = {True: 0, False: 0}
    for _ in range(PAIRS):
        grants = [a_filter(dice) for _ in range(dice.randint(1, grants_max))]
        # half of them near a grant, so that both answers are common
        wanted = a_filter(dice) if dice.random() < 0.5 else narrowed(dice, dice.choice(grants))
        expected = oracle.covers(grants, wanted)
        assert covers(grants, wanted) == expected, f"seed {seed}: {grants} {wanted!r}"
        answers[expected] += 1
    assert min(answers.values()) > PAIRS // 10, answers


def narrowed(dice: random.Random, topic_filter: str) -> str:
    """Something like it: a wildcard may have become a level, the end may be open or closed."""
    levels = [dice.choice(("+", *LEVELS)) if level == "+" else level for level in topic_filter.split("/")]
    if levels[-1] == "#":
        levels[-1:] = dice.choice((["#"], ["+"], ["a", "#"], [""], []))
    narrow = "/".join(levels)
    return narrow if is_valid_filter(narrow) else topic_filter


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=500, deadline=None)
@given(st.lists(texts.filter(is_valid_filter), max_size=4), texts.filter(is_valid_filter))
def test_grants_match_a_topic_exactly_if_one_of_them_does(filters: list[str], topic: str) -> None:
    topic = topic.replace("+", "x").replace("#", "y")
    assert Grants(filters).matches(topic) == any(matches(each, topic) for each in filters)
    assert covers(filters, topic) == Grants(filters).matches(topic)
