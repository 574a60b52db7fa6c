"""Temperature and relative humidity of a room or greenhouse.

Both follow the day (coolest at 04:00, warmest at 16:00, in UTC) with a slow drift of some days and the noise of a
cheap sensor. Warmer air holds more water, so humidity falls when temperature rises.
"""

import math
import random

from device_sims.profiles.signal import DAY_S, Signal, Values, Wander

COOLEST_S = 4 * 3600.0
HUMIDITY_PER_DEGREE = -2.6


def climate(rng: random.Random, index: int) -> Signal:
    """The climate at one sensor; sensors of one group sit in slightly different places."""
    mean_c = 21.0 + rng.gauss(0.0, 0.8) + 0.15 * (index % 10)
    mean_percent = rng.uniform(52.0, 62.0)
    swing_c = rng.uniform(3.0, 5.0)
    drift_c = Wander(rng, 1.5, 3 * DAY_S)
    noise_c = Wander(rng, 0.12, 20.0)
    drift_percent = Wander(rng, 2.5, 2 * DAY_S)
    noise_percent = Wander(rng, 0.4, 15.0)

    def at(t_s: float) -> Values:
        departure_c = drift_c.at(t_s) - swing_c * math.cos(math.tau * (t_s - COOLEST_S) / DAY_S)
        humidity = mean_percent + HUMIDITY_PER_DEGREE * departure_c + drift_percent.at(t_s) + noise_percent.at(t_s)
        return {
            "temperature_c": round(mean_c + departure_c + noise_c.at(t_s), 2),
            "humidity_percent": round(min(99.5, max(12.0, humidity)), 1),
        }

    return at
