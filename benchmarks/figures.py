"""Arithmetic on measurements. Pure."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` (0 to 1) of them do not exceed: the nearest-rank method.

    Raises:
        ValueError: no values, or `share` outside 0 to 1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("a percentile needs values, and a share between 0 and 1")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds that have it."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: median([figures[name] for figures in rounds if name in figures]) for name in names}


def spread(rounds: Sequence[dict[str, float]], name: str) -> tuple[float, float] | None:
    """The smallest and the largest of one figure, or None if no round has it."""
    values = [figures[name] for figures in rounds if name in figures]
    return (min(values), max(values)) if values else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """`ours` for one of `theirs`; None where one of them is missing or nothing was measured."""
    return ours / theirs if ours is not None and theirs else None
