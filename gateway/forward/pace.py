"""A rate that is kept by waiting. Pure: the time comes in as an argument, and somebody else waits.

A token bucket that may go into debt: what was taken is never cut into pieces, however large it is, and whoever comes
next waits until the debt is paid. So over any stretch of time no more is taken than the rate allows, and what one call
took beyond it.
"""

from __future__ import annotations


class Pace:
    """Amounts, events or bytes, at a rate per second.

    Args:
        rate: how much per second; more than 0.
        burst: how much may be taken at once after a rest.
        now_s: monotonic time; the bucket is full.
    """

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._seen_s = now_s

    def take(self, amount: float, now_s: float) -> None:
        """Note that so much was taken; it may be more than was left."""
        self._refill(now_s)
        self._left -= amount

    def wait_s(self, now_s: float, amount: float = 0) -> float:
        """Seconds until `amount` is there, or the whole burst if that is less; 0: it is there now.

        For an amount of 0: until no debt is left.
        """
        self._refill(now_s)
        return max(0.0, (min(amount, self._burst) - self._left) / self._rate)

    def _refill(self, now_s: float) -> None:
        passed_s = max(0.0, now_s - self._seen_s)
        self._left = min(self._burst, self._left + passed_s * self._rate)
        self._seen_s = max(self._seen_s, now_s)
