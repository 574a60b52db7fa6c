"""Which events of the log somebody asks for: to be replayed, to be written to a file, to be shown. Pure."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from gateway.conditions import Condition, json_of
from gateway.event import QUARANTINED
from gateway.topics import is_valid_filter, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.event import Event

SEQS_MAX = 10_000
"""Events that can be asked for one by one."""
SEQ_MAX = 2**53
"""No log gets this far."""
_TOPICS_CACHED_MAX = 10_000


class Wanted(NamedTuple):
    """A stretch of the log, and what of it is wanted."""

    first_seq: int = 1
    last_seq: int = SEQ_MAX
    begin_ns: int | None = None
    """True time, nanoseconds since 1970, of the earliest event that is wanted; None is no limit."""
    end_ns: int | None = None
    topic: str = "#"
    """An MQTT topic filter."""
    device: str | None = None
    """MQTT client id."""
    where: str = ""
    """A condition on the payload (see `conditions`); empty is none."""
    quarantined: bool = False
    """Whether also those that violate their contract are wanted."""
    seqs: tuple[int, ...] = ()
    """If there are any, these and no others; rising."""

    @classmethod
    def of(cls, seqs: Iterable[int]) -> Self:
        """Some events, each by its number, whatever they say."""
        numbers = tuple(sorted(set(seqs)))
        return cls(numbers[0], numbers[-1], seqs=numbers)

    def check(self) -> None:
        """Look whether this can be asked for.

        Raises:
            ValueError: says what to write instead.
        """
        if not is_valid_filter(self.topic):
            raise ValueError(f"{self.topic!r} is not an MQTT topic filter; for all topics write '#'")
        if self.where:
            Condition(self.where)
        if list(self.seqs) != sorted(set(self.seqs)):
            raise ValueError("events that are asked for one by one stand in order, each once")
        if len(self.seqs) > SEQS_MAX:
            raise ValueError(f"one by one, {SEQS_MAX:,} events can be asked for; these are {len(self.seqs):,}")

    def numbers(self, first: int, last: int) -> int:
        """How many numbers from `first` to `last` are asked for, whatever events they have."""
        first, last = max(first, self.first_seq), min(last, self.last_seq)
        if self.seqs:
            return max(0, bisect_right(self.seqs, last) - bisect_left(self.seqs, first))
        return max(0, last - first + 1)

    def next(self, after_seq: int) -> tuple[int, int] | None:
        """The next run of numbers after `after_seq` that are asked for, both ends included; None if there is none."""
        if not self.seqs:
            first = max(after_seq + 1, self.first_seq)
            return (first, self.last_seq) if first <= self.last_seq else None
        begin = end = bisect_right(self.seqs, after_seq)
        if begin == len(self.seqs):
            return None
        while end + 1 < len(self.seqs) and self.seqs[end + 1] == self.seqs[end] + 1:
            end += 1
        return self.seqs[begin], self.seqs[end]

    def chooser(
        self, time_of: Callable[[Event], int], document_of: Callable[[str, bytes], Any] = json_of
    ) -> Callable[[Event], bool]:
        """Tells of an event in the stretch whether it is wanted.

        Args:
            time_of: its true time, nanoseconds since 1970; asked only if a time was asked for.
            document_of: what the payload on a topic says, for conditions; raises ValueError for one that says nothing.
        """
        device, begin_ns, end_ns, any_verdict = self.device, self.begin_ns, self.end_ns, self.quarantined
        if self.topic == "#":

            def fits(topic: str) -> bool:
                return topic[0] != "$"

        else:
            fits = lru_cache(_TOPICS_CACHED_MAX)(lambda topic: matches(self.topic, topic))

        def is_wanted(event: Event) -> bool:
            return (
                (device is None or event.client_id == device)
                and fits(event.topic)
                and (any_verdict or event.verdict != QUARANTINED)
            )

        if begin_ns is None and end_ns is None and not self.where:
            return is_wanted
        earliest_ns = float("-inf") if begin_ns is None else begin_ns
        latest_ns = float("inf") if end_ns is None else end_ns
        holds = Condition(self.where).holds if self.where else None

        def says_so(event: Event) -> bool:
            try:
                return holds is None or holds(document_of(event.topic, event.payload))
            except ValueError:
                return False

        return lambda event: is_wanted(event) and earliest_ns <= time_of(event) <= latest_ns and says_so(event)

    def encoded(self) -> str:
        """As it is stored."""
        return json.dumps(self._asdict(), separators=(",", ":"))


def decoded(text: str) -> Wanted:
    """As it was stored.

    Raises:
        ValueError: it is not what was written.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        return Wanted(**{**values, "seqs": tuple(values["seqs"])})
    except (TypeError, KeyError) as error:
        raise ValueError("this is no stretch of a log") from error
