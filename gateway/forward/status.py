"""What a forwarder tells about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

State = Literal["connecting", "connected", "unreachable", "busy", "blocked", "stalled", "stopped", "paused", "resting"]
"""`connected` means that events go through, or that none wait; a connection alone does not end a trouble.
`stalled` means that nothing moves, on the upstream's side or on the disk's; the reason tells which.
`paused` means that an operator wants it so, `resting` that it is not its hours: it is not connected then."""


@dataclass(slots=True)
class ForwarderStatus:
    """A snapshot of one forwarder. Counters run since the start of the process."""

    name: str
    kind: str
    url: str
    cursor: int
    """Every event up to this seq is taken, quarantined or filtered."""
    role: str = "main"
    """`main`, `backlog`, or the topic filter of a priority."""
    state: State = "connecting"
    reason: str = ""
    """What the last error said; empty once events go through again."""
    since_mono_ns: int = 0
    """When the state was entered."""
    acknowledged_mono_ns: int | None = None
    """When the upstream last took an event; None before the first."""
    forwarded: int = field(default=0, metadata={"description": "events the upstream has taken"})
    filtered: int = field(default=0, metadata={"description": "events not meant for the upstream"})
    quarantined: int = field(default=0, metadata={"description": "events the upstream can never take"})
    expired: int = field(default=0, metadata={"description": "events that were too old when their turn came"})
    bytes_: int = field(default=0, metadata={"description": "of topics and payloads, sent once or again"})
    reconnects: int = field(default=0, metadata={"description": "connections made after the first"})
    stalls: int = field(default=0, metadata={"description": "connections dropped because nothing was acknowledged"})
