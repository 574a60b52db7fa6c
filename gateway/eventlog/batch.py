"""What one transaction of the log carries, and what is told to whom after it. Pure data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from gateway.event import Event


Numbered: TypeAlias = tuple[int, str, str, int | None]
"""Of a message: the event (or the last before it, if it is none), contract, device, and the device's number of it; None
if that could not be read."""


class Receiver(Protocol):
    """Somebody who waits for a commit, a device's connection say."""

    def committed(self, receipt: bytes | bytearray) -> None:
        """The batch with everything that `receipt` stands for is on disk. Called in the event loop."""
        ...


class InboundMark(NamedTuple):
    """A change to the set of QoS 2 packet ids a client has published and not yet released.

    It is stored in the same transaction as the event, because exactly once is lost if one survives without the
    other (MQTT 3.1.1 section 4.3.3).
    """

    client_id: str
    packet_id: int
    """0 stands for all of the client's packet ids: its session was discarded."""
    seq: int
    """The event that the id published; 0 releases the id."""


class Violated(NamedTuple):
    """Why an event was flagged or quarantined; stored in the transaction of the event."""

    seq: int
    """The event."""
    verdict: int
    contract: str
    """Empty: its topic has none."""
    version: str
    device: str
    field: str
    rule: str
    value: str
    """What was in the field, as text, cut off if it is long."""


class Release(NamedTuple):
    """An event is a quarantined one that was released; stored in its transaction, so that none is released twice."""

    seq: int
    original: int


class Batch:
    """Events and what is noted of them that become durable together, and the receipts that are due then."""

    __slots__ = ("bytes_", "events", "marks", "numbered", "receipts", "releases", "violations")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.marks: list[InboundMark] = []
        self.violations: list[Violated] = []
        """Of events in this batch."""
        self.releases: list[Release] = []
        """Likewise."""
        self.numbered: list[Numbered] = []
        """What devices number their messages with, in order; not stored here."""
        self.receipts: dict[Receiver, bytearray] = {}
        self.bytes_ = 0

    def __bool__(self) -> bool:
        return bool(self.events or self.marks or self.receipts or self.numbered)
