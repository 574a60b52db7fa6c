"""To which topic of an upstream an event goes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.patterns import TopicPattern, fill
from gateway.topics import is_valid_topic

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERYWHERE = ("gateway", "topic")
"""Names that every template knows: the id of the gateway, and the topic as it came."""
_TOPICS_CACHED_MAX = 10_000
"""Topics of which the target is remembered; beyond it all are forgotten at once, which costs little and is bounded."""


class TopicMap:
    """Templates by pattern; the first pattern that matches a topic says where it goes, in the order they are written.

    Args:
        rules: templates, by the text of their patterns.
        gateway_id: what `{gateway}` stands for.

    Raises:
        ValueError: a pattern is none, or a template has an unknown name or makes no topic; says what to write.
    """

    def __init__(self, rules: Mapping[str, str] | None = None, gateway_id: str = "") -> None:
        self._rules = [(TopicPattern(text), template) for text, template in (rules or {}).items()]
        for pattern, template in self._rules:
            _check(pattern, template)
        self._gateway_id = gateway_id
        self._targets: dict[str, str] = {}

    def of(self, topic: str) -> str:
        """The topic that events from `topic` go to: the same one if no pattern matches.

        Raises:
            ValueError: what the template makes of this topic can be no topic: it is empty or too long.
        """
        if not self._rules:
            return topic
        target = self._targets.get(topic)
        return self._find(topic) if target is None else target

    def _find(self, topic: str) -> str:
        target = topic
        for pattern, template in self._rules:
            if (names := pattern.match(topic)) is not None:
                target = fill(template, {**names, "gateway": self._gateway_id, "topic": topic})
                break
        if not is_valid_topic(target):
            raise ValueError(f"topic_map makes {target[:100]!r} of topic {topic[:100]!r}, which is no topic")
        if len(self._targets) >= _TOPICS_CACHED_MAX:
            self._targets.clear()
        self._targets[topic] = target
        return target


AS_IT_CAME = TopicMap()
"""Every topic stays."""


def _check(pattern: TopicPattern, template: str) -> None:
    for name in EVERYWHERE:
        if name in pattern.names:
            raise ValueError(f"{pattern.text!r}: {{{name}}} has a meaning of its own; give the level another name")
    filled = fill(template, dict.fromkeys((*pattern.names, *EVERYWHERE), "x"))
    if not is_valid_topic(filled):
        raise ValueError(
            f"{template!r} makes no topic that can be published to: it may not be empty and has no '+' or '#'; write "
            "for example 'plant7/{topic}'"
        )
