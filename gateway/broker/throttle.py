"""How often somebody may fail, and whose turn is next, so that nobody wears out the others. Pure; bounded in size.

Whoever gives the keys chooses what they stand for: an address, a name.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")
_NETWORK_BITS = 64
"""Of an IPv6 address: whoever has one has all that share them."""


def source_of(address: str) -> str:
    """What counts as one source: an IPv4 address, or the network of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        host = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if host.ipv4_mapped is not None:
        return str(host.ipv4_mapped)
    if host.is_link_local or host.is_loopback:  # all neighbours share that network
        return address
    return str(ipaddress.ip_network((int(host), _NETWORK_BITS), strict=False))


class Failures:
    """Failures by key: so many at once, and then so many a minute; who never failed is not in the table.

    Args:
        per_minute_max: of one key.
        keys_max: size of the table; beyond it, the key that failed longest ago is forgotten.
        now: monotonic seconds.
    """

    def __init__(self, per_minute_max: int, keys_max: int, now: Callable[[], float]) -> None:
        self._max = per_minute_max
        self._keys_max = keys_max
        self._now = now
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """Failures not yet forgiven, and when that was so; whose last failure is oldest comes first."""

    def __len__(self) -> int:
        return len(self._levels)

    def note(self, key: Hashable) -> None:
        """One more failure."""
        self._levels[key] = (min(self._level(key) + 1, self._max), self._now())
        self._levels.move_to_end(key)
        if len(self._levels) > self._keys_max:
            self._levels.popitem(last=False)

    def exhausted(self, key: Hashable) -> bool:
        """Whether it has failed as often as it may for now."""
        return self._level(key) > self._max - 1

    def has_failed(self, key: Hashable) -> bool:
        """Whether there is a failure that is not forgiven yet."""
        return self._level(key) > 0

    def _level(self, key: Hashable) -> float:
        level, at_s = self._levels.get(key, (0.0, 0.0))
        left = level - (self._now() - at_s) * self._max / 60
        if level and left <= 0:
            del self._levels[key]
        return max(0.0, left)


class Line(Generic[T]):
    """Those who wait, by where they come from: each source has its turn, however many another one sends."""

    def __init__(self, length_max: int) -> None:
        self._length_max = length_max
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        """Whose turn is next comes first."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, source: str, one: T) -> T | None:
        """Let one more wait; if those are too many, the last one of the source that has most of them has to go."""
        self._waiting.setdefault(source, deque()).append(one)
        self._length += 1
        if self._length <= self._length_max:
            return None
        longest = max(self._waiting, key=lambda each: len(self._waiting[each]))
        return self._pop(longest, self._waiting[longest].pop)

    def take(self) -> T | None:
        """Whose turn it is; None if nobody waits."""
        if not self._waiting:
            return None
        source = next(iter(self._waiting))
        self._waiting.move_to_end(source)
        return self._pop(source, self._waiting[source].popleft)

    def _pop(self, source: str, pop: Callable[[], T]) -> T:
        one = pop()
        self._length -= 1
        if not self._waiting[source]:
            del self._waiting[source]
        return one
