"""Where events go: the first pattern that matches, filled in."""

from __future__ import annotations

import pytest

from gateway.forward import topic_map
from gateway.forward.topic_map import AS_IT_CAME, TopicMap


def test_the_first_pattern_that_matches_counts() -> None:
    topics = TopicMap(
        {
            "sensors/{device}/temperature": "plant7/{device}/t",
            "sensors/{device}/{quantity}": "plant7/{device}/other/{quantity}",
            "sensors/#": "never/{topic}",
            "$SYS/#": "sys",
            "alarms/+": "{gateway}/{topic}",
        },
        "hub",
    )
    for _ in range(2):  # the second time from what is remembered
        assert topics.of("sensors/s1/temperature") == "plant7/s1/t"
        assert topics.of("sensors/s1/humidity") == "plant7/s1/other/humidity"
        assert topics.of("sensors/s1") == "never/sensors/s1"
        assert topics.of("alarms/fire") == "hub/alarms/fire"
        assert topics.of("elsewhere/s1") == "elsewhere/s1"


def test_everything_can_be_mapped() -> None:
    assert TopicMap({"#": "site/{gateway}/{topic}"}, "hub").of("a/b") == "site/hub/a/b"


def test_without_rules_every_topic_stays_and_none_is_remembered() -> None:
    assert AS_IT_CAME.of("a/b") == "a/b"
    assert not AS_IT_CAME._targets


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_map, "_TOPICS_CACHED_MAX", 3)
    topics = TopicMap({"{a}": "x/{a}"})
    for number in range(20):
        assert topics.of(f"t{number}") == f"x/t{number}"
        assert len(topics._targets) <= 3


@pytest.mark.parametrize(("rule", "topic"), [("{device}", "a/"), ("x{rest}{rest}", "a/" + "r" * 40_000)])
def test_what_makes_no_topic_is_told_for_that_event(rule: str, topic: str) -> None:
    with pytest.raises(ValueError, match="no topic"):
        TopicMap({f"a/{{{'device' if 'device' in rule else 'rest'}}}": rule}).of(topic)


@pytest.mark.parametrize(
    ("pattern", "template", "remedy"),
    [
        ("a/{b", "c", "fills a whole level"),
        ("a/{b}", "c/{d}", r"known are: \{b\}, \{gateway\}, \{topic\}"),
        ("a/{b}", "c/#", "plant7"),
        ("a/{b}", "c/+/{b}", "plant7"),
        ("a/{b}", "", "plant7"),
        ("a/{topic}", "c", "another name"),
        ("{gateway}/a", "c", "another name"),
    ],
)
def test_a_wrong_rule_says_what_to_write(pattern: str, template: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        TopicMap({pattern: template})
