"""The loss ledger: which numbers of the log have no event any more, and why. Rows in `state.db`.

Rows are never changed. Ranges are inclusive. `events` is how many events are known to be lost: a range of the cause
`gap` has 0, because its numbers were left out for safety and nobody knows of an event that had one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from gateway.eventlog import schema
from gateway.eventlog.damage import translated
from gateway.eventlog.segment import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

DAMAGED = "damaged"
GAP = "gap"


class Span(NamedTuple):
    """A run of sequence numbers, both ends included."""

    first: int
    last: int


class Loss(NamedTuple):
    """A row of the ledger."""

    at_ns: int
    upstream: str | None
    """None: lost for every upstream."""
    first_seq: int
    last_seq: int
    events: int
    cause: str
    detail: str


def without(spans: Iterable[Span], known: Iterable[Span]) -> list[Span]:
    """The parts of `spans` that no span of `known` covers, in order. Pure."""
    left = sorted(spans)
    for taken in sorted(known):
        cut: list[Span] = []
        for span in left:
            if taken.last < span.first or span.last < taken.first:
                cut.append(span)
                continue
            if span.first < taken.first:
                cut.append(Span(span.first, taken.first - 1))
            if taken.last < span.last:
                cut.append(Span(taken.last + 1, span.last))
        left = cut
    return left


def record(state_path: Path, spans: Sequence[Span], cause: str, detail: str, now_ns: int) -> list[Span]:
    """Note numbers that are lost for every upstream; durable when it returns, and harmless if said twice.

    It has a connection of its own, so any thread may call it.

    Returns:
        What was not in the ledger before.

    Raises:
        LogError: the disk refused.
    """
    with closing(connect(state_path)) as db:
        try:
            schema.migrate(db, schema.state)
            db.execute("BEGIN IMMEDIATE")
            rows = db.execute("SELECT first_seq, last_seq FROM losses WHERE upstream IS NULL").fetchall()
            new = without(spans, [Span(*row) for row in rows])
            db.executemany(
                "INSERT INTO losses (at_ns, upstream, first_seq, last_seq, events, cause, detail)"
                " VALUES (?, NULL, ?, ?, ?, ?, ?)",
                [
                    (now_ns, span.first, span.last, 0 if cause == GAP else span.last - span.first + 1, cause, detail)
                    for span in new
                ],
            )
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise translated(error, state_path, f"{state_path}: {error}", "Is the disk full? (df, dmesg)") from error
    return new


def ledger(state_path: Path) -> list[Loss]:
    """Every row, oldest first."""
    with closing(connect(state_path)) as db:
        try:
            rows = db.execute(
                "SELECT at_ns, upstream, first_seq, last_seq, events, cause, detail FROM losses ORDER BY id"
            ).fetchall()
        except sqlite3.Error as error:
            raise translated(error, state_path, f"{state_path} cannot be read: {error}") from error
    return [Loss(*row) for row in rows]
