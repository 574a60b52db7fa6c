"""The port between the forwarder and an upstream.

Events stream: `send` may return while what it was given is still under way, so that the uplink never idles between two
batches. An upstream reports facts and the runner decides: it keeps nothing beyond the batch at hand and what is under
way, never retries, never sleeps, and never touches a cursor. The runner sets its deadlines: it cancels an `open` that
takes longer than `connect_timeout_s`, and drops the connection if events are under way and none is acknowledged for
`stall_timeout_s`; it calls `close` then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.errors import DeliveryError
    from gateway.event import Event


class Upstream(Protocol):
    """A destination of events. One runner owns it and never calls it twice at the same time."""

    @property
    def acknowledged(self) -> int:
        """How many events the upstream durably has since `open`, in the order in which they were given to `send`.

        It grows by itself while events are under way, and stands still while none are. After an exception of `send` it
        counts the taken ones of those under way that no missing one precedes; the runner gives all others again. A
        refused event counts only once `send` has raised `Refused`.
        """
        ...

    async def open(self) -> None:
        """Connect and authenticate; called only after `close`, or first of all. `acknowledged` is 0 again.

        Raises:
            Unreachable: no connection.
            Busy: the upstream asks to come back later.
            Blocked: it is there and will not have us until an operator acts.
        """
        ...

    async def send(self, events: Sequence[Event]) -> None:
        """Hand over `events`, in order and behind those under way; return when there is room for more.

        With no events at all: return when nothing is under way any more, which means that the upstream durably has
        everything it was given. This may be cancelled, and what is under way remains so.

        Raises, and in each case nothing is under way any more; what is wrong with an event may be told by any later
        call:
            Unreachable: there is no connection, or it broke.
            Busy: as `Unreachable`, but the upstream asked for time, and the connection may have been kept.
            Blocked: as `Unreachable`, but the upstream does not permit it.
            Refused: the named events, at least one, can never be taken. They are among the `acknowledged` now, whose
                others were taken.
        """
        ...

    async def wait_closed(self) -> DeliveryError:
        """Return why the connection is gone as soon as it is, so that an idle runner notices; never raises."""
        ...

    async def close(self) -> None:
        """Let go of the connection; idempotent, within 2 s, never raises. `acknowledged` keeps its value."""
        ...
