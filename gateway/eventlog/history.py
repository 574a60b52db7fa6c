"""The log for commands: read only, beside a running gateway or without one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

from gateway.conditions import json_of
from gateway.errors import ConfigError
from gateway.eventlog import books, held, lock, losses, paused, quarantine_rows, replays, segment, state, times
from gateway.eventlog.ahead import NOTHING, pending_after
from gateway.eventlog.boots import Boots
from gateway.eventlog.losses import Span
from gateway.eventlog.reader import LogReader
from gateway.eventlog.state import StateReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from gateway.event import Event
    from gateway.eventlog.books import Line
    from gateway.eventlog.losses import Loss
    from gateway.eventlog.quarantine_rows import Chosen, Kept
    from gateway.eventlog.replays import Replay
    from gateway.eventlog.wanted import Wanted


_KEEPS_COPIES = "SELECT 1 FROM pragma_table_info('quarantine') WHERE name = 'payload'"
_KEEPS_BOOKS = "SELECT 1 FROM pragma_table_info('cursors') WHERE name = 'started'"


class History:
    """A data directory opened for reading; a context manager."""

    def __init__(self, data_dir: Path) -> None:
        """Open it.

        Raises:
            ConfigError: no gateway has ever stored anything there.
        """
        if not state.path_of(data_dir).exists():
            raise ConfigError(
                f"gateway.data_dir: there is no log in {data_dir}",
                "Has the gateway run with this configuration? (gateway run)",
            )
        self._data_dir = data_dir
        self._state = StateReader(state.path_of(data_dir))
        self._reader = LogReader(data_dir / "log")
        self.log_id = self._state.log_id()
        self.boots = Boots("", self._state.anchors())
        """Tells the true times of events, by what is known at the last `scan`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._state.close()
        self._reader.close()

    def head(self) -> int:
        """The highest sequence number stored; 0 if there is none."""
        self._reader.refresh()
        return self._reader.head()

    def scan(self, after_seq: int, last_seq: int | None = None) -> Iterator[Event]:
        """Every stored event after `after_seq` up to `last_seq`, in order, in bounded memory."""
        self._reader.refresh()
        self.boots = Boots("", self._state.anchors())
        yield from self._reader.scan(after_seq, last_seq)

    def wanted(self, wanted: Wanted, document_of: Callable[[str, bytes], Any] = json_of) -> Iterator[Event]:
        """Every stored event that is wanted, in order, in bounded memory; a time is found without reading up to it.

        Args:
            wanted: what is.
            document_of: what a payload on a topic says (see `Wanted.chooser`).
        """
        self._reader.refresh()
        self.boots = boots = Boots("", self._state.anchors())
        is_wanted = wanted.chooser(lambda event: boots.of(event)[0], document_of)
        stretch = wanted.first_seq, wanted.last_seq
        spans: Iterable[Span] = [Span(*stretch)]
        if wanted.begin_ns is not None or wanted.end_ns is not None:
            spans = times.spans(self._reader, boots, wanted.begin_ns, wanted.end_ns, *stretch)
        for span in spans:
            for event in self._reader.scan(span.first - 1, span.last):
                if is_wanted(event):
                    yield event

    def replays(self) -> list[Replay]:
        """Replays as they are stored, oldest first."""
        return replays.stored(state.path_of(self._data_dir))

    def quarantined(self, chosen: Chosen) -> Iterator[Kept]:
        """Rows of the quarantine that are meant, in the order they came, in bounded memory.

        One without a copy of its message gets it from the log, if that has it.

        Raises:
            ConfigError: the gateway has not run since an earlier version, which kept less.
        """
        if not self._keeps_copies():
            raise ConfigError(
                f"{self._state.path} was written by an earlier version", "Start the gateway once (gateway run)."
            )
        after_id = 0
        while page := self._state.ask(partial(quarantine_rows.page, chosen, after_id)):
            for row in page:
                if row.payload is None:
                    events = self._reader.read(row.seq - 1, row.seq, 1)
                    yield quarantine_rows.with_copy(row, events[0]) if events else row
                else:
                    yield row
            after_id = page[-1].id

    def _keeps_copies(self) -> bool:
        return self._state.ask(lambda db: db.execute(_KEEPS_COPIES).fetchone()) is not None

    def losses(self) -> list[Loss]:
        """The loss ledger, oldest first.

        Raises:
            ConfigError: the gateway has not run since an earlier version that kept none.
        """
        self._require_books()
        return self._state.losses()

    def _keeps_books(self) -> bool:
        return self._state.ask(lambda db: db.execute(_KEEPS_BOOKS).fetchone()) is not None

    def _require_books(self) -> None:
        if not self._keeps_books():
            raise ConfigError(
                f"{self._state.path} was written by an earlier version, which kept no books",
                "Start the gateway once; books are kept from then on (gateway run).",
            )

    def books(self, configured: Collection[str]) -> list[Line]:
        """The books of every upstream (see `books`), added up from the files: at one moment only if no gateway runs.

        Args:
            configured: names of the upstreams in the configuration.

        Raises:
            ConfigError: the gateway has not run since an earlier version that kept none.
            Damaged: a segment is not what was written; the gateway mends it at its next start.
        """
        rows, accounts, head = self.losses(), self._state.accounts(), self.head()
        after_seq = min((account.seq for account in accounts.values()), default=head)
        parts = held.parts(self._data_dir / "log", self._reader.segments, after_seq, head)
        return books.lines(
            accounts,
            head=max(head, after_seq),
            held=[span for part in parts for span in part.held()],
            missing=losses.missing_in(rows),
            booked=losses.dropped_in(rows),
            configured=configured,
            ahead=self._state.ahead(),
        )

    def status(self, configured: Collection[str] = ()) -> dict[str, Any]:
        """What can be told of a gateway that does not run, in the shape of a running one's status.

        Args:
            configured: names of the upstreams in the configuration; one that never ran begins at the oldest event.
        """
        head = self.head()
        segments = self._reader.segments
        oldest = segments[0] if segments else head + 1
        cursors = dict.fromkeys(configured, oldest - 1) | self._state.cursors()
        quarantined, held_back = self._state.quarantined(), self._state.ask(paused.load)
        ahead = self._state.ahead()
        return {
            "running": lock.holder(self._data_dir) is not None,
            "log": {
                "head": head,
                "oldest": oldest,
                "segments": len(segments),
                "size_bytes": sum(
                    segment.size_of(segment.path_of(self._data_dir / "log", first)) for first in segments
                ),
                "pending_events": 0,
                "error": "",
                "full": "",
                "retained": self._state.retained(),
                "retained_refused": 0,
            },
            "quarantine": quarantine_rows.describe(
                self._state.ask(quarantine_rows.sums) if self._keeps_copies() else []
            ),
            "upstreams": [
                {
                    "name": name,
                    "state": "paused" if name in held_back else "stopped",
                    "cursor": cursor,
                    "pending": pending_after(cursor, head, ahead.get(name, NOTHING), self._without_event()),
                    "quarantined": quarantined.get(name, 0),
                }
                for name, cursor in cursors.items()
            ],
        }

    def _without_event(self) -> list[Span]:
        """Numbers that have no event, as far as the ledger tells; none of a log of a version that kept no ledger."""
        if not self._keeps_books():
            return []
        missing = losses.missing_in(self._state.losses())
        return [*missing.gaps, *missing.damaged]
