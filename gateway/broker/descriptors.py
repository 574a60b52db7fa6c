"""File descriptors: every connection takes one, and most systems begin a process with 1,024."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress

_BESIDE_CONNECTIONS = 128
"""For segments, upstreams and whatever else the process opens."""

logger = logging.getLogger(__name__)


def make_room(connections_max: int) -> None:
    """Have this process open as many files as `connections_max` connections need, as far as the system allows it."""
    wanted = connections_max + _BESIDE_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_enough(soft, wanted):
        return
    with suppress(OSError, ValueError):  # a sandbox may forbid it
        soft = hard if not _is_enough(hard, wanted) else wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if not _is_enough(allowed, wanted):
        logger.warning(
            "the system allows fewer open files than broker.connections_max connections need; "
            "raise LimitNOFILE= of the service, or ulimit -n",
            extra={"allowed": allowed, "connections_max": connections_max, "needed": wanted},
        )


def _is_enough(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted
