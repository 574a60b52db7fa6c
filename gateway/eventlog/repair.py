"""Looks over every segment of a log that nobody runs, and mends the damaged ones (see `mending`)."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from gateway.eventlog import damage, lock, putback, recovery, wal
from gateway.eventlog.damage import Damaged
from gateway.eventlog.mending import Mended, Mender
from gateway.eventlog.reader import last_of
from gateway.eventlog.segment import connect_reading, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.eventlog.config import LogConfig
    from gateway.eventlog.putback import PutBack
    from gateway.eventlog.reader import LogReader
    from gateway.eventlog.recovery import Opened

_READ_EVENTS = 1000


def repair(data_dir: Path, config: LogConfig, clock: Clock) -> list[Mended]:
    """Mend every damaged segment, also those that no upstream needs any more; returns what became of each.

    Raises:
        ConfigError: a gateway runs on the data directory.
        LogError: the disk refuses.
    """
    with _opened(data_dir, config, clock) as (found, mender):
        return _mend_all(found, mender)


def put_back(data_dir: Path, files: Sequence[Path], config: LogConfig, clock: Clock) -> list[PutBack]:
    """Put what the log lacks back from files that were set aside; returns what became of each (see `putback`).

    Raises:
        ConfigError: a gateway runs on the data directory, or a file is not one of this log.
        LogError: the disk refuses.
    """
    paths = [putback.find(data_dir, file) for file in files]
    with _opened(data_dir, config, clock) as (found, mender):
        return [putback.put_back(found, mender, path, clock) for path in paths]


@contextmanager
def _opened(data_dir: Path, config: LogConfig, clock: Clock) -> Iterator[tuple[Opened, Mender]]:
    lock.prepare(data_dir)
    held = lock.DataDirLock(data_dir)
    try:
        found = recovery.open_log(data_dir, config, clock)
        try:
            yield found, Mender(data_dir, found.log_id, clock)
        finally:
            found.reader.close()
            recovery.close_log(found.writer, found.state)
    finally:
        held.release()


def _mend_all(found: Opened, mender: Mender) -> list[Mended]:
    folder, reader, done = found.writer.folder, found.reader, []
    for first in list(reader.segments):
        last = last_of(reader.segments, reader.segments.index(first))
        reason = fault(path_of(folder, first), "events") or _fault_within(reader, first, min(last, found.head))
        if not reason:
            continue
        reader.forget(first)
        if first == reader.segments[-1]:
            reader.segments = [*reader.segments, found.writer.seal()]
        following = reader.segments[reader.segments.index(first) + 1]
        mended = mender.mend(first, following, 0, reason)
        done += [mended] if mended is not None else []
    return done


def _fault_within(reader: LogReader, first_seq: int, last_seq: int) -> str:
    """What is wrong with the events of a segment; each is read with its checksum."""
    at = first_seq - 1
    try:
        while events := reader.read(at, last_seq, _READ_EVENTS):
            at = events[-1].seq
    except Damaged as damaged:
        return str(damaged)
    return ""


def fault(path: Path, table: str) -> str:
    """What is wrong with the structure of a database; empty if it is whole and has `table`.

    Raises:
        LogError: the disk did not give it.
    """
    if lost := damage.header_fault(path) or wal.fault(path):
        return f"{path} is damaged: {lost}"
    try:
        with closing(connect_reading(path)) as connection:
            damage.look_over(connection, path)
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 - our own names
    except Damaged as damaged:
        return str(damaged)
    except damage.SQLITE_ERRORS as error:
        if damage.is_damage(error):
            return f"{path} is damaged: {error}"
        raise damage.translated(error, path, f"{path} cannot be read: {error}") from error
    return ""
