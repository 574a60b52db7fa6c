"""Topic patterns with named levels, and templates that are filled with the names. Pure.

A pattern is an MQTT topic filter in which `{name}` may stand for a level, as in `sensors/{device}/temperature`: it
matches what the filter with '+' in its place matches, and tells what stood there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.topics import is_valid_filter

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMED = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_EXAMPLE = "write for example 'sensors/{device}/temperature'"
_NAME_RULE = "a name has lower-case letters, digits and '_', and begins with a letter"


class TopicPattern:
    """A topic filter with named levels.

    Raises:
        ValueError: it is none; says what to write instead.
    """

    __slots__ = ("_match", "filter", "names", "text")

    def __init__(self, text: str) -> None:
        levels = text.split("/")
        names = [_name_of(level, text) for level in levels]
        self.text = text
        self.filter = "/".join(level if name is None else "+" for level, name in zip(levels, names, strict=True))
        """What matches the same topics, as MQTT writes it."""
        self.names = tuple(name for name in names if name is not None)
        """In the order of their levels."""
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"{text!r}: each name may stand once in a pattern; {_EXAMPLE}")
        if not is_valid_filter(self.filter):
            raise ValueError(
                f"{text!r} is no topic pattern: '+', '#' and a name in braces fill a whole level, '#' only the last "
                f"one; {_EXAMPLE}"
            )
        self._match = re.compile(_expression(levels, names), re.DOTALL).fullmatch

    def __repr__(self) -> str:
        return f"TopicPattern({self.text!r})"

    def match(self, topic: str) -> dict[str, str] | None:
        """What stands at each name in the valid `topic`; None if the pattern does not match it.

        A level may be empty, and so may be what stands at a name, as MQTT has it for '+'. A pattern that begins with a
        name or a wildcard does not match a topic that begins with '$' (MQTT 3.1.1, section 4.7.2).
        """
        found = self._match(topic)
        return None if found is None else found.groupdict()


def fill(template: str, names: Mapping[str, str]) -> str:
    """`template` with what each name in braces stands for; what is put in is not looked at for braces again.

    Raises:
        ValueError: it has a name that is not in `names`, or braces without a name; says which are known.
    """
    if "{" in (rest := _NAMED.sub("", template)) or "}" in rest:
        raise ValueError(f"{template!r}: braces hold a name, and nothing else may have them; {_NAME_RULE}")
    for name in _NAMED.findall(template):
        if name not in names:
            known = ", ".join(f"{{{each}}}" for each in names) or "none"
            raise ValueError(f"{template!r}: nothing is named {{{name}}} here; known are: {known}")
    return _NAMED.sub(lambda found: names[found[1]], template)


def _name_of(level: str, text: str) -> str | None:
    """The name of a level; None if it has none."""
    if (found := _NAMED.fullmatch(level)) is not None:
        return found[1]
    if "{" in level or "}" in level:
        raise ValueError(f"{text!r}: a name in braces fills a whole level, and {_NAME_RULE}; {_EXAMPLE}")
    return None


def _expression(levels: list[str], names: list[str | None]) -> str:
    """A regular expression for topics."""
    to_rest = levels[-1] == "#"
    parts = []
    for level, name in zip(levels, names, strict=True):
        if name is not None:
            parts.append(f"(?P<{name}>[^/]*)")
        else:
            parts.append("[^/]*" if level == "+" else re.escape(level))
    dollar = r"(?!\$)" if names[0] is not None or levels[0] in ("+", "#") else ""
    if not to_rest:
        return dollar + "/".join(parts)
    parts.pop()
    return dollar + ("/".join(parts) + "(?:/.*)?" if parts else ".*")
