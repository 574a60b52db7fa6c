"""Topic filters that grant: what they allow together, and which other filters they contain. Pure.

Exact for any number of grants, not only for one: 'a' and 'a/+/#' together contain 'a/#', which neither does alone.
Source of the rules: MQTT 3.1.1 section 4.7 ('a/#' matches 'a' as well; a leading wildcard matches no topic that begins
with '$'; levels may be empty). The one thing not recognised, for which too little would be granted and never too much:
that a topic ends at 65,535 bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ANY_LEVEL = "\0"
"""Stands for a level that no grant names: U+0000 can be in none."""


class Grants:
    """Filters of which each allows all that it matches."""

    __slots__ = ("_depth", "_filters")

    def __init__(self, filters: Iterable[str]) -> None:
        """Take valid topic filters."""
        self._filters = tuple(dict.fromkeys(tuple(each.split("/")) for each in filters))
        self._depth = max(map(len, self._filters), default=0) + 1
        """From so many levels on only grants with '#' match, and what comes deeper makes no difference."""

    def matches(self, topic: str) -> bool:
        """Whether some grant matches the valid `topic`."""
        return self._match(topic.split("/", self._depth))

    def covers(self, topic_filter: str) -> bool:
        """Whether every topic that the valid `topic_filter` matches is matched by some grant.

        It is enough to look at the topics that have a level no grant names wherever the filter has a wildcard: a grant
        that matches one of these has a wildcard in all those places too, so it matches whatever else may stand there.
        """
        levels = topic_filter.split("/", self._depth)
        is_longer = len(levels) > self._depth
        goes_on = levels[-1] == "#" and not is_longer
        if goes_on:
            levels.pop()
        begin = [_ANY_LEVEL if level == "+" else level for level in levels]
        shortest = len(begin) if any(begin) or len(begin) > 1 else len(begin) + 1  # there is no topic of no character
        longest = max(len(begin), self._depth) if goes_on else len(begin)
        return all(self._match(begin + [_ANY_LEVEL] * (length - len(begin))) for length in range(shortest, longest + 1))

    def _match(self, levels: Sequence[str]) -> bool:
        return any(_matches(each, levels) for each in self._filters)


def covers(grants: Iterable[str], topic_filter: str) -> bool:
    """Whether the valid filters `grants` match, together, every topic that the valid `topic_filter` matches."""
    return Grants(grants).covers(topic_filter)


def _matches(grant: Sequence[str], levels: Sequence[str]) -> bool:
    """As `gateway.topics.matches`, of levels."""
    if grant[0] in ("#", "+") and levels[0].startswith("$"):
        return False
    if grant[-1] == "#":
        grant = grant[:-1]
        if len(levels) < len(grant):
            return False
    elif len(levels) != len(grant):
        return False
    return all(want in ("+", level) for want, level in zip(grant, levels, strict=False))
