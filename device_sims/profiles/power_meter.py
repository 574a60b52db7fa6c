"""A meter in front of a machine: power now, and the energy counted since the meter was installed.

The energy is the exact integral of the power, so it never decreases and a reader who adds up power over time
arrives at it. Power is a base load, a share that follows the day, a machine that switches on and off, and noise.
"""

import math
import random
from dataclasses import dataclass

from device_sims.profiles.signal import DAY_S, Signal, Values, Wander

INSTALLED_S = 1_735_689_600.0  # 2025-01-01T00:00:00Z, long enough ago for counters of a believable size
JOULES_PER_KWH = 3_600_000.0
NOON_S = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class DutyCycle:
    """A machine that draws `power_w` for the first `share` of every period."""

    power_w: float
    period_s: float
    share: float
    offset_s: float

    def at(self, t_s: float) -> float:
        """The power drawn at `t_s`."""
        return self.power_w if (t_s + self.offset_s) % self.period_s < self.share * self.period_s else 0.0

    def integral(self, from_s: float, to_s: float) -> float:
        """The energy drawn between two moments, in joules."""
        return self._since_start_j(to_s + self.offset_s) - self._since_start_j(from_s + self.offset_s)

    def _since_start_j(self, t_s: float) -> float:
        periods, within_s = divmod(t_s, self.period_s)
        on_s = self.share * self.period_s
        return self.power_w * (periods * on_s + min(within_s, on_s))


def power_meter(rng: random.Random, index: int) -> Signal:
    """One meter; every fourth one of a group stands before a larger machine."""
    size = 3.0 if index % 4 == 0 else 1.0
    base_w = size * rng.uniform(80.0, 160.0)
    daily_w = size * rng.uniform(40.0, 120.0)
    duty = DutyCycle(
        size * rng.uniform(300.0, 900.0), rng.uniform(240.0, 1500.0), rng.uniform(0.3, 0.6), rng.uniform(0.0, 1500.0)
    )
    noise_w = Wander(rng, 0.2 * base_w, 12.0)  # smaller than the base load: power stays above zero
    counted_before_kwh = rng.uniform(5.0, 400.0)

    def at(t_s: float) -> Values:
        angle = math.tau * (t_s - NOON_S) / DAY_S
        power_w = base_w + daily_w * (1.0 + math.cos(angle)) / 2.0 + duty.at(t_s) + noise_w.at(t_s)
        energy_j = base_w * (t_s - INSTALLED_S) + duty.integral(INSTALLED_S, t_s) + noise_w.integral(INSTALLED_S, t_s)
        energy_j += daily_w / 2.0 * (t_s - INSTALLED_S + DAY_S / math.tau * (math.sin(angle) - math.sin(-math.pi)))
        return {
            "power_w": round(power_w, 1),
            "energy_kwh": round(counted_before_kwh + energy_j / JOULES_PER_KWH, 6),
        }

    return at
