"""Persistent sessions of local subscribers: what they subscribe to, and what they are still owed. Pure.

The messages they are owed are not kept a second time: the log has them. Of a session it is kept up to where its queue
begins in the log, and what is in flight. That is written with the cursors, so after a crash it is a little behind: a
subscriber may be sent a message again, and none is forgotten that it has not acknowledged.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Flight(NamedTuple):
    """A message that was sent and is not acknowledged, or a retained one that waits."""

    packet_id: int
    """0: not sent yet."""
    seq: int
    """Its event; 0: the client has received it, and its packet id is not released yet."""
    qos: int
    topic: str = ""
    """Of a retained message; empty: it is no such."""


class Queue(NamedTuple):
    """What a session is owed."""

    after_seq: int | None = None
    """The events after this one that match its subscriptions wait; None: those after `Owed.seq`, the newest stored."""
    inflight: tuple[Flight, ...] = ()
    """In the order sent."""
    retained: tuple[Flight, ...] = ()
    """Retained messages that wait, in order; events they may be older than `after_seq`."""
    packet_ids: int = 0
    """Near which packet id the last message was sent."""
    away_s: int = 0
    """How long the client has been away while a gateway ran."""

    def encoded(self) -> str:
        """As it is stored."""
        return json.dumps(self, separators=(",", ":"))


class Session(NamedTuple):
    """A persistent session."""

    subscriptions: dict[str, int]
    """Filters, and the QoS granted to each."""
    since: dict[str, int]
    """Filters, and the last event before each was subscribed to."""
    queue: Queue = Queue()
    owner: str | None = None
    """The user name it was begun by; empty: by nobody's; None: not known, an earlier version has stored it."""


class Owed(NamedTuple):
    """What of all sessions has to be stored in one transaction."""

    queues: Mapping[str, Queue]
    """By client id, those that have changed."""
    seq: int | None
    """The last event that counts in all queues; None: as it was."""
    is_due: bool = False
    """Whether this is to be stored though nothing else is."""


NOTHING = Owed({}, None)


def decoded(subscriptions: str, since: str, queue: str, owner: str | None) -> Session:
    """A session as it was stored.

    Raises:
        ValueError: it is not what was written.
    """
    try:
        found = Session(dict(json.loads(subscriptions)), dict(json.loads(since)), _queue(queue), owner)
    except TypeError as error:
        raise ValueError("not a session") from error
    flights = found.queue.inflight + found.queue.retained
    numbers = [found.queue.after_seq or 0, *found.queue[3:], *found.subscriptions.values(), *found.since.values()]
    numbers += [number for each in flights for number in each[:3]]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("not a number")
    if not isinstance(owner, str | None):
        raise ValueError("not a name")  # noqa: TRY004 - damage, as above
    return found


def _queue(text: str) -> Queue:
    if not text:
        return Queue()
    after_seq, inflight, retained, *numbers = json.loads(text)
    return Queue(after_seq, _flights(inflight), _flights(retained), *numbers)


def _flights(found: Iterable[Iterable[Any]]) -> tuple[Flight, ...]:
    return tuple(Flight(*each) for each in found)


class Queues(Protocol):
    """Whoever knows what the sessions are owed. Called in the loop."""

    def take(self, head: int) -> Owed:
        """What has changed, as of the event `head`; it counts as stored from now on."""
        ...

    def put_back(self, owed: Owed) -> None:
        """What `take` gave could not be stored."""
        ...
