"""How long to wait before the next try. Pure: randomness comes in as an argument."""

from __future__ import annotations

JITTER = 0.25
"""Part of a wait that is random, so that a fleet whose server returns does not reconnect in one instant."""
_DOUBLINGS_MAX = 64  # beyond it any limit is reached, and a float would overflow some time later


def wait_s(failures: int, *, initial_s: float, max_s: float, randomness: float) -> float:
    """Seconds to wait after `failures` tries in a row have failed (1 or more).

    The wait doubles from `initial_s` to `max_s` and is then shortened by up to a quarter; it never exceeds `max_s`.

    Args:
        failures: tries that failed since the last success.
        initial_s: wait after the first failure.
        max_s: limit of the wait.
        randomness: a number from 0 to 1, drawn anew for each wait.
    """
    longest_s = min(max_s, initial_s * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS_MAX))
    return longest_s * (1 - JITTER * randomness)
