"""Replays: what is to be sent again, to whom, how far that is and what became of it. Rows in `state.db`.

A row has two parts: what was asked for, which never changes, and the progress, which is written with the cursors. So
after a crash a replay goes on a little before where it was, and its counters go back together with its position. Each
row has a checksum; one that is not what was written is left out, and logged: then that replay does not go on.

The rows are bounded: so many replays may be under way, and of those that have ended the newest are kept.
"""

from __future__ import annotations

import json
import logging
import zlib
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from gateway.errors import ConfigError
from gateway.eventlog import wanted
from gateway.eventlog.damage import SQLITE_ERRORS, translated
from gateway.eventlog.losses import Span, count_in
from gateway.eventlog.segment import connect_reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from gateway.eventlog.losses import Missing
    from gateway.eventlog.reading import Reading
    from gateway.eventlog.state import State
    from gateway.eventlog.wanted import Wanted

ReplayState: TypeAlias = Literal["running", "paused", "done", "cancelled"]
UNDER_WAY = frozenset({"running", "paused"})

ROWS = "SELECT id, created_ns, upstream, asked, progress, crc FROM replays ORDER BY created_ns, id"
KEEP = "INSERT OR REPLACE INTO replays (id, created_ns, upstream, asked, progress, crc) VALUES (?, ?, ?, ?, ?, ?)"
MOVE = "UPDATE replays SET progress = ?, crc = ? WHERE id = ?"
DROP = "DELETE FROM replays WHERE id = ?"

logger = logging.getLogger(__name__)


class Pacing(NamedTuple):
    """How fast events are replayed; as fast as the upstream takes them if it has neither."""

    rate: float | None = None
    """Events a second."""
    speed: float | None = None
    """So many times as fast as they came."""


class Progress(NamedTuple):
    """How far a replay is."""

    state: ReplayState
    position: int
    """Every event of the stretch up to here is done with."""
    sent: int = 0
    filtered: int = 0
    """Events of the stretch that were not asked for, or not meant for the upstream."""
    refused: int = 0
    """Events that the upstream can never take; they are in quarantine."""
    missing: int = 0
    """Numbers whose event was gone when its turn came."""
    reason: str = ""
    """Why it does not run."""
    ended_ns: int = 0


class Replay(NamedTuple):
    """One replay."""

    id: str
    created_ns: int
    upstream: str
    wanted: Wanted
    pacing: Pacing
    progress: Progress

    @property
    def is_under_way(self) -> bool:
        """Whether it has not ended."""
        return self.progress.state in UNDER_WAY

    def row(self) -> tuple[object, ...]:
        """As it is stored, with a checksum."""
        asked = json.dumps([self.wanted.encoded(), *self.pacing])
        values = (self.id, self.created_ns, self.upstream, asked, json.dumps(self.progress))
        return (*values, zlib.crc32(repr(values).encode()))


