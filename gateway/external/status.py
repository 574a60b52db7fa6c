"""What the source tells of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

State = Literal["connecting", "connected", "unreachable", "busy", "blocked", "stopped"]


@dataclass(slots=True)
class SourceStatus:
    """A snapshot of an external broker as a source. Counters run since the start of the process."""

    url: str
    client_id: str
    topics: list[str]
    state: State = "connecting"
    reason: str = ""
    """What the last error said, or which topics the broker refuses; empty if all is well."""
    since_mono_ns: int = 0
    """When the state was entered."""
    messages: int = field(default=0, metadata={"description": "messages taken in"})
    repeats: int = field(default=0, metadata={"description": "repeats of what was stored already"})
    invalid: int = field(default=0, metadata={"description": "messages thrown away, because their topic is none"})
    reconnects: int = field(default=0, metadata={"description": "connections made after the first"})
    sessions_lost: int = field(default=0, metadata={"description": "times the broker had forgotten our session"})
    held_up: bool = False
    """Whether nothing is read now, because the log is full."""

    def describe(self, now_ns: int) -> dict[str, object]:
        """What `gateway status` tells; plain JSON values. `now_ns` is of the clock that stamped `since_mono_ns`."""
        facts = asdict(self)
        facts["state_s"] = round((now_ns - facts.pop("since_mono_ns")) / 1e9, 1)
        return facts
