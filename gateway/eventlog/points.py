"""A place in the log as people write it: a seq, a time, `beginning` or `now`. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(r"[.,](\d{1,9})(?!\d)")
"""Of a second: to the nanosecond as we print it, which `datetime` cannot hold."""


class Point(NamedTuple):
    """What is meant; which event that is depends on the log."""

    kind: Literal["beginning", "now", "seq", "time"]
    number: int = 0
    """The seq, or nanoseconds since 1970 (UTC); 0 for the two words."""


BEGINNING = Point("beginning")


def parse(text: str) -> Point:
    """The point that `text` names; a time without a zone is in UTC.

    Raises:
        ValueError: it names none; says what to write.
    """
    if text == "beginning":
        return BEGINNING
    if text == "now":
        return Point("now")
    if text.isascii() and text.isdecimal():
        return Point("seq", int(text))
    return Point("time", _moment_ns(text))


def _moment_ns(text: str) -> int:
    fraction = _FRACTION.search(text)
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text))
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no place in the log: write a seq, a time as in 2026-11-23T15:00, beginning or now"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return seconds * 1_000_000_000 + (int(fraction[1].ljust(9, "0")) if fraction else 0)
