"""Our session at the external broker, as it is kept beside the events: packet ids taken in, and what is subscribed to.

A packet id is stored in the transaction of its event, under a name that no device can have: U+0000 is in no client
identifier (MQTT 3.1.1 section 1.5.3). It names the broker and the session, because ids of another session mean nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.external.repeats import Change, Repeats

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.eventlog.log import EventLog

_READ_EVENTS = 200
_NOBODY = "\0"


class KeptSession:
    """What is known of one session.

    Args:
        log: where it is kept.
        name: of the session, and of the broker it is at.
    """

    def __init__(self, log: EventLog, name: str) -> None:
        self._log = log
        self._owner = f"{_NOBODY}{name}"
        self._repeats = Repeats()
        self._filters = log.sessions.subscribed(self._owner)

    async def load(self) -> None:
        """Read again what may still be repeated; forgets what was kept of other sessions.

        Raises:
            LogError: the disk refused to be read; call again.
        """
        for client_id in {client_id for client_id, _ in self._log.inbound if client_id.startswith(_NOBODY)}:
            if client_id != self._owner:
                self._log.intake.mark_inbound(client_id, 0, 0)
        self._repeats.clear()
        ours = {seq: packet_id for (owner, packet_id), seq in self._log.inbound.items() if owner == self._owner}
        wanted = sorted(ours)
        while wanted:
            events = {event.seq: event for event in await self._log.read(wanted[0] - 1, _READ_EVENTS)}
            read_to = max(events, default=wanted[-1])
            while wanted and wanted[0] <= read_to:
                seq = wanted.pop(0)
                if seq in events:
                    self._repeats.load(ours[seq], seq, events[seq].topic, events[seq].payload)
                else:  # retention has dropped it, so nothing can be compared with it
                    self._store([Change(ours[seq], 0)])

    def find(self, packet_id: int, topic: str, payload: bytes) -> int | None:
        """The event that a message marked as a repeat is stored as; None: it is none."""
        return self._repeats.find(packet_id, topic, payload)

    def mark(self, packet_id: int, seq: int, topic: str, payload: bytes) -> None:
        """A message was taken in as event `seq`; its packet id is stored with it."""
        self._store(self._repeats.note(packet_id, seq, topic, payload))

    def prove(self, acknowledged: Iterable[Change]) -> None:
        """The broker has our acknowledgement of these: they will not come again."""
        self._store(self._repeats.prove(acknowledged))

    def lost(self) -> bool:
        """The broker does not know the session any more: forget it too; returns whether there was one."""
        was_there = bool(self._filters)
        self._log.intake.mark_inbound(self._owner, 0, 0)
        self._repeats.clear()
        self._filters = []
        return was_there

    def changes(self, wanted: Sequence[str]) -> tuple[list[str], list[str]]:
        """What is still to be subscribed to, and what no longer is."""
        known = self._filters
        return [each for each in wanted if each not in known], [each for each in known if each not in wanted]

    async def keep(self, filters: Sequence[str]) -> None:
        """What the session is subscribed to; durable when it returns.

        Raises:
            LogError: the disk refused.
        """
        if list(filters) != self._filters:
            await self._log.sessions.keep_subscribed(self._owner, filters)
            self._filters = list(filters)

    def _store(self, changes: Iterable[Change]) -> None:
        for packet_id, seq in changes:
            self._log.intake.mark_inbound(self._owner, packet_id, seq)
