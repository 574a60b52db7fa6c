"""Memory that was freed goes back to the system when it is told to: glibc keeps what lies below anything in use."""

from __future__ import annotations

import ctypes

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""malloc_trim(3); other libraries than glibc have none."""


def give_back() -> None:
    """Return to the system what nobody uses. Takes a millisecond or two, so it is for the end of a burst."""
    if _TRIM is not None:
        _TRIM(0)
