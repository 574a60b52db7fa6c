"""The port between the forwarder and an upstream.

An upstream reports facts and the runner decides: it never buffers beyond the batch at hand, never retries, never
sleeps, and never touches a cursor. Every wait of it on the outside world has a deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.event import Event


class Upstream(Protocol):
    """A destination of events. One runner owns it and calls it from one task."""

    acknowledged: int
    """How many leading events of the batch last given to `send` the upstream durably has. It grows while `send`
    runs and keeps its value after `send` raised: the runner moves the cursor by it, and takes a connection on
    which it stands still for `stall_timeout_s` for stalled."""

    async def open(self) -> None:
        """Connect and authenticate, within the configured timeout.

        Raises:
            Unreachable: no connection.
            Busy: the upstream asks to come back later.
            Blocked: it is there and will not have us until an operator acts.
        """
        ...

    async def send(self, events: Sequence[Event]) -> None:
        """Hand over `events`, in order; returning means the upstream durably has every one of them.

        May be cancelled at any time; the runner calls `close` then.

        Raises:
            Unreachable: the connection broke; `acknowledged` events had been taken.
            Busy: as `Unreachable`, but the upstream asked for time.
            Blocked: as `Unreachable`, but the upstream does not permit it.
            Refused: the named events can never be taken, all others of the batch were.
        """
        ...

    async def wait_closed(self) -> None:
        """Return when the connection is gone, so that an idle runner notices; never raises."""
        ...

    async def close(self) -> None:
        """Let go of the connection; idempotent, within 2 s, never raises."""
        ...
