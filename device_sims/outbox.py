"""What a device has generated and not yet seen acknowledged. Pure.

Promises: at most `events_max` events are held and at most `inflight_max` of them are on the way; after a broken
connection everything unacknowledged is sent again, oldest first, before anything newer.
"""

from collections import deque

from device_sims.event import Event


class Outbox:
    """The bounded buffer of one device. Events are offered in order of `n`."""

    def __init__(self, *, events_max: int, inflight_max: int) -> None:
        self._events_max = events_max
        self._inflight_max = inflight_max
        self._waiting: deque[Event] = deque()
        self._inflight: dict[int, Event] = {}
        self._sent_up_to = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._inflight)

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be offered for now."""
        return len(self) >= self._events_max

    def offer(self, event: Event) -> None:
        """Keep `event` until it is acknowledged; the caller has checked `is_full`."""
        self._waiting.append(event)

    def take(self) -> Event | None:
        """The next event to send; None while nothing waits or the window is full."""
        if not self._waiting or len(self._inflight) >= self._inflight_max:
            return None
        event = self._waiting.popleft()
        self._inflight[event.n] = event
        return event

    def is_sent_first(self, n: int) -> bool:
        """Note that event `n`, which was taken, is now being sent; whether that is for the first time.

        An event that was taken may never be sent, because the connection broke before its turn came.
        """
        is_first = n > self._sent_up_to
        self._sent_up_to = max(self._sent_up_to, n)
        return is_first

    def settle(self, n: int) -> None:
        """Forget event `n`: it was acknowledged, or at QoS 0 written to the connection."""
        del self._inflight[n]

    def rewind(self) -> None:
        """The connection broke: all that was on the way waits again, in front and in order."""
        self._waiting.extendleft(sorted(self._inflight.values(), key=_n, reverse=True))
        self._inflight.clear()


def _n(event: Event) -> int:
    return event.n
