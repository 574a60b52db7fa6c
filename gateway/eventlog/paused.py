"""Where `state.db` keeps which upstreams an operator has paused, and since when (nanoseconds since 1970)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_KNOWN = "SELECT 1 FROM sqlite_master WHERE name = 'paused'"


def load(db: sqlite3.Connection) -> dict[str, int]:
    """By name; none if an earlier version wrote the database."""
    if db.execute(_KNOWN).fetchone() is None:
        return {}
    return dict(db.execute("SELECT upstream, since_ns FROM paused"))


def keep(db: sqlite3.Connection, upstream: str, since_ns: int) -> None:
    """Within the caller's transaction."""
    db.execute("INSERT OR REPLACE INTO paused VALUES (?, ?)", (upstream, since_ns))


def drop(db: sqlite3.Connection, upstream: str) -> None:
    """Within the caller's transaction."""
    db.execute("DELETE FROM paused WHERE upstream = ?", (upstream,))
