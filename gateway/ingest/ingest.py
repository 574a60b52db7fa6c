"""Where every message becomes an event.

Promises: a receipt asked for here is handed out only after the COMMIT that made its event durable; a QoS 2 message is
stored once however often it is sent, also across a restart; each message is judged by its contract, if it has one,
and what violates it is acknowledged like any other; nobody can bring more than the disk takes, because
whoever brings too much is told to stop reading its socket until there is room.

It knows of no socket and no packet: those who bring messages implement `Source`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol, TypeAlias

from gateway.contracts.contracts import NO_CONTRACTS
from gateway.contracts.verdict import Stamp
from gateway.eventlog.sequences import TAIL_EVENTS_MAX
from gateway.ingest.config import IngestConfig
from gateway.ingest.judging import Judging, number_of
from gateway.ingest.originals import is_release
from gateway.ingest.repeats import Repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.clock import Clock
    from gateway.contracts.contracts import Contracts
    from gateway.event import Event
    from gateway.eventlog.log import EventLog


Message: TypeAlias = tuple[str, bool, bytes]
"""Topic, RETAIN flag, payload."""


class AppendRun(Protocol):
    """Takes in QoS 1 messages that one client sent together."""

    def __call__(self, received_ns: int, mono_ns: int, client_id: str, messages: Sequence[Message]) -> None:
        """In order; a receipt that is asked for after this call covers them."""
        ...


class Source(Protocol):
    """Somebody who brings messages and can be told to stop for a while."""

    def committed(self, receipt: bytes | bytearray) -> None:
        """Everything that `receipt` stands for is on disk."""
        ...

    def relieve(self) -> None:
        """There is room again: go on reading."""
        ...


class Ingest:
    """Takes messages in. All methods are called in the event loop and return at once."""

    def __init__(
        self, log: EventLog, clock: Clock, contracts: Contracts = NO_CONTRACTS, config: IngestConfig | None = None
    ) -> None:
        """Take messages into `log`, judged by `contracts`; the log must not run yet."""
        self._log = log
        self._clock = clock
        self._waiting: OrderedDict[Source, None] = OrderedDict()
        self._inbound: dict[str, set[int]] = {}
        for client_id, packet_id in log.inbound:
            self._inbound.setdefault(client_id, set()).add(packet_id)
        log.on_committed.append(self._relieve)
        log.on_room.append(self._relieve)
        self._repeats = Repeats(0, 0)
        self.append: Callable[..., int] = log.intake.append
        """`append(received_ns, mono_ns, client_id, topic, qos, retain, payload)`: a message becomes an event; returns
        its number, 0 if its contract has it rejected. Bound here without a wrapper as long as there are no contracts,
        because it is called for every message (see `GroupCommit.append` and `Judging.append`)."""
        self.append_run: AppendRun = log.intake.append_run
        """The same for QoS 1 messages that one client sent together, as nearly all are."""
        self.use(contracts, config or IngestConfig())
        self.ask_receipt = log.intake.ask_receipt
        """`ask_receipt(source, receipt)`: see `GroupCommit.ask_receipt`."""

    def use(self, contracts: Contracts, config: IngestConfig | None = None) -> None:
        """Judge what comes from now on by `contracts`, and nothing if there are none; within the limits of `config`."""
        log = self._log
        self.contracts = contracts
        if config is not None:
            log.sequences.devices_max = config.devices_max
            self._repeats.limit(config.repeats_messages_max, config.repeats_bytes_max)
        log.sequences.keep_only(contracts.stamped)
        intake = Judging(log, contracts, self._repeats) if contracts else log.intake
        self.append, self.append_run = intake.append, intake.append_run

    def catch_up(self) -> None:
        """Learn from the end of the log how far devices had counted, and which messages may come again.

        To be called once, before the log runs; so many events are looked through as `ingest.repeats_messages_max` says,
        and as were not counted before the last stop, but not more than `TAIL_EVENTS_MAX`.
        """
        log, judge = self._log, self.contracts.judge
        if not self.contracts.stamped:
            return
        counted = log.sequences.seq
        after_seq = min(counted, log.head - self._repeats.messages_max)
        for event in log.tail(max(0, after_seq, log.head - TAIL_EVENTS_MAX)):
            said = judge(event.topic, event.payload)
            number = number_of(said, event.client_id)
            if number is not None and event.seq > counted and not is_release(event.properties):
                log.sequences.note([(event.seq, *number)])
            if isinstance(said, Stamp) and event.qos == 1:
                self._repeats.add(event.client_id, event.topic, event.payload, event.seq)

    def is_stored(self, client_id: str, topic: str, payload: bytes) -> bool:
        """Whether a QoS 1 message that is marked as a repeat was taken in before; a receipt is due all the same.

        Known of messages only whose contract names a field with the device's number or time (see `Repeats`).
        """
        seq = self._repeats.seq_of(client_id, topic, payload)
        if seq is None or (seq <= self._log.head and self._is_of_another_count(client_id, topic, payload)):
            return False
        return self._repeats.is_known(client_id, topic, payload)

    def _is_of_another_count(self, client_id: str, topic: str, payload: bytes) -> bool:
        """Whether this cannot be what was stored with the same bytes, because the device's count began anew since."""
        number = number_of(self.contracts.judge(topic, payload), client_id)
        return number is not None and number[2] is not None and self._log.sequences.is_anew(*number[:2], number[2])

    def describe(self) -> dict[str, object]:
        """What of `gateway status` is known here."""
        return {"repeats": self._repeats.suppressed}

    def now(self) -> tuple[int, int]:
        """Wall clock and time since boot, both in nanoseconds, to stamp messages read together."""
        return self._clock.wall_ns(), self._clock.mono_ns()

    def accept(self, client_id: str, topic: str, qos: int, payload: bytes, *, retain: bool) -> int:
        """Take in a single message nobody waits for, a will say; returns its number, 0 if it is rejected."""
        received_ns, mono_ns = self.now()
        return self.append(received_ns, mono_ns, client_id, topic, qos, retain, payload)

    def refuse(self, qos: int) -> None:
        """Book a single message that was not taken in, because the log is full, as lost."""
        self._log.ledger.refuse(qos, self._log.head)

    def is_repeat(self, client_id: str, packet_id: int) -> bool:
        """Whether a QoS 2 message with this packet id is stored already and waits for its release."""
        known = self._inbound.get(client_id)
        return known is not None and packet_id in known

    def mark(self, client_id: str, packet_id: int, seq: int) -> None:
        """A QoS 2 message was taken in as event `seq`; its packet id is stored with it."""
        self._inbound.setdefault(client_id, set()).add(packet_id)
        if seq:  # else it was rejected: sent again after a restart, it is rejected again
            self._log.intake.mark_inbound(client_id, packet_id, seq)

    def release(self, client_id: str, packet_id: int) -> None:
        """The device will not send this QoS 2 message again; the id is free once this is on disk."""
        known = self._inbound.get(client_id)
        if known is None or packet_id not in known:
            return
        known.remove(packet_id)
        if not known:
            del self._inbound[client_id]
        self._log.intake.mark_inbound(client_id, packet_id, 0)

    def discard(self, client_id: str) -> None:
        """The device's session is over: its packet ids mean nothing any more (MQTT 3.1.1 section 3.1.2.4)."""
        if self._inbound.pop(client_id, None):
            self._log.intake.mark_inbound(client_id, 0, 0)

    @property
    def congested(self) -> bool:
        """Whether more waits for the disk than it may; call `wait_for_room` then."""
        return self._log.intake.congested

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    def wait_for_room(self, source: Source) -> None:
        """Remember to tell `source` when there is room again; who waits longest is told first."""
        self._waiting[source] = None

    def forget(self, source: Source) -> None:
        """`source` is gone."""
        self._waiting.pop(source, None)

    def on_committed(self, tell: Callable[[Sequence[Event]], None]) -> None:
        """Have `tell` called with the events of every commit."""
        self._log.on_committed.append(tell)

    def _relieve(self, _events: Sequence[Event] = ()) -> None:
        while self._waiting and not self._log.intake.congested:
            source, _ = self._waiting.popitem(last=False)
            source.relieve()
