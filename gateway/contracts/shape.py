"""The port between a contract and the three ways to say what its payload is."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from gateway.contracts.verdict import VALUE_CHARACTERS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Reason(NamedTuple):
    """What is wrong with a payload: see the fields of the same names in `Violation`."""

    field: str
    rule: str
    value: str = ""


AtOnce: TypeAlias = "Callable[[bytes], tuple[object, object, set[str]]]"
"""Judges a payload in JSON that is not decoded yet: raises ValueError, or returns the fields it has found as last of
three. It overlooks a key that stands twice or has no name here; so whoever calls it has to count the keys."""


class Shape(Protocol):
    """What a decoded payload must be."""

    at_once: AtOnce | None
    """None: there is no such way, or it would be no quicker."""

    def fulfil(self, value: Any, /) -> object:
        """Return, whatever it is, if the value is as it must be; else raise ValueError. The hot path.

        It may refuse what `reason` then finds to be right, never the other way round.
        """
        ...

    def reason(self, value: Any, refusal: Exception | None = None) -> Reason | None:
        """What is wrong with a value; None if it is right. Never raises.

        `refusal` is what `fulfil` or `at_once` has raised for it, if that was called: it may tell already.
        """
        ...

    def json_schema(self) -> dict[str, Any]:
        """The same as JSON Schema, for people and other programs."""
        ...


def way(parts: Sequence[object]) -> str:
    """A field's place as it is told, `position.x` or `samples.3`."""
    return plain(".".join(str(part) for part in parts))


def found_at(value: Any, parts: Sequence[str | int]) -> Any:
    """What stands at a place in a decoded payload; None if nothing does."""
    for part in parts:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def told(value: object) -> str:
    """A value as JSON, cut to what is kept of it."""
    try:
        text = repr(value) if type(value) is int or (type(value) is float and isfinite(value)) else _in_json(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return plain(text)


def plain(text: str) -> str:
    """The beginning of a text, with escapes for whatever no terminal and no database should see."""
    if len(text) > VALUE_CHARACTERS_MAX:
        text = text[: VALUE_CHARACTERS_MAX - 1] + "…"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _told_otherwise(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else f"a {type(value).__name__}"


_in_json = json.JSONEncoder(ensure_ascii=False, default=_told_otherwise).encode
