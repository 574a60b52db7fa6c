"""Every error this gateway raises on purpose, sorted by whose move is next.

    GatewayError
    ├── ConfigError          the operator: mend the configuration or the machine
    ├── ProtocolViolation    the device: its connection is closed, nothing else happens
    ├── LogError             the disk: nothing is acknowledged until it is well again
    ├── TooManySessions      a client: it is turned away until another session has ended
    └── DeliveryError        the upstream
        ├── Unreachable      no connection, or it broke: reconnect with backoff, same batch
        ├── Busy             it asked for time: wait, same batch
        ├── Blocked          credentials, permissions, a missing queue: keep everything, try slowly
        └── Refused          these events can never be taken: quarantine them, go on

Foreign exceptions are translated into these at the edge that owns the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class GatewayError(Exception):
    """Base of all of them.

    Args:
        message: what is wrong, and where.
        hint: what to do next; empty if the message says it all.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(GatewayError):
    """The operator has to change the configuration or the machine before this can work."""


class ProtocolViolation(GatewayError):  # noqa: N818 - named for what the device did
    """A device broke the protocol: its connection is closed, nothing after the packet is read."""


class LogError(GatewayError):
    """The disk did not do what it was asked; nothing that it concerns was acknowledged."""


class TooManySessions(GatewayError):  # noqa: N818 - named for why the client is turned away
    """No further persistent session can begin."""

    def __init__(self, sessions_max: int) -> None:
        super().__init__(
            f"there are {sessions_max} persistent sessions already",
            "End sessions that nobody needs (connect with a clean session), or raise broker.sessions_max.",
        )


class DeliveryError(GatewayError):
    """An upstream did not take events; they stay in the log and the cursor stays before them."""


class Unreachable(DeliveryError):  # noqa: N818 - a state of the upstream, as the runner names it
    """No connection, or it broke. The same batch is sent again after a backoff."""


class Busy(DeliveryError):  # noqa: N818 - as above
    """The upstream asked for time; the connection may be kept.

    Args:
        message: what it said.
        wait_s: seconds it asked for; None leaves the wait to the runner's backoff.
    """

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Blocked(DeliveryError):  # noqa: N818 - as above
    """Nothing will be taken until an operator acts there: credentials, permissions, a missing queue."""


class Refused(DeliveryError):  # noqa: N818 - as above
    """These events, and only these, can never be taken; the others up to `acknowledged` were.

    Args:
        reasons: seq of each refused event, and why.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(f"{len(reasons)} event(s) refused")
        self.reasons = dict(reasons)
