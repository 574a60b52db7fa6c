"""The event of a simulated device and its bytes.

(`device`, `n`) is the identity of an event: `n` counts from 1 for each device, without gaps, in the order of
generation. An event's bytes are made once; however often it is sent, it is sent as the same bytes.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from device_sims.profiles.signal import Values


@dataclass(frozen=True, slots=True)
class Event:
    """One event, ready to be published."""

    n: int
    topic: str
    payload: bytes


def encode(device: str, n: int, wall_ns: int, values: Values) -> bytes:
    """Compact JSON: `device`, `n`, `time` (ISO 8601, UTC, milliseconds) and the values."""
    return json.dumps(
        {"device": device, "n": n, "time": iso_ms(wall_ns), **values}, separators=(",", ":"), allow_nan=False
    ).encode()


def iso_ms(wall_ns: int) -> str:
    """`wall_ns` (Unix time) as ISO 8601 in UTC, cut to milliseconds."""
    seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"
