"""Where `state.db` keeps which upstreams an operator has paused, and since when (nanoseconds since 1970)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from gateway.eventlog.damage import SQLITE_ERRORS, wal_of

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.eventlog.state import State

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


def carry_over(aside: Path, state: State) -> None:
    """Store in `state` what a database that was set aside still tells of it; if it tells nothing, none is paused.

    Raises:
        LogError: the disk does not take it.
    """
    how = "mode=ro" if wal_of(aside).exists() else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{aside.absolute().as_uri()}?{how}", uri=True)) as database:
            found = load(database)
    except SQLITE_ERRORS:
        return
    for upstream, since_ns in found.items():
        if type(upstream) is str and type(since_ns) is int:
            state.transact(partial(keep, upstream=upstream, since_ns=since_ns))
