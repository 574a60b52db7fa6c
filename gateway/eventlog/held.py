"""Which numbers of a segment have an event, without reading the events."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from gateway.eventlog.damage import Damaged, inode_of, translated
from gateway.eventlog.losses import Span
from gateway.eventlog.reader import last_of
from gateway.eventlog.segment import connect_reading, path_of
from gateway.eventlog.segment_reader import SALVAGED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_META = "SELECT value FROM meta WHERE key = ?"
_ENDS = """
    SELECT (SELECT min(seq) FROM events WHERE seq BETWEEN :first AND :last),
           (SELECT max(seq) FROM events WHERE seq BETWEEN :first AND :last)"""
"""Each of the two is one way down the tree; `SELECT min(seq), max(seq)` would read every page."""
_RUNS = """
    SELECT min(seq), max(seq) FROM (
        SELECT seq, seq - row_number() OVER (ORDER BY seq) AS run FROM events WHERE seq BETWEEN :first AND :last
    ) GROUP BY run ORDER BY 1"""


class Part:
    """A segment, and the numbers of it that are asked for."""

    def __init__(self, path: Path, first: int, last: int) -> None:
        self.path = path
        self.first = first
        self.last = last

    def held(self) -> list[Span]:
        """The numbers that have an event, in order.

        Only a salvaged segment is counted through: in any other, numbers have no gap, and a reader that finds one has
        found damage.

        Raises:
            Damaged: the segment is not what was written.
            LogError: the disk did not give it.
        """
        inode = inode_of(self.path)
        try:
            with closing(connect_reading(self.path)) as db:
                salvaged = db.execute(_META, (SALVAGED,)).fetchone()
                found = db.execute(_RUNS if salvaged else _ENDS, {"first": self.first, "last": self.last}).fetchall()
        except sqlite3.Error as error:
            raise translated(error, self.path, f"{self.path} cannot be read: {error}", inode=inode) from error
        if any((low is None) != (high is None) for low, high in found):
            raise Damaged(self.path, f"{self.path} is damaged: its tree leads nowhere", inode)
        return [Span(*run) for run in found if run[0] is not None]

    def meta(self, key: str) -> str:
        """A word that the segment says of itself; empty if it does not.

        Raises:
            Damaged: the segment is not what was written.
            LogError: the disk did not give it.
        """
        inode = inode_of(self.path)
        try:
            with closing(connect_reading(self.path)) as db:
                row = db.execute(_META, (key,)).fetchone()
        except sqlite3.Error as error:
            raise translated(error, self.path, f"{self.path} cannot be read: {error}", inode=inode) from error
        return str(row[0]) if row else ""


def parts(folder: Path, segments: Sequence[int], after_seq: int, last_seq: int) -> Iterator[Part]:
    """The segments that can hold an event after `after_seq` up to `last_seq`, in order."""
    for index, begin in enumerate(segments):
        first, last = max(begin, after_seq + 1), min(last_seq, last_of(segments, index))
        if first <= last:
            yield Part(path_of(folder, begin), first, last)
