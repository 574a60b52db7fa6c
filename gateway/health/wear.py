"""What the gateway writes, and what that means for the card it writes to.

Counted by the kernel (`write_bytes` in /proc/self/io, proc(5)): everything this process has sent to storage, log, state
and their journals included. What the card's own controller writes on top is not known here.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_IO_FILE = Path("/proc/self/io")
_DAY_S = 86_400
_YEAR_DAYS = 365.25
SETTLED_AFTER_S = 600
"""The first minutes, with new files and reconnecting devices, are like no others: their pace is a first guess."""
_PACE_AFTER_S = 1


class Wear(NamedTuple):
    """Bytes written since the start, and what they come to."""

    written_bytes: int
    bytes_per_event: int | None
    """None: no event yet."""
    bytes_per_day: int | None
    """At the pace since the start; None within the first second."""
    card_years: float | None
    """How long a card of the given endurance lasts at that pace; None if one of the two is not known."""


def of_this_process(events: int, uptime_s: float, endurance_tb: float | None) -> Wear | None:
    """The wear this process has caused; None where the kernel does not tell.

    Args:
        events: stored since the start.
        uptime_s: since the start.
        endurance_tb: terabytes the card may be written in its life, as its maker says.
    """
    try:
        fields = dict(line.split(": ") for line in _IO_FILE.read_text(encoding="ascii").splitlines())
    except OSError:
        return None
    return estimate(int(fields["write_bytes"]), events, uptime_s, endurance_tb)


def estimate(written_bytes: int, events: int, uptime_s: float, endurance_tb: float | None) -> Wear:
    """What `written_bytes` in `uptime_s` seconds for so many events come to; see `of_this_process`."""
    per_day = int(written_bytes / uptime_s * _DAY_S) if uptime_s >= _PACE_AFTER_S else None
    years = None
    if endurance_tb is not None and per_day:
        years = round(endurance_tb * 1e12 / per_day / _YEAR_DAYS, 1)
    return Wear(written_bytes, round(written_bytes / events) if events else None, per_day, years)