class Replays:
    """The stored replays of one log.

    Args:
        state: where they are.
        write: calls a function in the thread that owns `state`.
        reading: of the log.
        missing: numbers without events, as far as they are known.
        moved: called when one has progress that is not on disk.
    """

    def __init__(
        self,
        state: State,
        write: Callable[..., Awaitable[Any]],
        reading: Reading,
        missing: Callable[[], Missing],
        moved: Callable[[], None],
    ) -> None:
        self._state = state
        self._write = write
        self._reading = reading
        self._missing = missing
        self._moved = moved
        self.known = {replay.id: replay for replay in whole(state.replays())}
        """By id, oldest first; to be looked at only."""
        self._unsaved: set[str] = set()

    async def begin(self, replay: Replay, *, under_way_max: int, ended_max: int) -> None:
        """Store a new replay; durable when it returns. The oldest that have ended go, beyond `ended_max`.

        Raises:
            ConfigError: there are `under_way_max` already.
            LogError: the disk refused, and nothing has changed.
        """
        under_way = [one for one in self.known.values() if one.is_under_way]
        if len(under_way) >= under_way_max:
            raise ConfigError(
                f"{len(under_way)} replays are under way already",
                "Wait for one to end or cancel one (gateway replay list), or raise replay.under_way_max.",
            )
        ended = [one.id for one in self.known.values() if not one.is_under_way]
        going = ended[: max(0, len(ended) - ended_max)]
        self.known[replay.id] = replay  # before the write, so that no two that begin at once go beyond the limit
        try:
            await self._write(self._state.keep_replay, replay.row())
        except BaseException:
            del self.known[replay.id]
            raise
        for one in going:
            self.known.pop(one, None)
        if going:
            await self._write(self._state.drop_replays, going)

    async def change(self, id_: str, state: ReplayState, reason: str = "", ended_ns: int = 0) -> Replay:
        """Store that a replay is in another state now, with its progress; durable when it returns.

        Raises:
            LogError: the disk refused; it is in that state all the same, which is stored with the next cursors.
        """
        replay = self.known[id_]
        progress = replay.progress._replace(state=state, reason=reason, ended_ns=ended_ns)
        changed = self.known[id_] = replay._replace(progress=progress)
        self._unsaved.add(id_)
        await self._write(self._state.keep_replay, changed.row())
        return changed

    def advance(
        self, id_: str, position: int, *, sent: int = 0, filtered: int = 0, refused: int = 0, missing: int = 0
    ) -> None:
        """Note what became of the events up to `position`; durable with the cursors."""
        replay = self.known[id_]
        progress = replay.progress
        if position == progress.position and not (sent or filtered or refused or missing):
            return
        self.known[id_] = replay._replace(
            progress=progress._replace(
                position=max(position, progress.position),
                sent=progress.sent + sent,
                filtered=progress.filtered + filtered,
                refused=progress.refused + refused,
                missing=progress.missing + missing,
            )
        )
        self._unsaved.add(id_)
        self._moved()

    def never_used(self, first: int, last: int) -> int:
        """How many numbers from `first` to `last` never had an event, as far as that is known."""
        return count_in(self._missing().gaps, first, last)

    async def bounds(self, begin_ns: int | None, end_ns: int | None, first_seq: int, last_seq: int) -> Span | None:
        """Between which numbers all events from `begin_ns` to `end_ns` are; None if there is none.

        Raises:
            LogError: the disk refused.
        """
        return await self._reading.bounds(begin_ns, end_ns, first_seq, last_seq)

    @property
    def oldest(self) -> int:
        """The first number that the log can have an event of."""
        return self._reading.segments[0]

    @property
    def unsaved(self) -> bool:
        """Whether anything has to be stored."""
        return bool(self._unsaved)

    def take_unsaved(self) -> list[tuple[object, ...]]:
        """What has to be stored; it counts as stored from now on."""
        rows = [self.known[id_].row() for id_ in self._unsaved if id_ in self.known]
        self._unsaved.clear()
        return rows

    def put_back(self, rows: Iterable[tuple[object, ...]]) -> None:
        """What `take_unsaved` gave could not be stored."""
        self._unsaved |= {str(row[0]) for row in rows}


def whole(rows: Iterable[tuple[Any, ...]]) -> list[Replay]:
    """Those that are what was written."""
    found = []
    for row in rows:
        try:
            id_, created_ns, upstream, asked, progress, crc = row
            if zlib.crc32(repr((id_, created_ns, upstream, asked, progress)).encode()) != crc:
                raise ValueError("its checksum is wrong")  # noqa: TRY301 - as what follows raises
            text, *pacing = json.loads(asked)
            found.append(
                Replay(
                    id_, created_ns, upstream, wanted.decoded(text), Pacing(*pacing), Progress(*json.loads(progress))
                )
            )
        except (ValueError, TypeError) as error:
            logger.error(  # noqa: TRY400 - the stack tells nothing
                "a replay is not what was written, and does not go on",
                extra={"replay": str(row[0])[:200], "reason": str(error)},
            )
    return found


def described(replay: Replay) -> dict[str, Any]:
    """What is known of a replay, whether it runs or not; plain JSON values."""
    wanted, progress = replay.wanted, replay.progress
    total = wanted.last_seq - wanted.first_seq + 1
    return {
        "id": replay.id,
        "upstream": replay.upstream,
        "created_ns": replay.created_ns,
        **wanted._asdict(),
        "seqs": len(wanted.seqs),
        **replay.pacing._asdict(),
        **progress._asdict(),
        "done": round((progress.position - wanted.first_seq + 1) / total, 4) if total > 0 else 1.0,
        "connection": None,
        "events_per_s": None,
        "eta_s": None,
    }


def stored(state_path: Path) -> list[Replay]:
    """The replays of a gateway that does not run, oldest first; none if an earlier version has written it.

    Raises:
        LogError: the file cannot be read.
    """
    with closing(connect_reading(state_path)) as db:
        try:
            known = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'replays'").fetchone()
            return whole(db.execute(ROWS).fetchall()) if known else []
        except SQLITE_ERRORS as error:
            raise translated(error, state_path, f"{state_path} cannot be read: {error}") from error
