"""MQTT topics and topic filters: which are valid, and which filter matches which topic.

Source: MQTT 3.1.1 section 4.7 (MQTT 5.0 says the same). Pure. Shared subscriptions (`$share/...`) are not
understood here: such a filter is taken literally.
"""

from __future__ import annotations

from typing import Generic, TypeVar

TOPIC_BYTES_MAX = 65_535
"""A length on the wire is two bytes (section 4.7.3)."""

T = TypeVar("T")


def is_valid_topic(topic: str) -> bool:
    """Whether a message may be published to `topic`: 1 to 65,535 bytes of UTF-8, no U+0000, no wildcard."""
    return _is_valid_string(topic) and "#" not in topic and "+" not in topic


def is_valid_filter(topic_filter: str) -> bool:
    """Whether `topic_filter` may be subscribed to: a topic whose levels may be "+", and the last one "#"."""
    if not _is_valid_string(topic_filter):
        return False
    if "#" not in topic_filter and "+" not in topic_filter:
        return True
    levels = topic_filter.split("/")
    return all(len(level) == 1 or ("#" not in level and "+" not in level) for level in levels) and (
        "#" not in levels[:-1]
    )


def matches(topic_filter: str, topic: str) -> bool:
    """Whether the valid `topic_filter` matches the valid `topic`.

    A filter that starts with a wildcard does not match a topic that starts with '$' (section 4.7.2).
    """
    if topic[0] == "$" and topic_filter[0] in "#+":
        return False
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()  # what is left is a prefix; 'a/#' matches 'a' as well
        if len(levels) < len(wanted):
            return False
    elif len(levels) != len(wanted):
        return False
    return all(want in ("+", level) for want, level in zip(wanted, levels, strict=False))


def _is_valid_string(text: str) -> bool:
    if not text or "\0" in text:
        return False
    if len(text) * 4 <= TOPIC_BYTES_MAX and text.isascii():
        return True
    try:
        return len(text.encode()) <= TOPIC_BYTES_MAX
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8
        return False


class _Node(Generic[T]):
    """One level of the trie: the values of the filters that end here, and what may follow."""

    __slots__ = ("below", "here", "rest")

    def __init__(self) -> None:
        self.below: dict[str, _Node[T]] = {}
        self.here: dict[T, None] = {}
        self.rest: dict[T, None] = {}
        """Values of the filters that go on with '#' from here."""

    def is_empty(self) -> bool:
        return not (self.below or self.here or self.rest)


class FilterIndex(Generic[T]):
    """Values under topic filters; a topic finds them by its levels, however many filters there are.

    The same value under the same filter counts once. Values are hashable.
    """

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._len = 0

    def __len__(self) -> int:
        """How many pairs of filter and value there are."""
        return self._len

    def add(self, topic_filter: str, value: T) -> None:
        """Keep `value` under the valid `topic_filter`."""
        node = self._root
        levels = topic_filter.split("/")
        to_rest = levels[-1] == "#"
        for level in levels[:-1] if to_rest else levels:
            node = node.below.setdefault(level, _Node())
        values = node.rest if to_rest else node.here
        if value not in values:
            values[value] = None
            self._len += 1

    def remove(self, topic_filter: str, value: T) -> None:
        """Forget `value` under `topic_filter`; nothing happens if it is not there."""
        levels = topic_filter.split("/")
        to_rest = levels[-1] == "#"
        if to_rest:
            levels.pop()
        path = [self._root]
        for level in levels:
            node = path[-1].below.get(level)
            if node is None:
                return
            path.append(node)
        values = path[-1].rest if to_rest else path[-1].here
        if value not in values:
            return
        del values[value]
        self._len -= 1
        # Emptied levels go too, so that memory follows what is subscribed now and not what ever was.
        while levels and path.pop().is_empty():
            del path[-1].below[levels.pop()]

    def match(self, topic: str) -> list[T]:
        """Values of all filters that match the valid `topic`; a value is listed once per matching filter."""
        found: list[T] = []
        levels = topic.split("/")
        nodes = [self._root]
        if topic[0] == "$":  # a wildcard in the first level does not match it (section 4.7.2)
            first = self._root.below.get(levels.pop(0))
            nodes = [] if first is None else [first]
        for level in levels:
            following: list[_Node[T]] = []
            for node in nodes:
                found.extend(node.rest)
                below = node.below
                if (exact := below.get(level)) is not None:
                    following.append(exact)
                if (any_level := below.get("+")) is not None:
                    following.append(any_level)
            if not following:
                return found
            nodes = following
        for node in nodes:
            found.extend(node.rest)
            found.extend(node.here)
        return found
