"""The hours in which an upstream may be connected, where the uplink is cheaper at night, say. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MINUTES_A_DAY = 24 * 60
_SPAN = re.compile(r"([0-2]\d):([0-5]\d)-([0-2]\d):([0-5]\d)")


class Hours:
    """Spans of the day, each as `22:00-06:00`: from the first minute on, up to the second one.

    Raises:
        ValueError: one is no such span; says what to write.
    """

    def __init__(self, spans: Sequence[str]) -> None:
        self._spans = [_minutes(span) for span in spans]

    def __bool__(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self._spans)

    def include(self, minute: int | None) -> bool:
        """Whether the upstream may be connected in this minute of the day; None: nobody knows what time it is.

        Then it may: on a machine whose clock nobody sets events would else wait for ever.
        """
        if minute is None or not self._spans:
            return True
        return any((minute - begin) % MINUTES_A_DAY < length for begin, length in self._spans)


def _minutes(text: str) -> tuple[int, int]:
    """When a span begins, and how long it is."""
    found = _SPAN.fullmatch(text)
    if found is not None:
        begin, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
        if begin < MINUTES_A_DAY and end <= MINUTES_A_DAY and begin != end % MINUTES_A_DAY:
            return begin, (end - begin) % MINUTES_A_DAY
    raise ValueError(
        f'{text!r} is no span of the day: write it as "22:00-06:00", from one minute up to another; the last is 24:00'
    )
