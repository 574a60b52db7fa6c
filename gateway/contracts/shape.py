"""The port between a contract and the three ways to say what its payload is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gateway.contracts.verdict import VALUE_CHARACTERS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Reason(NamedTuple):
    """What is wrong with a payload: see the fields of the same names in `Violation`."""

    field: str
    rule: str
    value: str = ""


class Shape(Protocol):
    """What a decoded payload must be."""

    fulfil: Callable[[Any], object]
    """Returns, whatever it is, if the value is as it must be; else raises ValueError. The hot path. It may refuse what
    `reason` then finds to be right, never the other way round."""

    def reason(self, value: Any) -> Reason | None:
        """What is wrong with a value that `fulfil` refused; None if it is right after all."""
        ...

    def json_schema(self) -> dict[str, Any]:
        """The same as JSON Schema, for people and other programs."""
        ...


def way(parts: Sequence[object]) -> str:
    """A field's place as it is told, `position.x` or `samples.3`."""
    return _printable(".".join(str(part) for part in parts))


def told(value: object) -> str:
    """A value as JSON, cut to what is kept of it."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=_told_otherwise)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return cut(_printable(text))


def cut(text: str) -> str:
    """The beginning of it, if it is longer than what is kept of a value."""
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[: VALUE_CHARACTERS_MAX - 1] + "…"


def _told_otherwise(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else f"a {type(value).__name__}"


def _printable(text: str) -> str:
    """Without lone surrogates, which no file and no database takes."""
    return text.encode(errors="backslashreplace").decode()
