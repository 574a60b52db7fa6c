"""Where `state.db` keeps what is done ahead of cursors (see `ahead`): one row per upstream, under a checksum of all."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from gateway.eventlog import schema
from gateway.eventlog.ahead import as_text, from_text
from gateway.eventlog.damage import SQLITE_ERRORS, Damaged, translated
from gateway.eventlog.segment import connect

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.eventlog.ahead import Ahead

_ROWS = "SELECT upstream, ahead FROM views"
_KNOWN = "SELECT 1 FROM sqlite_master WHERE name = 'views'"
_CHECKSUM = "SELECT value FROM meta WHERE key = 'views_crc'"


def load(db: sqlite3.Connection, path: Path) -> dict[str, Ahead]:
    """By upstream; nothing if an earlier version wrote the database.

    Raises:
        Damaged: the rows are not what was written.
        LogError: the disk did not give them.
    """
    try:
        if db.execute(_KNOWN).fetchone() is None:
            return {}
        rows, kept = db.execute(_ROWS).fetchall(), db.execute(_CHECKSUM).fetchone()
    except SQLITE_ERRORS as error:
        raise translated(error, path, f"{path} cannot be read: {error}", "Look at the disk (dmesg).") from error
    wrong = Damaged(path, f"{path} is damaged: what is ahead of its cursors is not what was written")
    if rows and (kept is None or kept[0] != schema.checksum_of_cursors(rows)):
        raise wrong
    try:
        return {name: from_text(text) for name, text in rows}
    except (ValueError, TypeError) as error:
        raise wrong from error


def keep(db: sqlite3.Connection, ahead: Mapping[str, Ahead]) -> None:
    """Store what has changed, within the caller's transaction."""
    if not ahead:
        return
    db.executemany(
        "INSERT OR REPLACE INTO views VALUES (?, ?)", [(name, as_text(each)) for name, each in ahead.items()]
    )
    checksum = schema.checksum_of_cursors(db.execute(_ROWS).fetchall())
    db.execute("INSERT OR REPLACE INTO meta VALUES ('views_crc', ?)", (checksum,))


def step_back(state_path: Path, seq: int) -> list[str]:
    """Events after `seq` are in the log again that were missing: let lanes pass them again, and send what is theirs.

    Returns:
        The upstreams that were sent a stretch beyond `seq` live: what of these they lack is not sent by itself.

    Raises:
        LogError: the disk refused.
    """
    with closing(connect(state_path)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            known = load(db, state_path)
            keep(
                db,
                {name: each._replace(lanes=tuple(min(seq, at) for at in each.lanes)) for name, each in known.items()},
            )
            db.execute("COMMIT")
        except SQLITE_ERRORS as error:
            raise translated(error, state_path, f"{state_path}: {error}", "Is the disk full? (df, dmesg)") from error
    return [name for name, each in known.items() if any(span.account.seq > seq for span in each.spans)]
