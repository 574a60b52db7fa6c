"""Topic patterns against the filters they stand for, and templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.patterns import TopicPattern, fill
from gateway.topics import matches

_words = st.sampled_from(["", "a", "b", "$SYS", "é", "a.c", "(", "line\nbreak"])
_topics = st.lists(_words, min_size=1, max_size=4).map("/".join).filter(bool)
_names = st.permutations(["{device}", "{room}", "{x_1}"])


@st.composite
def _patterns(draw: st.DrawFn) -> str:
    names = iter(draw(_names))
    levels = draw(st.lists(_words | st.sampled_from(["+", "{}"]), max_size=4))
    filled = [next(names, "+") if level == "{}" else level for level in levels]
    return "/".join(filled + draw(st.sampled_from([[], ["#"]])))


@given(_patterns().filter(bool), _topics)
def test_a_pattern_matches_what_its_filter_matches(text: str, topic: str) -> None:
    pattern = TopicPattern(text)
    found = pattern.match(topic)
    assert (found is not None) == matches(pattern.filter, topic)
    if found is not None:
        assert tuple(found) == pattern.names
        levels = dict(zip(text.split("/"), topic.split("/"), strict=False))
        assert all(levels[f"{{{name}}}"] == value for name, value in found.items())


def test_a_pattern_tells_what_stands_at_its_names() -> None:
    pattern = TopicPattern("sensors/{device}/+/{quantity}/#")
    assert pattern.filter == "sensors/+/+/+/#"
    assert pattern.names == ("device", "quantity")
    assert pattern.match("sensors/s1/x/temperature") == {"device": "s1", "quantity": "temperature"}
    assert pattern.match("sensors/s1/x/temperature/a/b") == {"device": "s1", "quantity": "temperature"}
    assert pattern.match("sensors/s1/x") is None
    assert "sensors/{device}" in repr(pattern)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "'#' only the last one"),
        ("a/#/b", "'#' only the last one"),
        ("a+/b", "fill a whole level"),
        ("a/x{device}", "fills a whole level"),
        ("a/{device", "fills a whole level"),
        ("a/{}", "begins with a letter"),
        ("a/{Device}", "lower-case"),
        ("a/{1}", "begins with a letter"),
        ("a/{rest...}", "lower-case"),
        ("{a}/b/{a}", "once"),
        ("a\0", "no topic pattern"),
    ],
)
def test_a_wrong_pattern_says_what_to_write(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy) as wrong:
        TopicPattern(text)
    assert "sensors/{device}/temperature" in str(wrong.value)


def test_a_template_is_filled_with_names() -> None:
    names = {"device": "{gateway}", "gateway": "hub"}
    assert fill("plant7/{gateway}-{device}/{device}", names) == "plant7/hub-{gateway}/{gateway}"
    assert fill("plant7", {}) == "plant7"


@pytest.mark.parametrize(
    ("template", "remedy"),
    [("a/{other}", r"known are: \{device\}"), ("a/{}", "begins with a letter"), ("a/}", "begins with a letter")],
)
def test_a_wrong_template_says_what_is_known(template: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        fill(template, {"device": "d"})
