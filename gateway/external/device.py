"""Whose an event is that came through another broker: none passes client ids on, so the topic has to tell."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.patterns import TopicPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TOPICS_REMEMBERED_MAX = 10_000


def pattern(text: str) -> TopicPattern:
    """A topic pattern with a level `{device}`.

    Raises:
        ValueError: it is none, with what to write instead.
    """
    found = TopicPattern(text)
    if found.names != ("device",):
        raise ValueError(f"{text!r} must have one named level, {{device}}: write for example 'tele/{{device}}/#'")
    return found


def by_topic(patterns: Iterable[str]) -> Callable[[str], str]:
    """A function that tells the device of a valid topic.

    It is the level `{device}` of the first of `patterns` that matches; else the second level of the topic, as in
    `devices/probe-1/temperature`, or the first if there is no second.
    """
    compiled = [pattern(text) for text in patterns]

    @lru_cache(_TOPICS_REMEMBERED_MAX)
    def device_of(topic: str) -> str:
        for each in compiled:
            names = each.match(topic)
            if names is not None and names["device"]:
                return names["device"]
        first, _, rest = topic.partition("/")
        return rest.split("/", 1)[0] or first or topic

    return device_of
