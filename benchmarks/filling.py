"""How a log is filled step by step, and what the steps say about each size of the backlog. Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL_EVENTS = 20_000
LARGE_EVENTS = 200_000
SMALL_STEPS = 5  # at either end, where a backlog of a few thousands is what is asked for


class Step(NamedTuple):
    """Events that are published at full speed, or drained, in a row."""

    start: int
    events: int


def steps(total: int, checkpoints: Sequence[int]) -> list[Step]:
    """Small steps at both ends, large ones between them; each checkpoint is the end of a step."""
    small = SMALL_STEPS * SMALL_EVENTS
    found, at = [], 0
    stops = sorted({total, *(each for each in checkpoints if 0 < each < total)})
    while at < total:
        usual = LARGE_EVENTS if small <= at < total - small else SMALL_EVENTS
        ends = [*stops, total - small] if at < total - small else stops
        end = min([at + usual, *(each for each in ends if each > at)])
        found.append(Step(at, end - at))
        at = end
    return found


def rate_near(points: Sequence[tuple[float, float]], backlog: float, count: int = SMALL_STEPS) -> float | None:
    """The median rate of the `count` points (backlog, rate) closest to `backlog`; None without points."""
    nearest = sorted(points, key=lambda point: abs(point[0] - backlog))[:count]
    return median([rate for _, rate in nearest]) if nearest else None
