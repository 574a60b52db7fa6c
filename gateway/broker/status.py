"""What the broker tells of itself."""

from __future__ import annotations

from typing import NamedTuple


class BrokerStatus(NamedTuple):
    """A look at the broker."""

    listen: list[str]
    connections: int
    clients: int
    accepted: int
    """Connections since the start."""
    turned_away: int
    """Connections beyond `connections_max`, closed at once."""
    refused_logins: int
    violations: int
    """Connections closed because of what the client sent."""
    unfinished_closed: int
    """Connections closed because packets begun and not ended took more than `unfinished_bytes_max`."""
    held_up: int
    """Connections that bring events and are not read now, because the log is full."""
    sessions: int
    """Persistent sessions, those of absent clients among them."""
    sessions_refused: int
    """Persistent sessions that would have been more than `sessions_max`."""
    sessions_expired: int
    """Persistent sessions removed, because their client was away for longer than `session_expiry_s`."""
    wills_dropped: int
    """Wills given up because the log was full, beyond `wills_bytes_max`."""
    deliveries_dropped: int
    """Deliveries to local subscribers given up: the next two in sum."""
    deliveries_unread: int
    """QoS 0: the subscriber did not read."""
    deliveries_overflowed: int
    """QoS 1 and 2: more waited for the subscriber than may."""
    subscribers_disconnected: int
    """Slow subscribers disconnected, where `subscriber_overflow` says so."""
    refused_publishes: int
    """Messages, wills among them, to where their client may not publish."""
    refused_subscriptions: int
    """Filters that cover more than their client may read."""
    refused_client_ids: int
    """Connections under a client identifier that is another login's."""
    refusals: list[dict[str, object]]
    """Of the clients refused last, newest first: `Refusal`."""
    tls: dict[str, object] | None
    """`TlsStatus`; None without TLS."""
    logins_pending: int
    """Logins that wait for a check."""
    logins: int
    """Clients that have logged in, by password or certificate."""
    over_limits: dict[str, int]
    """How often clients were slowed, refused or closed at a limit, by its key; at `connections_max`: those that had not
    logged in and were closed to make room."""
