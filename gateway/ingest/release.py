"""Releases what violated its contract: judged again by today's, it goes into the log as a new event.

The event in the log is never changed: the new one has a number of its own, the stamps of its release, and user
properties that name the original and its time. That it is a release stands in its own transaction; so whatever happens
in the middle, none is lost and none released twice: the next release first takes over what the log tells of this one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gateway.contracts.verdict import Violation
from gateway.event import ACCEPTED, FLAGGED
from gateway.eventlog.batch import Violated
from gateway.ingest.originals import with_original

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.event import Event
    from gateway.eventlog.log import EventLog
    from gateway.eventlog.quarantine_rows import Chosen, Kept
    from gateway.ingest.ingest import Ingest

_ROWS_AT_A_TIME = 200
DAMAGED = "the row is not what was written; the log may have the event (gateway events)"


class Still(NamedTuple):
    """Why a row was not released."""

    row: Kept
    why: str


class Released(NamedTuple):
    """What became of the rows that were meant."""

    events: int
    """Released, each as a new event."""
    still: list[Still]


class Releasing:
    """Releases violations.

    Args:
        log: what was quarantined, and where it goes.
        ingest: knows today's contracts, and whether there is room.
        time_text: a moment in nanoseconds since 1970, as text.
    """

    def __init__(self, log: EventLog, ingest: Ingest, time_text: Callable[[int], str]) -> None:
        self._log = log
        self._ingest = ingest
        self._time_text = time_text

    async def release(self, chosen: Chosen) -> Released:
        """Release what is meant and fulfils its contract by now; the new events are durable when it returns.

        Once begun it goes on to its end, also if whoever asked gives up waiting for it.

        Raises:
            LogError: the disk refused; what was released until then is released.
        """
        return await asyncio.shield(asyncio.ensure_future(self._release(chosen._replace(upstream="", released=False))))

    async def _release(self, chosen: Chosen) -> Released:
        quarantined, events, after_id = self._log.quarantined, 0, 0
        still: list[Still] = []
        async with quarantined.exclusive:
            await self._log.follow()
            while page := await quarantined.find(chosen, _ROWS_AT_A_TIME, after_id):
                room = _Room(self._ingest)
                for row in page:
                    await room.wait()
                    why = self._take(row)
                    if why:
                        still.append(Still(row, why))
                    else:
                        events += 1
                await room.settled()
                await self._log.follow()
                after_id = page[-1].id
        return Released(events, still)

    def _take(self, row: Kept) -> str:
        """Take a row in as a new event; returns why not, if it cannot be."""
        event = row.event()
        if event is None or not row.is_whole:
            return DAMAGED
        said = self._ingest.contracts.judge(event.topic, event.payload)
        if isinstance(said, Violation) and said.policy != "flag":
            return describe(said.contract, said.version, said.field, said.rule, said.value)
        intake, verdict = self._log.intake, FLAGGED if isinstance(said, Violation) else ACCEPTED
        seq = intake.append(
            *self._ingest.now(),
            event.client_id,
            event.topic,
            event.qos,
            self._may_be_retained(event),
            event.payload,
            event.origin,
            self._properties(event),
            verdict,
        )
        if isinstance(said, Violation):
            intake.note_violation(Violated(seq, verdict, *said[:6]))
        intake.note_release(seq, event.seq)
        return ""

    def _properties(self, event: Event) -> bytes:
        time_ns, _ = self._log.boots.of(event)
        return with_original(event.properties, f"{self._log.log_id}.{event.seq}", self._time_text(time_ns))

    def _may_be_retained(self, event: Event) -> bool:
        """Whether it is the newest word of its topic: else it must not take the place of a later one."""
        current = self._log.retained.get(event.topic)
        return event.retain and (current is None or current.seq < event.seq)


def describe(contract: str, version: str, field: str, rule: str, value: str) -> str:
    """A violation as text for people."""
    where = f"{contract} {version}" if contract else "no contract"
    return f"{where}: {field or 'payload'}: {rule}" + (f": {value}" if value else "")


class _Room:
    """Fulfils `Source`: waits for the disk."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._moved = asyncio.Event()

    async def wait(self) -> None:
        """Return when there is room for another event."""
        while self._ingest.congested:
            self._moved.clear()
            self._ingest.wait_for_room(self)
            await self._moved.wait()

    async def settled(self) -> None:
        """Return when everything taken in so far is on disk."""
        self._moved.clear()
        self._ingest.ask_receipt(self, b"-")
        await self._moved.wait()

    def committed(self, receipt: bytes | bytearray) -> None:  # noqa: ARG002 - which it is does not matter
        """Everything is on disk."""
        self._moved.set()

    def relieve(self) -> None:
        """There is room again."""
        self._moved.set()
