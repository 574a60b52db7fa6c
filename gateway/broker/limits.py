"""What one client or one address may take, so that the others do not notice. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.broker.throttle import source_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.broker.config import BrokerConfig


class Excess(NamedTuple):
    """What is over a limit."""

    limit: str
    """Its key."""
    reason: str


_BREATH_S = 0.1
"""Shortest wait: a connection that is too fast is looked at ten times a second, and not for each event."""


def over_long(topic: bytes, config: BrokerConfig) -> Excess | None:
    """Whether a topic or filter is longer or deeper than it may be."""
    if len(topic) > config.topic_bytes_max:
        return Excess("topic_bytes_max", f"a topic of {len(topic)} bytes")
    levels = topic.count(b"/") + 1
    return Excess("topic_levels_max", f"a topic of {levels} levels") if levels > config.topic_levels_max else None


class Pace:
    """How many events a connection may still bring: a bucket that fills by `rate` a second and holds one second's.

    Args:
        rate: events a second.
        now: monotonic seconds.
    """

    __slots__ = ("_at_s", "_now", "_rate", "_tokens")

    def __init__(self, rate: int, now: Callable[[], float]) -> None:
        self._rate = rate
        self._now = now
        self._tokens = float(rate)
        self._at_s = now()

    def take(self) -> float:
        """Take one event in; returns 0, or the seconds to wait until there is room for it, and some more."""
        now_s = self._now()
        self._tokens = min(float(self._rate), self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._tokens < 1:
            return max((1 - self._tokens) / self._rate, _BREATH_S)
        self._tokens -= 1
        return 0

    @property
    def room(self) -> int:
        """How many events may come at once, as of the last `take`."""
        return int(self._tokens)

    def spend(self, events: int) -> None:
        """So many of them came."""
        self._tokens -= events


class Guest(Protocol):
    """A connection, as far as limits on connections go."""

    def abort(self, reason: str) -> None:
        """Close at once."""
        ...


class House:
    """Connections by where they come from: how many there are, and who may be shown out for one more.

    Args:
        guests_max: in all.
        per_source_max: from one source.
    """

    def __init__(self, guests_max: int, per_source_max: int) -> None:
        self._guests_max = guests_max
        self._per_source_max = per_source_max
        self._sources: dict[Guest, str] = {}
        self._counts: Counter[str] = Counter()
        self._strangers: dict[str, dict[Guest, None]] = {}
        """By source those who have not logged in, the oldest first."""
        self.turned_away = 0
        """Connections closed because there were too many."""
        self.over_address = 0
        """Connections closed because there were too many from their address."""
        self.made_room = 0
        """Connections that had not logged in, closed to make room for another one."""

    def __len__(self) -> int:
        return len(self._sources)

    def enter(self, guest: Guest, address: str) -> str:
        """One more; returns why it has to go, empty if it may stay."""
        source = source_of(address)
        if self._counts[source] >= self._per_source_max:
            self.over_address += 1
            return "too many connections from its address"
        if len(self._sources) >= self._guests_max and not self._make_room():
            self.turned_away += 1
            return "too many connections"
        self._sources[guest] = source
        self._counts[source] += 1
        self._strangers.setdefault(source, {})[guest] = None
        return ""

    def admit(self, guest: Guest) -> None:
        """It has logged in, and stays whoever comes."""
        source = self._sources.get(guest)
        if source is not None:
            self._no_stranger(guest, source)

    def leave(self, guest: Guest) -> None:
        """It is gone, or about to be; nothing happens if it never came in."""
        source = self._sources.pop(guest, None)
        if source is None:
            return
        self._counts[source] -= 1
        if not self._counts[source]:
            del self._counts[source]
        self._no_stranger(guest, source)

    def _make_room(self) -> bool:
        """Show out the oldest stranger of the source that has most of them; False if there is none."""
        if not self._strangers:
            return False
        crowd = max(self._strangers.values(), key=len)
        oldest = next(iter(crowd))
        self.leave(oldest)
        self.made_room += 1
        oldest.abort("not logged in yet when there were too many connections")
        return True

    def _no_stranger(self, guest: Guest, source: str) -> None:
        strangers = self._strangers.get(source)
        if strangers is not None:
            strangers.pop(guest, None)
            if not strangers:
                del self._strangers[source]
