"""A contact on a door: open or closed, for how long, and its battery.

Time is cut into slots of some minutes; in each slot the door is opened at most once, more often by day than by
night, for seconds rather than minutes. A slot is decided by the device's own key and the slot's number alone.
"""

import math
import random
from dataclasses import dataclass

from device_sims.profiles.signal import DAY_S, Signal, Values

NIGHT_S = 3 * 3600.0
BATTERY_LIFE_S = 700 * DAY_S
SLOTS_BACK_MAX = 500


@dataclass(frozen=True, slots=True)
class Opening:
    """The door stands open in [from_s, to_s)."""

    from_s: float
    to_s: float


def opening_in(key: int, slot: int, slot_s: float) -> Opening | None:
    """The opening in slot `slot`, wholly inside it and never at its very end, or None."""
    rng = random.Random(key * 1_000_003 + slot)  # noqa: S311 - a simulated door keeps no secrets
    start_s = slot * slot_s
    likelihood = 0.35 + 0.3 * (1.0 - math.cos(math.tau * (start_s - NIGHT_S) / DAY_S))
    if rng.random() > likelihood:
        return None
    from_s = start_s + rng.uniform(0.05, 0.5) * slot_s
    return Opening(from_s, from_s + min(rng.expovariate(1 / 25.0) + 2.0, 0.45 * slot_s))


def door_contact(rng: random.Random, index: int) -> Signal:
    """One door; the first of a group is the busy one."""
    key = rng.getrandbits(48)
    slot_s = rng.uniform(90.0, 240.0) if index == 0 else rng.uniform(240.0, 900.0)
    battery_offset_s = rng.uniform(0.0, BATTERY_LIFE_S)

    def state_at(t_s: float) -> tuple[str, float]:
        slot = int(t_s // slot_s)
        for candidate in range(slot, slot - SLOTS_BACK_MAX, -1):
            opening = opening_in(key, candidate, slot_s)
            if opening is None or t_s < opening.from_s:
                continue
            if t_s < opening.to_s:
                return "open", t_s - opening.from_s
            return "closed", t_s - opening.to_s
        return "closed", SLOTS_BACK_MAX * slot_s

    def at(t_s: float) -> Values:
        state, duration_s = state_at(t_s)
        used = ((t_s + battery_offset_s) % BATTERY_LIFE_S) / BATTERY_LIFE_S
        return {
            "state": state,
            "state_duration_s": round(duration_s, 1),
            "battery_percent": round(100.0 - 90.0 * used, 1),
            "battery_v": round(3.05 - 0.75 * used**1.5, 3),
        }

    return at
