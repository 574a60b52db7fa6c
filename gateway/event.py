"""An event: what a device said, with its place in the log and its true time. Pure data."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LOCAL = ""
"""Origin of an event that a device on this site published."""
ACCEPTED, FLAGGED, QUARANTINED = 0, 1, 2
"""Verdicts: it fulfils its contract or has none; it does not and goes on, marked; it does not and goes nowhere."""


class Event(NamedTuple):
    """One stored event. It is never changed; `seq` is its identity within one log.

    A tuple and not a dataclass, because one is built for every message on the hot path.
    """

    seq: int
    """Position in the log: strictly rising over all segments, never used again."""
    received_ns: int
    """Wall clock (UTC) when the gateway read the message, nanoseconds since 1970."""
    mono_ns: int
    """Time since this boot of the machine (CLOCK_BOOTTIME), nanoseconds; with `boot_id` it
    tells the true time even if the wall clock was wrong."""
    boot_id: str
    """The kernel's random id of the boot in which the event was received."""
    client_id: str
    """MQTT client identifier of the device."""
    topic: str
    qos: int
    """QoS of the publish: 0, 1 or 2."""
    retain: bool
    """Whether the device set the RETAIN flag."""
    payload: bytes
    """The payload as it came, any bytes."""
    origin: str = LOCAL
    """`LOCAL`, or the name of the upstream that the event came from."""
    properties: bytes | None = None
    """MQTT 5 properties as they came on the wire (length prefix excluded); None for MQTT 3.1.1."""
    verdict: int = ACCEPTED
    """What its contract said when it came."""


new_event: Callable[[tuple[Any, ...]], Event] = partial(tuple.__new__, Event)
"""An event of a tuple of all its fields: a third of the time of calling the class, and no field is checked."""
