"""Which messages of a broker are repeats of what is stored already. Pure.

A broker sends what is not acknowledged again after a reconnect: marked (DUP), under the same packet id. Such a message
is a repeat if the message that was last taken in under that id has the same topic and payload.

A message is remembered until it is proved that the broker has our acknowledgement: it answers in order, so whatever it
answers to a question asked after the acknowledgement is a proof. To remember it for longer could take a later message
with the same bytes, which was sent under the same id and never stored, for a repeat. How many a broker may have sent
before it reads our acknowledgements is not ours to say: Mosquitto 2.0.11 sends all that waits after a reconnect,
whatever Receive Maximum it was told. Packet ids are 16 bits: there are never more than 65,535 to remember.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGEST_BYTES = 16
_FORGOTTEN_MAX = 1000
"""So many are forgotten in memory before that is written by itself, and not with the next message."""


class Change(NamedTuple):
    """What is to be stored about a packet id."""

    packet_id: int
    seq: int
    """The event that was taken in under it; 0: forget it."""


class _Known(NamedTuple):
    seq: int
    digest: bytes


class Repeats:
    """Messages taken in at QoS 1, by packet id, as long as they may come again.

    What it returns is stored by the caller, in the transaction of the event that it is about.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._forgotten: set[int] = set()
        """Packet ids that are still known on disk."""
        self._ids_return_soon = False
        """Whether the broker gives an id out again at once, instead of all others first."""

    def __len__(self) -> int:
        return len(self._known)

    def load(self, packet_id: int, seq: int, topic: str, payload: bytes) -> None:
        """A message is known from before the start."""
        self._known[packet_id] = _Known(seq, _digest(topic, payload))

    def find(self, packet_id: int, topic: str, payload: bytes) -> int | None:
        """The event that a message marked as a repeat is stored as; None: it is none, store it."""
        known = self._known.get(packet_id)
        return known.seq if known is not None and known.digest == _digest(topic, payload) else None

    def note(self, packet_id: int, seq: int, topic: str, payload: bytes) -> list[Change]:
        """A message was taken in as event `seq`; returns what to store with it."""
        self._ids_return_soon |= packet_id in self._known or packet_id in self._forgotten
        self._forgotten.discard(packet_id)
        changes = self._forget_on_disk()
        self._known[packet_id] = _Known(seq, _digest(topic, payload))
        changes.append(Change(packet_id, seq))
        return changes

    def prove(self, acknowledged: Iterable[Change]) -> list[Change]:
        """The broker has our acknowledgement of these; returns what to store at once.

        That is nothing, as a rule: it can wait for the next message, and costs no write of its own. Only where an id
        comes again soon it must be forgotten before that.
        """
        for packet_id, seq in acknowledged:
            known = self._known.get(packet_id)
            if known is not None and known.seq == seq:
                del self._known[packet_id]
                self._forgotten.add(packet_id)
        if self._ids_return_soon or len(self._forgotten) > _FORGOTTEN_MAX:
            return self._forget_on_disk()
        return []

    def clear(self) -> None:
        """The broker has forgotten our session: its packet ids begin anew."""
        self._known.clear()
        self._forgotten.clear()

    def _forget_on_disk(self) -> list[Change]:
        changes = [Change(packet_id, 0) for packet_id in self._forgotten]
        self._forgotten.clear()
        return changes


def _digest(topic: str, payload: bytes) -> bytes:
    return hashlib.blake2b(topic.encode() + b"\0" + payload, digest_size=_DIGEST_BYTES).digest()
