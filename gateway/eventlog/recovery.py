"""Opens a log whatever has happened to its files: damaged ones are set aside, numbers begin where none can clash.

Looks at `state.db` and the newest segment only; damage in an older one is found by whoever reads it.
"""

from __future__ import annotations

import logging
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gateway import __version__
from gateway.errors import LogError
from gateway.eventlog import damage, devices, losses, mending, paused, quarantine, state, upgrade, wal
from gateway.eventlog.damage import Damaged
from gateway.eventlog.losses import Span
from gateway.eventlog.places import CURSORS_LOST
from gateway.eventlog.reader import LogReader, segments_in
from gateway.eventlog.reserve import Reserve
from gateway.eventlog.segment import first_seq_of, path_of
from gateway.eventlog.segment_reader import SegmentReader
from gateway.eventlog.state import State
from gateway.eventlog.writer import SegmentWriter, safely_above

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.eventlog.config import LogConfig

_LOG_ID = re.compile(rb"log_id([0-9a-f]{32})")
COPY_OF = "copy_of"
"""In the meta of the state of a backup that nothing was begun from yet: when it was made, nanoseconds since 1970."""
STOPPED = "stopped"
"""In the meta of the state: "1" once a gateway has stopped in order, empty while one runs or after it was killed."""
RESTORED_GAP = 10**12
"""Ten events each millisecond for three years; `SEQ_MAX` leaves room for a thousand such gaps."""
_META_WITHIN_BYTES = 64 * 1024
"""The meta of a segment is on one of its first pages."""

logger = logging.getLogger(__name__)


class Opened(NamedTuple):
    """A log, opened."""

    state: State
    log_id: str
    writer: SegmentWriter
    reader: LogReader
    head: int
    """The last event that can be read; of a damaged newest segment nothing counts before it is mended."""


def open_log(data_dir: Path, config: LogConfig, clock: Clock) -> Opened:
    """Open state, writer and reader, on a full disk in the room of the reserve; the caller holds the lock.

    Raises:
        ConfigError: a newer version has written it; nothing was changed.
        LogError: the disk refuses; damage does not raise.
    """
    upgrade.refuse_newer(data_dir)
    reserve = Reserve(data_dir / "reserve", config.reserve_bytes)
    try:
        opened = _open_log(data_dir, config, clock, reserve)
    except LogError:
        if not reserve.give_up():
            raise
        opened = _open_log(data_dir, config, clock, reserve)
    with suppress(LogError):  # the writer tries again before it stores anything
        reserve.hold()
    return opened


def close_log(writer: SegmentWriter, opened: State) -> None:
    """Let go of what was opened, in order: the next start knows that nothing is missing which it does not find."""
    with suppress(LogError):  # the next start looks as after a kill then
        opened.set_meta(STOPPED, "1")  # before the write-ahead log goes
    writer.close()
    opened.close()


def _open_log(data_dir: Path, config: LogConfig, clock: Clock, reserve: Reserve) -> Opened:
    mending.finish(data_dir)
    folder = data_dir / "log"
    _give_back_names(folder)
    opened, lost = _open_state(data_dir, reserve, has_segments=bool(segments_in(folder)))
    try:
        if lost:
            log_id = _find_log_id(folder)
            if log_id:
                opened.set_meta("log_id", log_id)
            why = f"{lost}; cursors were not known any more"
            losses.record(opened.path, [Span(0, 0)], losses.GAP, why, clock.wall_ns())
            opened.set_meta(CURSORS_LOST, "1")
            logger.error(
                "the state of the log was lost: every upstream starts at the oldest event and may see events again",
                extra={"reason": lost, "log_id": log_id or "new"},
            )
        log_id = opened.log_id()
        if opened.meta(upgrade.VERSION) != __version__:
            opened.set_meta(upgrade.VERSION, __version__)
        writer = SegmentWriter(folder, log_id, config.segment_bytes_max, reserve)
        lacks_log = _lacks_log(folder, opened)
        writer.open(_least_seq(data_dir, opened, config))
        if writer.lost_tail:
            why = "events up to here were given to an upstream or to the state, and the files end before"
            losses.record(opened.path, [writer.lost_tail], losses.DAMAGED, why, clock.wall_ns())
        if lacks_log and writer.unsure_from is None and not opened.meta(COPY_OF):
            writer.leap(safely_above(writer.next_seq, config.segment_bytes_max))
        if writer.gap:
            why = "left out because files are gone that told of the newest events; what used these is lost"
            losses.record(opened.path, [writer.gap], losses.GAP, why, clock.wall_ns())
            logger.error("the newest events may be lost: the numbers go on above a gap", extra={"gap": writer.gap})
        if opened.meta(COPY_OF):
            _leave_original(opened, writer, clock)
        if opened.meta(STOPPED) != "":
            with suppress(LogError):  # a full disk; all that is lost is that the next start could look more closely
                opened.set_meta(STOPPED, "")
        reader = LogReader(folder)
        return Opened(opened, log_id, writer, reader, _head(writer, reader))
    except LogError:
        opened.close()
        raise


