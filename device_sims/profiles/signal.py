"""What a signal is, and the one building block that the profiles share.

A signal is a function of time alone: asked twice for one moment it gives the same values, whatever it was asked
before. All that differs between two devices is drawn once, when the signal is made, from the generator it is given.
"""

import math
import random
from collections.abc import Callable

DAY_S = 86_400.0

Values = dict[str, float | int | str | bool]
Signal = Callable[[float], Values]
"""From Unix time in seconds to the values of that moment."""

MakeSignal = Callable[[random.Random, int], Signal]
"""From a seeded generator and the device's index in its group to the signal of that device."""


class Wander:
    """A smooth, bounded, aimless quantity: three sine waves of unrelated periods.

    Stands for drift (long periods) and for noise (short ones). Its value stays within +-`amplitude`, and its
    integral over time is exact, so that a counter can agree with the rate it counts.
    """

    def __init__(self, rng: random.Random, amplitude: float, period_s: float) -> None:
        shares = [rng.uniform(0.2, 1.0) for _ in range(3)]
        self._waves = [
            (amplitude * share / sum(shares), math.tau / (period_s * rng.uniform(0.4, 1.6)), rng.uniform(0, math.tau))
            for share in shares
        ]

    def at(self, t_s: float) -> float:
        """The value at `t_s`."""
        return sum(height * math.sin(omega * t_s + phase) for height, omega, phase in self._waves)

    def integral(self, from_s: float, to_s: float) -> float:
        """The area under the value between two moments."""
        return sum(
            height / omega * (math.cos(omega * from_s + phase) - math.cos(omega * to_s + phase))
            for height, omega, phase in self._waves
        )
