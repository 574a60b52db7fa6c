"""Looks over every segment of a log that nobody runs, and mends the damaged ones (see `mending`)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

from gateway.eventlog import damage, lock, recovery, wal
from gateway.eventlog.damage import Damaged
from gateway.eventlog.mending import Mended, Mender
from gateway.eventlog.segment import connect_reading, path_of

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.eventlog.config import LogConfig


def repair(data_dir: Path, config: LogConfig, clock: Clock) -> list[Mended]:
    """Mend every damaged segment, also those that no upstream needs any more; returns what became of each.

    Raises:
        ConfigError: a gateway runs on the data directory.
        LogError: the disk refuses.
    """
    lock.prepare(data_dir)
    held = lock.DataDirLock(data_dir)
    try:
        found = recovery.open_log(data_dir, config, clock)
        found.writer.close()
        found.state.close()
        found.reader.close()
        mender = Mender(data_dir, found.log_id, clock)
        segments = found.reader.segments
        done = []
        for first, following in pairwise(segments):
            reason = fault(path_of(data_dir / "log", first))
            mended = mender.mend(first, following, 0, reason) if reason else None
            if mended is not None:
                done.append(mended)
        return done
    finally:
        held.release()


def fault(path: Path) -> str:
    """What is wrong with a segment; empty if its structure is whole.

    Raises:
        LogError: the disk did not give it.
    """
    if lost := damage.header_fault(path) or wal.fault(path):
        return f"{path} is damaged: {lost}"
    try:
        with closing(connect_reading(path)) as connection:
            damage.look_over(connection, path)
            connection.execute("SELECT seq FROM events LIMIT 1").fetchone()
    except Damaged as damaged:
        return str(damaged)
    except sqlite3.Error as error:
        if damage.is_damage(error):
            return f"{path} is damaged: {error}"
        raise damage.translated(error, path, f"{path} cannot be read: {error}") from error
    return ""
