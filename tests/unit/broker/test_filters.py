"""Examples of what a filter contains; the proof is tests/property/test_filters.py."""

from __future__ import annotations

import pytest

from gateway.broker.filters import Grants, covers


@pytest.mark.parametrize(
    ("grants", "topic_filter"),
    [
        (["#"], "#"),
        (["#"], "a/+/b/#"),
        (["+/#"], "#"),
        (["a/#"], "a"),
        (["a/#"], "a/+/b"),
        (["a/+"], "a/"),
        (["$x/#"], "$x/a"),
        (["+/+"], "/"),
        (["a", "a/+/#"], "a/#"),
        (["a/#", "+/b"], "+/b"),
        (["+", "+/+", "+/+/+/#"], "#"),
    ],
)
def test_it_contains(grants: list[str], topic_filter: str) -> None:
    assert covers(grants, topic_filter)


@pytest.mark.parametrize(
    ("grants", "topic_filter"),
    [
        ([], "a"),
        (["a/#"], "#"),
        (["a/#"], "+/b"),
        (["a/+/#"], "a/#"),
        (["a/+"], "a/#"),
        (["a/+"], "a"),
        (["a"], "a/"),
        (["#"], "$x"),
        (["#"], "$x/#"),
        (["+/a"], "$x/a"),
        (["a/b", "a/c"], "a/+"),
        (["+", "+/+", "+/+/+"], "#"),
        (["$x/#"], "+/a"),
    ],
)
def test_it_does_not_contain(grants: list[str], topic_filter: str) -> None:
    assert not covers(grants, topic_filter)


def test_a_filter_of_32_768_levels_is_told_by_its_first_ones() -> None:
    deep = "/".join(["+"] * 32_768)
    assert covers(["+/+/#"], deep)
    assert covers(["a/#"], "a/" + deep[2:])
    assert not covers(["+/+/+"], deep)
    assert not covers(["b/#"], "a/" + deep[2:-1] + "#")
    assert Grants(["a/#"]).matches("a" + "/" * 65_534)
    assert not Grants(["a/+/b"]).matches("a" + "/" * 65_534)
