"""Puts events of a file that was set aside back into the log, where their numbers are missing.

Never overwrites an event and never touches the file, so doing it again does no harm. Numbers that the ledger calls a
gap stay empty: the books count them as never used.
"""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import ConfigError
from gateway.eventlog import ahead_rows, losses
from gateway.eventlog.losses import Span
from gateway.eventlog.mending import Mender, damaged_folder, runs
from gateway.eventlog.reader import last_of
from gateway.eventlog.recovery import log_id_in
from gateway.eventlog.segment import Segment, path_of
from gateway.eventlog.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.event import Event
    from gateway.eventlog.notes import Notes
    from gateway.eventlog.reader import LogReader
    from gateway.eventlog.recovery import Opened

_NAME = re.compile(r"(\d{20})\.db(\..*)?")
_READ_EVENTS = 1000
_READ_BYTES_MAX = 8 * 1024 * 1024


class PutBack(NamedTuple):
    """What became of a file."""

    file: Path
    readable: int
    """Events in it that can be read."""
    put_back: int
    """Of those, how many were missing in the log and are there again."""
    passed_by: list[str]
    """Upstreams whose cursor is beyond some of them: what they do not have of these is not forwarded by itself."""


def find(data_dir: Path, name: Path) -> Path:
    """The file of a segment that `name` stands for: a path, or a name within the data directory or `damaged`.

    Raises:
        ConfigError: there is none, or it is no segment that was set aside.
    """
    places = (name, data_dir / name, damaged_folder(data_dir) / name)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise ConfigError(f"{name} is not there", f"Set-aside files are in {damaged_folder(data_dir)}.")
    if not _NAME.fullmatch(path.name):
        raise ConfigError(
            f"{path} is no segment", "A segment's name begins with 20 digits and .db; only those can be put back."
        )
    if path.resolve().parent == (data_dir / "log").resolve():
        raise ConfigError(f"{path} is part of the log", "To mend the log itself: gateway repair, without a file.")
    return path


def put_back(found: Opened, mender: Mender, path: Path, clock: Clock) -> PutBack:
    """Put what is missing in an opened log back from a file that was set aside.

    Raises:
        ConfigError: the file is of another log.
        LogError: the disk refused; what is done already stays.
    """
    other = log_id_in(path)
    if other and other != found.log_id:
        raise ConfigError(f"{path} is of another log ({other})", f"This one is {found.log_id}.")
    first = int(path.name[:20])
    segments = [each for each in found.reader.segments if each <= first]
    index = len(segments) - 1
    work = found.writer.folder.parent / "salvage"
    if not segments or index + 1 == len(found.reader.segments):  # retention let it go, or nothing can be missing
        return PutBack(path, 0, 0, [])
    target, last = segments[-1], last_of(found.reader.segments, index)
    try:
        draft, kept = mender.draft(path, Span(first, last))
        missing = losses.without(kept, [*_held(found.reader, target, last), *_gaps(found)])
        if draft is not None and missing:
            found.reader.forget(target)
            _store(draft, path_of(found.writer.folder, target), missing)
            losses.record_found(found.state.path, missing, f"put back from {path.name}", clock.wall_ns())
    finally:
        shutil.rmtree(work, ignore_errors=True)
    passed = {name for name, seq in found.state.cursors().items() if missing and seq >= missing[0].first}
    if missing:
        passed.update(ahead_rows.step_back(found.state.path, missing[0].first - 1))
    return PutBack(path, _count(kept), _count(missing), sorted(passed))


def _held(reader: LogReader, first_seq: int, last_seq: int) -> list[Span]:
    """The numbers that have an event, in order."""
    found: list[Span] = []
    at = first_seq - 1
    while events := reader.read(at, last_seq, _READ_EVENTS):
        for event in events:
            if found and found[-1].last == event.seq - 1:
                found[-1] = Span(found[-1].first, event.seq)
            else:
                found.append(Span(event.seq, event.seq))
        at = events[-1].seq
    return found


def _gaps(found: Opened) -> list[Span]:
    return [Span(row.first_seq, row.last_seq) for row in losses.ledger(found.state.path) if row.cause == losses.GAP]


def _store(draft: Path, target: Path, missing: list[Span]) -> None:
    segment = Segment.open(target)
    try:
        for events, noted in _read(draft, missing):
            segment.append_runs(runs(events), noted)
        segment.settle()
    finally:
        segment.close()


def _read(draft: Path, spans: list[Span]) -> Iterator[tuple[list[Event], Notes]]:
    with closing(SegmentReader(draft)) as reader:
        for span in spans:
            at = span.first
            while events := reader.read(at, span.last, _READ_EVENTS, _READ_BYTES_MAX):
                at = events[-1].seq + 1
                yield events, reader.notes(events[0].seq, events[-1].seq, len(events))


def _count(spans: list[Span]) -> int:
    return sum(span.last - span.first + 1 for span in spans)