def _lacks_log(folder: Path, opened: State) -> bool:
    """Whether the newest segment has no write-ahead log, though no gateway has closed it.

    SQLite would not miss it: either it is gone, or with the newest segment, of which the state may not know yet.
    """
    newest = segments_in(folder)[-1:]
    return bool(newest) and opened.meta(STOPPED) == "" and not damage.wal_of(path_of(folder, newest[0])).exists()


def _leave_original(opened: State, writer: SegmentWriter, clock: Clock) -> None:
    """Begin a log that was restored from a backup far above every number the original can have given out since.

    The distance is partly random, so that two logs begun from one backup do not meet either.
    """
    gap = writer.leap(writer.next_seq + RESTORED_GAP + secrets.randbelow(10 * RESTORED_GAP))
    losses.record(opened.path, [gap], losses.GAP, "left out when a backup was restored", clock.wall_ns())
    opened.set_meta(COPY_OF, "")
    logger.warning("a backup was restored: the numbers go on above a gap", extra={"next_seq": gap.last + 1})


def _give_back_names(folder: Path) -> None:
    """Where a segment is gone and its write-ahead log is not, put an empty file: so it is salvaged as a damaged one is.

    What is older than every segment is what a crash left of one that retention removed.
    """
    known = segments_in(folder)
    for log in folder.glob("[0-9]" * 20 + ".db-wal"):
        path = log.with_name(log.name.removesuffix("-wal"))
        is_left = bool(known) and first_seq_of(path) < known[0]
        if not is_left and log.is_file() and log.stat().st_size and not path.exists():
            path.touch()
            logger.error("a segment is gone, and what its write-ahead log holds is salvaged", extra={"file": str(path)})


def _open_state(data_dir: Path, reserve: Reserve, *, has_segments: bool) -> tuple[State, str]:
    """The state, and why it had to be made anew; empty if it had not."""
    path = state.path_of(data_dir)
    if not path.exists():
        if damage.wal_of(path).exists() or path.is_symlink():
            damage.set_aside(path, mending.damaged_folder(data_dir))
        return State(path, reserve), f"{path} is gone" if has_segments else ""
    try:
        opened = _open_whole(path, reserve) if has_segments else State(path, reserve)
    except Damaged as damaged:
        aside = damage.set_aside(path, mending.damaged_folder(data_dir))
        anew = State(path, reserve)
        kept = devices.carry_over(aside, anew)
        quarantine.carry_over(aside, anew)
        paused.carry_over(aside, anew)
        return anew, f"{damaged} (set aside as {aside.name}; devices that may log in: {kept} carried over)"
    return opened, ""


def _open_whole(path: Path, reserve: Reserve) -> State:
    if fault := damage.header_fault(path):
        raise Damaged(path, f"{path} is damaged: {fault}")
    if fault := wal.fault(path):
        # What SQLite takes of it was true once, and is only older: cursors of a moment ago, and not the oldest event.
        aside = damage.copy_aside(path, mending.damaged_folder(path.parent))
        wal.drop_rest(path)
        logger.error(
            "the newest changes of the state are lost; upstreams may see events again",
            extra={"file": str(path), "reason": fault, "aside": str(aside)},
        )
    opened = State(path, reserve)
    try:
        opened.check()
    except LogError:
        opened.close()
        raise
    return opened


def _find_log_id(folder: Path) -> str:
    """The id of the log as its newest readable segment tells it; empty if none does."""
    return next(filter(None, (log_id_in(path_of(folder, first)) for first in reversed(segments_in(folder)))), "")


def log_id_in(path: Path) -> str:
    """The id of the log that a segment, damaged or not, belongs to; empty if it cannot be told."""
    try:
        with path.open("rb") as file:
            found = _LOG_ID.search(file.read(_META_WITHIN_BYTES))
    except OSError:
        return ""
    return found[1].decode() if found else ""


def _least_seq(data_dir: Path, opened: State, config: LogConfig) -> int:
    """The lowest number that may be given out, whatever the segments say."""
    least = 1 + max([opened.retained_seq(), opened.high_water(), *opened.cursors().values()])
    newest = segments_in(data_dir / "log")[-1:]
    aside = [
        int(path.name[:20])
        for path in mending.damaged_folder(data_dir).glob("[0-9]" * 20 + ".db.*Z")
        if not newest or int(path.name[:20]) > newest[0]
    ]
    if aside:  # the newest segment was set aside and nothing was begun after it
        least = safely_above(max([least, *aside]), config.segment_bytes_max)
    return least


def _head(writer: SegmentWriter, reader: LogReader) -> int:
    if writer.unsure_from is None:
        return writer.next_seq - 1
    sure = writer.unsure_from - 1
    if writer.damaged is not None or len(reader.segments) < 2:
        return sure
    path = path_of(writer.folder, reader.segments[-2])
    try:
        before = SegmentReader(path)
    except Damaged:
        return sure
    try:
        bounds = before.bounds()
    except Damaged:
        return sure
    finally:
        before.close()
    return max(sure, min(bounds[1], reader.segments[-1] - 1)) if bounds else sure
