"""Times as devices write them, to nanoseconds since 1970.

Source: RFC 3339, section 5.6. A leap second counts as the second before it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_NS_MAX = 2**63 - 1
"""The year 2262: what fits a database."""


def rfc3339_ns(text: str) -> int:
    """Nanoseconds since 1970 of a time such as `2026-11-23T15:00:00.25+01:00`.

    Raises:
        ValueError: it is none, or before 1678 or after 2261.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError("is no time as in RFC 3339, such as 2026-11-23T15:00:00.25Z")
    day, minute, second, fraction, zone = found.groups()
    if second == "60":
        second = "59"
    moment = datetime.fromisoformat(f"{day}T{minute}:{second}{'+00:00' if zone in 'Zz' else zone}")
    nanoseconds = int((fraction or "0")[:9].ljust(9, "0"))
    return _bounded((moment - _EPOCH) // _SECOND * 1_000_000_000 + nanoseconds)


def epoch_ns(number: float, unit: TimeUnit) -> int:
    """Nanoseconds since 1970 of a number of seconds, milliseconds, microseconds or nanoseconds.

    Raises:
        ValueError: it is no number that a time can be.
    """
    factor = _NS[unit]
    if isinstance(number, int):
        return _bounded(number * factor)
    whole, fraction = divmod(number, 1)  # whole seconds exactly: a float has no room for today's nanoseconds
    return _bounded(int(whole) * factor + round(fraction * factor))


def _bounded(nanoseconds: int) -> int:
    if not -_NS_MAX <= nanoseconds <= _NS_MAX:
        raise ValueError("is a time that is too far away")
    return nanoseconds
