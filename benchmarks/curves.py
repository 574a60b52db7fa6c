"""Measurements over the backlog, from what was counted over time. Pure.

A mark is (time, events so far), a sample is (time, value); both in the order of time. A point of a curve is
(backlog, value). While a backlog is filled, the events so far are added to what there was; in a drain they are
taken off: `sign` is 1 or -1.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Mark = tuple[float, int]
Sample = tuple[float, float]
Curve = list[tuple[float, float]]


def rates(marks: Sequence[Mark], start: int, sign: int, step_s: float) -> Curve:
    """Events a second, each over at least `step_s` seconds, at the backlog in the middle of them."""
    curve: Curve = []
    if not marks:
        return curve
    began, before = marks[0]
    for at, count in marks[1:]:
        if at - began >= step_s:
            curve.append((start + sign * (before + count) / 2, (count - before) / (at - began)))
            began, before = at, count
    return curve


def values(samples: Sequence[Sample], marks: Sequence[Mark], start: int, sign: int) -> Curve:
    """Each sample taken between the first and the last mark, at the backlog of its time."""
    if not marks:
        return []
    times = [at for at, _ in marks]
    first, last = bisect_left(samples, (times[0],)), bisect_right(samples, (times[-1], float("inf")))
    return [(start + sign * _count_at(at, times, marks), value) for at, value in samples[first:last]]


def _count_at(at: float, times: Sequence[float], marks: Sequence[Mark]) -> float:
    """Events at a time between the first mark and the last, as if they had come evenly between two marks."""
    after = bisect_left(times, at)
    if times[after] == at or after == 0:
        return marks[after][1]
    (t0, n0), (t1, n1) = marks[after - 1], marks[after]
    return n0 + (n1 - n0) * (at - t0) / (t1 - t0)
