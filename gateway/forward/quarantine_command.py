"""What `gateway quarantine` asks of a running gateway: take over what is new, release, remove."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import ConfigError, LogError
from gateway.eventlog.quarantine_rows import Chosen
from gateway.eventlog.wanted import SEQ_MAX, SEQS_MAX, Wanted
from gateway.forward.envelope import time_text
from gateway.ingest.release import Releasing, Still

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.eventlog.log import EventLog
    from gateway.eventlog.quarantine_rows import Kept
    from gateway.eventlog.replays import Replay
    from gateway.ingest.ingest import Ingest

_TOLD_MAX = 100
"""So many that could not be released are named; the others are counted."""
_PAGE_ROWS = 1000
_PATIENCE_S = 45.0
"""Shorter than whoever asks waits for the answer."""
GONE = "the log does not have the event any more, so it cannot be sent under its number; export it"


class Asked(BaseModel):
    """Which rows are meant. What is not given is no limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    upstream: str | None = None
    contract: str | None = None
    released: bool = False
    first_seq: int = Field(default=1, ge=1, le=SEQ_MAX)
    last_seq: int = Field(default=SEQ_MAX, ge=0, le=SEQ_MAX)
    begin_ns: int | None = None
    end_ns: int | None = None
    topic: str = "#"
    device: str | None = None
    seqs: list[int] = Field(default=[], max_length=SEQS_MAX)

    def chosen(self) -> Chosen:
        """As the quarantine takes it.

        Raises:
            ConfigError: says what to write instead.
        """
        seqs = tuple(sorted(set(self.seqs)))
        wanted = Wanted(
            self.first_seq, self.last_seq, self.begin_ns, self.end_ns, self.topic, self.device, "", quarantined=True
        )
        wanted = wanted._replace(seqs=seqs)
        try:
            wanted.check()
        except ValueError as error:
            raise ConfigError(f"quarantine: {error}") from error
        return Chosen(wanted, self.upstream, self.contract, self.released)


class Replayer(Protocol):
    """Whoever sends events to an upstream once more."""

    async def begin(self, upstream: str, wanted: Wanted) -> Replay:
        """Begin to send what is wanted of the log; durable when it returns."""
        ...


class QuarantineCommands:
    """Carries commands out.

    Args:
        log: what is in quarantine.
        ingest: takes violations in that are released.
        replayer: sends an upstream again what it has refused.
    """

    def __init__(self, log: EventLog, ingest: Ingest, replayer: Replayer) -> None:
        self._log = log
        self._releasing = Releasing(log, ingest, time_text)
        self._replayer = replayer

    async def obey(self, request: Mapping[str, Any]) -> object:
        """Carry out `{"command": "quarantine", "action": ..., ...}`.

        Raises:
            ConfigError: it cannot be done, and nothing has changed.
            LogError: the disk refused.
        """
        action = request.get("action")
        if action == "follow":
            await self._log.follow()
            return {}
        try:
            asked = Asked.model_validate({key: value for key, value in request.items() if key not in _ENVELOPE})
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"quarantine: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if action == "release":
                    return await self._release(asked.chosen())
                if action == "purge":
                    return {"purged": await self._purge(asked.chosen())}
        except TimeoutError as error:
            raise LogError(
                "the disk takes very long; the release goes on when it does", "gateway quarantine list shows it."
            ) from error
        raise ConfigError("this is no command that the gateway knows")

    async def _release(self, chosen: Chosen) -> dict[str, object]:
        events, still = 0, list[Still]()
        if chosen.upstream in {None, ""}:
            events, still = await self._releasing.release(chosen)
        replays: list[dict[str, object]] = []
        gone: list[Still] = []
        if chosen.upstream != "" and chosen.contract is None:
            async with self._log.quarantined.exclusive:
                replays, gone = await self._send_again(chosen)
        still += gone
        return {
            "released": events,
            "replays": replays,
            "still": len(still),
            "why": [
                {"seq": row.seq, "upstream": row.upstream, "topic": row.topic, "why": why}
                for row, why in still[:_TOLD_MAX]
            ],
        }

    async def _send_again(self, chosen: Chosen) -> tuple[list[dict[str, object]], list[Still]]:
        """Have the upstreams sent what they refused; which replays do it, and what the log does not have any more."""
        replays: list[dict[str, object]] = []
        oldest = self._log.status().oldest
        rows = [row for row in await self._all(chosen._replace(released=False)) if row.upstream]
        gone = [Still(row, GONE) for row in rows if row.seq < oldest]
        for upstream in sorted({row.upstream for row in rows}):
            theirs = [row for row in rows if row.upstream == upstream and row.seq >= oldest]
            for at in range(0, len(theirs), SEQS_MAX):
                part = sorted(theirs[at : at + SEQS_MAX], key=lambda row: row.seq)
                seqs = tuple(row.seq for row in part)
                try:
                    wanted = Wanted(seqs[0], seqs[-1], quarantined=True, seqs=seqs)
                    replay = await self._replayer.begin(upstream, wanted)
                except ConfigError as error:
                    gone += [Still(row, str(error)) for row in part]
                    continue
                # After the replay: if this is lost, they are sent once more under the same ids, and none is forgotten.
                await self._log.quarantined.mark_released(part)
                replays.append({"upstream": upstream, "replay": replay.id, "events": len(part)})
        return replays, gone

    async def _purge(self, chosen: Chosen) -> int:
        async with self._log.quarantined.exclusive:
            await self._log.follow()
            rows = await self._all(chosen)
            await self._log.quarantined.purge(rows)
        return len(rows)

    async def _all(self, chosen: Chosen) -> list[Kept]:
        """Every row that is meant, without its payload, which is not needed here; the quarantine is bounded."""
        found: list[Kept] = []
        while page := await self._log.quarantined.find(chosen, _PAGE_ROWS, found[-1].id if found else 0):
            found += _light(page)
        return found


_ENVELOPE = frozenset({"command", "action"})


def _light(rows: Iterable[Kept]) -> Iterable[Kept]:
    return (row if row.payload is None else row._replace(payload=b"") for row in rows)
