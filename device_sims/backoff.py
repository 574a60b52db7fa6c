"""How long to wait before the next attempt to connect, and when the next event is due. Pure."""

import random

DELAY_MIN_S = 0.2
DELAY_MAX_S = 5.0
LAG_MAX_S = 5.0


def retry_delay_s(attempt: int, rng: random.Random) -> float:
    """Jittered exponential delay in [0.2 s, 5 s] before attempt `attempt` + 1, counting from 0.

    Full jitter keeps a fleet that was cut off at one moment from coming back at one moment.
    """
    ceiling = min(DELAY_MAX_S, DELAY_MIN_S * 2 ** min(attempt + 1, 10))
    return rng.uniform(DELAY_MIN_S, ceiling)


def next_due_s(due_s: float, now_s: float, interval_s: float, jitter: float, rng: random.Random) -> float:
    """When the event after the one due at `due_s` is due.

    Delays do not add up: the schedule follows the due times, so that the mean rate holds. Only after a pause longer
    than 5 s (a suspended machine) does it start again from now, instead of making up for the pause in a burst.
    """
    start_s = due_s if now_s - due_s <= LAG_MAX_S else now_s
    return start_s + interval_s * (1.0 + jitter * rng.uniform(-1.0, 1.0))
