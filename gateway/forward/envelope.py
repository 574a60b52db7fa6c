"""The raw envelope: topic and payload as they came, and beside them what names an event. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.event import Event


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def time_text(wall_ns: int) -> str:
    """RFC 3339 in UTC with microseconds, e.g. `2026-11-23T04:05:16.000001Z`; the rest is cut off, not rounded."""
    seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest_ns // 1000:06d}Z"


class RawEnvelope:
    """Names events for the world outside this gateway.

    Args:
        gateway_id: id of this gateway, names the source of the event.
        log_id: id of the event log; with `seq` it names an event once and for all, on every try the same.
    """

    def __init__(self, *, gateway_id: str, log_id: str) -> None:
        self._source = f"urn:gateway:{gateway_id}"
        self._prefix = f"{log_id}."

    def properties(self, event: Event) -> list[tuple[str, str]]:
        """Id, time of receipt, source and device of `event`, in the order they are sent."""
        return [
            ("id", f"{self._prefix}{event.seq}"),
            ("time", time_text(event.received_ns)),
            ("source", self._source),
            ("device", event.client_id),
        ]
