"""A copy of a data directory, made while a gateway runs on it or when none does, that `gateway run` opens.

Promises: no cursor in the copy is ahead of its log, as the state is copied before the segment that is being written;
what the copy says of itself is read back, every event with its checksum, before it counts as made. The log is only
read, a few pages at a time.

A log that is begun from a copy must not give out numbers again that the original gave out after it. So the state of a
copy is marked, and the first start on it goes on far above (see `recovery`).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import ConfigError, LogError
from gateway.eventlog import damage, state
from gateway.eventlog.damage import Damaged, sync_folder, wal_of
from gateway.eventlog.reader import last_of, segments_in
from gateway.eventlog.recovery import COPY_OF
from gateway.eventlog.repair import fault
from gateway.eventlog.segment import connect, connect_reading, path_of
from gateway.eventlog.segment_reader import SegmentReader

if TYPE_CHECKING:
    from pathlib import Path

INCOMPLETE = "incomplete"
_PAGES_PER_STEP = 64
_REST_S = 0.002
"""Between two steps, so that the gateway gets at the disk."""
_STEPS_PER_SYNC = 16
"""An fsync of all at once would hold up the gateway's own."""
_TRIES = 5
_READ_EVENTS = 1000
_READ_BYTES_MAX = 8 * 1024 * 1024


class Copied(NamedTuple):
    """What a backup holds."""

    segments: int
    events: int
    last_seq: int
    """0 if there is no event."""
    bytes_: int
    faults: list[str]
    """What is damaged, in the copy as in the log; empty if all is well."""


def backup(data_dir: Path, to: Path, now_ns: int) -> Copied:
    """Copy a log with its state into the folder `to`, which is made if it does not exist.

    Until it is complete everything is in `to`/incomplete; what an attempt before has left there is replaced.

    Raises:
        ConfigError: there is no log in `data_dir`, or `to` is not empty.
        LogError: the disk refuses.
    """
    if not state.path_of(data_dir).exists():
        raise ConfigError(f"gateway.data_dir: there is no log in {data_dir}", "Has the gateway run? (gateway run)")
    made = to / INCOMPLETE
    try:
        check_empty(to)
        shutil.rmtree(made, ignore_errors=True)
        (made / "log").mkdir(parents=True)
        _copy_log(data_dir, made)
        _mark(state.path_of(made), now_ns)
        copied = _looked_over(made)
        _tidy(made)
        for name in ("log", state.path_of(made).name):  # the state last: without it there is no log to open
            (made / name).rename(to / name)
        made.rmdir()
        sync_folder(to)
    except OSError as error:
        raise LogError(f"{to}: {error.strerror}", "Is it writable, with room for the log? (df, ls -ld)") from error
    return copied


def check_empty(to: Path) -> None:
    """Make sure that nothing is in the folder of a backup.

    Raises:
        ConfigError: something is.
        OSError: it cannot be looked at.
    """
    if to.exists() and any(each.name not in {INCOMPLETE, "lost+found"} for each in to.iterdir()):
        raise ConfigError(f"{to} is not empty", "Name a new folder: a backup is never written over another.")


def _copy_log(data_dir: Path, made: Path) -> None:
    log, to = data_dir / "log", made / "log"
    for first in segments_in(log)[:-1]:
        with suppress(FileNotFoundError):  # removed by retention meanwhile
            _copy(path_of(log, first), path_of(to, first))
    for _ in range(_TRIES):
        _copy(state.path_of(data_dir), state.path_of(made))
        try:
            for first in segments_in(log):
                if not path_of(to, first).exists():
                    _copy(path_of(log, first), path_of(to, first))
        except FileNotFoundError:  # removed after the state was copied, which may still ask for it
            continue
        sync_folder(to)
        return
    raise LogError(f"{log}: segments are removed faster than they can be copied", "Allow more (log.retention_*).")


def _copy(path: Path, to: Path) -> None:
    """Copy a database as of one moment, whoever writes it.

    Raises:
        FileNotFoundError: it is gone.
        LogError: the disk refuses. A damaged one is copied byte by byte.
    """
    to.unlink(missing_ok=True)
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with closing(connect_reading(path)) as source, closing(sqlite3.connect(to, isolation_level=None)) as target:
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on it stands still
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            target.execute("PRAGMA cache_size = -1000")
            with to.open("rb") as file:
                source.backup(target, pages=_PAGES_PER_STEP, progress=_Pace(file.fileno()))
        damage.sync_file(to)
    except Damaged:
        _copy_bytes(path, to)
    except sqlite3.Error as error:
        if not damage.is_damage(error):
            raise damage.translated(
                error, path, f"{path} cannot be copied: {error}", "Look at the disk (df)."
            ) from error
        _copy_bytes(path, to)


def _copy_bytes(path: Path, to: Path) -> None:
    shutil.copyfile(path, to)
    with suppress(FileNotFoundError):
        shutil.copyfile(wal_of(path), wal_of(to))
        damage.sync_file(wal_of(to))
    damage.sync_file(to)


class _Pace:
    """Rests after each step of a copy, and has it written out little by little."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._steps = 0

    def __call__(self, _status: int, _remaining: int, _total: int) -> None:
        self._steps += 1
        if self._steps % _STEPS_PER_SYNC == 0:
            os.fsync(self._descriptor)
        time.sleep(_REST_S)


def _mark(path: Path, now_ns: int) -> None:
    try:
        with closing(connect(path)) as copied:
            copied.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (COPY_OF, str(now_ns)))
            copied.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise damage.translated(error, path, f"{path} cannot be marked as a copy: {error}") from error


def _looked_over(made: Path) -> Copied:
    """Read everything back."""
    log = made / "log"
    segments = segments_in(log)
    faults, events, last_seq = [], 0, 0
    for index, first in enumerate(segments):
        path = path_of(log, first)
        found = fault(path, "events")
        try:
            count, last = (0, 0) if found else _read(path, last_of(segments, index))
        except Damaged as damaged:
            found, count, last = str(damaged), 0, 0
        faults += [found] if found else []
        events, last_seq = events + count, max(last_seq, last)
    faults += _state_faults(state.path_of(made), max([last_seq, *(first - 1 for first in segments)]))
    size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    return Copied(len(segments), events, last_seq, size, faults)


def _tidy(made: Path) -> None:
    """Remove what reading has left; a write-ahead log that was copied stays."""
    for path in [*made.rglob("*.db-shm"), *made.rglob("*.db-wal")]:
        if path.suffix == ".db-shm" or not path.stat().st_size:
            path.unlink()


def _read(path: Path, last_seq: int) -> tuple[int, int]:
    """How many events a segment holds, and the last; each is read with its checksum."""
    count, last = 0, 0
    with closing(SegmentReader(path)) as reader:
        while events := reader.read(last + 1, last_seq, _READ_EVENTS, _READ_BYTES_MAX):
            count, last = count + len(events), events[-1].seq
    return count, last


def _state_faults(path: Path, head: int) -> list[str]:
    if found := fault(path, "cursors"):
        return [found]
    with closing(state.StateReader(path)) as reader:
        furthest = [*reader.cursors().items(), *((name, each.furthest) for name, each in reader.ahead().items())]
        ahead = {name: seq for name, seq in furthest if seq > head}
    return [f"{path} is damaged: the cursor {seq} of {name} is ahead of the log" for name, seq in ahead.items()]
