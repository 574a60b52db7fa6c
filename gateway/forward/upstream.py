"""The port between the forwarder and an upstream.

An upstream reports facts and the runner decides: it never buffers beyond the batch at hand, never retries, never
sleeps, and never touches a cursor. The runner sets its deadlines: it cancels an `open` that takes longer than
`connect_timeout_s` and a `send` in which nothing is acknowledged for `stall_timeout_s`, and calls `close` then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.errors import DeliveryError
    from gateway.event import Event


class Upstream(Protocol):
    """A destination of events. One runner owns it and calls it from one task."""

    @property
    def acknowledged(self) -> int:
        """How many leading events of the batch last given to `send` the upstream durably has.

        It grows while `send` runs and keeps its value after `send` raised: the runner moves the cursor by it, and
        takes a connection on which it stands still for `stall_timeout_s` for stalled. A refused event counts only
        once `send` has raised `Refused`.
        """
        ...

    async def open(self) -> None:
        """Connect and authenticate; called only after `close`, or first of all.

        Raises:
            Unreachable: no connection.
            Busy: the upstream asks to come back later.
            Blocked: it is there and will not have us until an operator acts.
        """
        ...

    async def send(self, events: Sequence[Event]) -> None:
        """Hand over `events`, in order; returning means the upstream durably has every one of them.

        Raises:
            Unreachable: there is no connection, or it broke; `acknowledged` events had been taken.
            Busy: as `Unreachable`, but the upstream asked for time, and the connection may have been kept.
            Blocked: as `Unreachable`, but the upstream does not permit it.
            Refused: the named events can never be taken, the others among the first `acknowledged` were, and the
                rest of the batch has to be given again. At least one event is named.
        """
        ...

    async def wait_closed(self) -> DeliveryError:
        """Return why the connection is gone as soon as it is, so that an idle runner notices; never raises."""
        ...

    async def close(self) -> None:
        """Let go of the connection; idempotent, within 2 s, never raises."""
        ...
