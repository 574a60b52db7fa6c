"""What the log tells of itself."""

from __future__ import annotations

from typing import NamedTuple


class LogStatus(NamedTuple):
    """A look at the log."""

    head: int
    oldest: int
    segments: int
    size_bytes: int
    pending_events: int
    error: str
    """Why the disk does not do what it is asked; empty if all is well."""
    full: str
    """Why devices are not read from though the disk is well; empty if they are."""
    retained: int
    """Retained messages."""
    retained_refused: int
    """Messages not retained since the start, because of the limits on those."""
