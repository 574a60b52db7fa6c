"""The port between a connection and whoever owns all of them: who is let in, and what is no message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.broker.connection import Connection
    from gateway.broker.outbox import Outbox
    from gateway.broker.packets import Connect


class Owner(Protocol):
    """Whoever owns the connections."""

    def arrived(self, connection: Connection) -> None:
        """The socket is open; the connection is closed if it is one too many."""
        ...

    def over_limit(self, limit: str) -> None:
        """A client is slowed or closed, because it is over the limit of this name."""
        ...

    def connecting(self, connection: Connection, connect: Connect) -> None:
        """A CONNECT came; the connection is held until `admit` or `close`."""
        ...

    def control(self, connection: Connection, packet: bytes) -> None:
        """A SUBSCRIBE or UNSUBSCRIBE came; the connection is held until `answered` or `close`."""
        ...

    def outbox(self, client_id: str) -> Outbox | None:
        """Deliveries of a client, if it ever subscribed."""
        ...

    def closed(self, connection: Connection) -> None:
        """The connection is gone."""
        ...
