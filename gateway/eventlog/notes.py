"""What a segment notes of its events beside them: why one was flagged or quarantined, and which it releases.

A note stands in the transaction of its event. Each has a checksum; one that is not what was written costs its reason,
never the event: that has its verdict in itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from zlib import crc32

from gateway.event import ACCEPTED, QUARANTINED
from gateway.eventlog.batch import Release, Violated

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from gateway.event import Event

LOST = "lost"
"""The rule of a violation whose note is not what was written."""
_HAS_NOTES = "SELECT 1 FROM sqlite_schema WHERE name = 'violations'"
_VIOLATIONS = "SELECT seq, found, crc FROM violations WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
_RELEASES = "SELECT seq, original, crc FROM releases WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"


class Noted(Protocol):
    """Whatever has notes: a batch, or what was read of a segment."""

    @property
    def violations(self) -> Sequence[Violated]:
        """Why events were flagged or quarantined."""
        ...

    @property
    def releases(self) -> Sequence[Release]:
        """Which events release which."""
        ...


class Notes(NamedTuple):
    """Those of some events, in order."""

    violations: list[Violated]
    releases: list[Release]


NOTHING = Notes([], [])


def store(db: sqlite3.Connection, noted: Noted) -> None:
    """Write notes in the caller's transaction."""
    db.executemany("INSERT INTO violations VALUES (?, ?, ?)", map(_row, noted.violations))
    releases = ((seq, original, _crc(seq, original)) for seq, original in noted.releases)
    db.executemany("INSERT INTO releases VALUES (?, ?, ?)", releases)


def read(db: sqlite3.Connection, first_seq: int, last_seq: int, rows_max: int) -> Notes:
    """Notes of the events from one number to another, of a segment of any schema; `rows_max` of each kind."""
    if not db.execute(_HAS_NOTES).fetchone():
        return NOTHING
    asked = first_seq, last_seq, rows_max
    violations = [_violated(row) for row in db.execute(_VIOLATIONS, asked)]
    releases = [
        Release(seq, original) for seq, original, crc in db.execute(_RELEASES, asked) if crc == _crc(seq, original)
    ]
    return Notes(violations, releases)


def complete(found: Notes, events: Sequence[Event]) -> Notes:
    """Notes of exactly these events: where one says it has a violation, and there is no note of it, that it is lost."""
    why = {(violated.seq, violated.verdict): violated for violated in found.violations}
    seqs = {event.seq for event in events}
    return Notes(
        [why.get((event.seq, event.verdict)) or lost(event) for event in events if event.verdict != ACCEPTED],
        [release for release in found.releases if release.seq in seqs],
    )


def lost(event: Event) -> Violated:
    """All that can be told of a violation whose note is lost."""
    return Violated(event.seq, event.verdict, "", "", event.client_id, "", LOST, "")


def _row(violated: Violated) -> tuple[object, ...]:
    seq, *found = violated
    text = json.dumps(found, separators=(",", ":"))
    return seq, text, _crc(seq, text)


def _violated(row: tuple[Any, ...]) -> Violated:
    seq, found, crc = row
    if isinstance(found, bytes):  # salvage reads text so
        found = found.decode(errors="replace")
    if crc != _crc(seq, found):
        return Violated(seq, QUARANTINED, "", "", "", "", LOST, "")
    return Violated(seq, *json.loads(found))


def _crc(*values: object) -> int:
    return crc32(repr(values).encode())
