"""From committed events to the local subscribers that want them.

A topic finds its subscribers through an index and a small cache; an event that nobody subscribes to costs one look-up,
and without any subscriber nothing. A subscriber with overlapping filters gets an event once, at the highest QoS it was
granted, and never at a higher one than the event was published with.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.broker import packets
from gateway.broker.allowance import Allowance
from gateway.broker.outbox import Behind, Message, Outbox, Scan
from gateway.event import QUARANTINED
from gateway.topics import FilterIndex, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.broker.config import BrokerConfig
    from gateway.broker.outbox import Wire
    from gateway.broker.rights import ClientRights
    from gateway.event import Event
    from gateway.eventlog.retained import Retained

_CACHED_TOPICS_MAX = 10_000


class Delivery:
    """Subscriptions and outboxes of all local subscribers."""

    def __init__(self, config: BrokerConfig, retained: Mapping[str, Retained]) -> None:
        """Deliver from now on; `retained` is looked at whenever somebody subscribes."""
        self._config = config
        self._retained = retained
        self._index: FilterIndex[str] = FilterIndex()
        self._filters: dict[str, dict[str, int]] = {}
        self._since: dict[str, dict[str, int]] = {}
        self._behind: dict[str, Behind] = {}
        self.changed: set[str] = set()
        """Clients whose outbox may have changed; whoever stores that empties it."""
        self._outboxes: dict[str, Outbox] = {}
        self._wires: dict[str, Wire] = {}
        self._rights: dict[str, ClientRights] = {}
        """Of sessions whose client was here since the start; the others' messages are looked at when it comes."""
        self._targets: dict[str, list[tuple[Outbox, int]]] = {}
        self._owing: set[Outbox] = set()
        self.surplus_filters = 0
        """Filters refused because their client had too many."""
        self.allowance = Allowance(config.subscribers_bytes_max)
        """What all subscribers hold back, and what was given up."""

    def subscriptions(self, client_id: str) -> dict[str, int]:
        """A client's filters and the QoS granted to each."""
        return self._filters.get(client_id, {})

    def since(self, client_id: str) -> dict[str, int]:
        """Filters of a persistent session, and the last event before each was subscribed to."""
        return self._since.get(client_id, {})

    def rights(self, client_id: str) -> ClientRights | None:
        """Those that the client of a session had when it was last here; None if it was not since the start."""
        return self._rights.get(client_id)

    def may_subscribe(self, client_id: str, topic_filter: str) -> bool:
        """Whether a client has the right to all that the filter matches, and not too many subscriptions."""
        rights = self._rights.get(client_id)
        if rights is not None and not rights.may_subscribe(topic_filter):
            return False
        filters = self.subscriptions(client_id)
        has_room = topic_filter in filters or len(filters) < self._config.subscriptions_per_client_max
        self.surplus_filters += not has_room
        return has_room

    def subscribe(self, client_id: str, topic_filter: str, qos: int, since: int | None = None) -> None:
        """Add a subscription, or replace the one with the same filter.

        Args:
            client_id: whose.
            topic_filter: a valid one.
            qos: what is granted.
            since: the last event before it, of a persistent session.
        """
        if since is not None:
            self._since.setdefault(client_id, {})[topic_filter] = since
        filters = self._filters.setdefault(client_id, {})
        if topic_filter not in filters:
            self._index.add(topic_filter, client_id)
        filters[topic_filter] = qos
        self._targets.clear()

    def unsubscribe(self, client_id: str, topic_filter: str) -> bool:
        """Remove a subscription; False if there was none."""
        filters = self._filters.get(client_id)
        if filters is None or topic_filter not in filters:
            return False
        del filters[topic_filter]
        if client_id in self._since:
            self._since[client_id].pop(topic_filter, None)
        if not filters:
            del self._filters[client_id]
        self._index.remove(topic_filter, client_id)
        self._targets.clear()
        return True

    def forget(self, client_id: str) -> None:
        """The client's session is over: its subscriptions and whatever waits for it go."""
        for topic_filter in list(self.subscriptions(client_id)):
            self.unsubscribe(client_id, topic_filter)
        self._rights.pop(client_id, None)
        self._since.pop(client_id, None)
        self._behind.pop(client_id, None)
        self.changed.discard(client_id)
        outbox = self._outboxes.pop(client_id, None)
        if outbox is not None:
            outbox.empty()
            self._targets.clear()

    def outbox(self, client_id: str) -> Outbox:
        """The client's outbox, made at its first use."""
        outbox = self._outboxes.get(client_id)
        if outbox is None:
            outbox = self._outboxes[client_id] = Outbox(client_id, self._config, self.allowance, self.changed)
            outbox.behind = self._behind.get(client_id)
            if client_id in self._wires:
                outbox.attach(self._wires[client_id])
        return outbox

    def known_outbox(self, client_id: str) -> Outbox | None:
        """The client's outbox, if anything was ever meant for it."""
        return self._outboxes.get(client_id)

    def attach(self, client_id: str, wire: Wire, rights: ClientRights | None = None) -> None:
        """The client is connected: whatever waits for it is sent, as far as it still has the right to it."""
        self._wires[client_id] = wire
        outbox = self._outboxes.get(client_id)
        if rights is not None:
            self._rights[client_id] = rights
            if client_id in self._filters:
                self._targets.clear()
            if outbox is not None:
                outbox.withdraw(rights.may_receive)
        if outbox is not None:
            outbox.attach(wire)

    def detach(self, client_id: str) -> None:
        """The client is gone, its session may stay."""
        self._wires.pop(client_id, None)
        outbox = self._outboxes.get(client_id)
        if outbox is not None:
            outbox.detach()

    def send_retained(self, client_id: str, topic_filter: str, qos: int) -> None:
        """Send the retained messages that a new subscription matches (section 3.3.1.3)."""
        wanted = [
            message
            for message in list(self._retained.values())
            if matches(topic_filter, message.topic) and self._may_receive(client_id, message.topic)
        ]
        if not wanted:
            return
        outbox = self.outbox(client_id)
        for message in wanted:
            outbox.add(Message(message.topic, message.payload, min(qos, message.qos), retain=True, seq=message.seq))
        outbox.flush()

    def deliver(self, events: Sequence[Event]) -> None:
        """Give committed events to whoever subscribes to them, but for quarantined ones; called once a commit."""
        if not self._filters:
            return
        touched: dict[str, Outbox] = {}
        for event in events:
            targets = self._targets.get(event.topic)
            if targets is None:
                targets = self._find_targets(event.topic)
            if not targets or event.verdict == QUARANTINED:
                continue
            frame = b""
            for outbox, granted in targets:
                qos = min(granted, event.qos)
                if qos:
                    outbox.add(Message(event.topic, event.payload, qos, False, event.seq))
                else:
                    frame = frame or packets.write_publish(event.topic, event.payload)
                    outbox.add_frame(frame)
                touched[outbox.client_id] = outbox
        for outbox in touched.values():
            outbox.flush()
        self._see_what_is_owed(touched.values())

    # --- kept over a restart ---

    def is_connected(self, client_id: str) -> bool:
        """Whether the client of a session is here."""
        return client_id in self._wires

    def fall_behind(self, client_id: str, behind: Behind) -> None:
        """A session is owed what is in the log after `behind.after_seq`, and gets nothing new before that."""
        self._behind[client_id] = behind
        outbox = self._outboxes.get(client_id)
        if outbox is not None:
            outbox.behind = behind

    def behind(self, client_id: str) -> Behind | None:
        """Whether a session has still to get what is in the log."""
        return self._behind.get(client_id)

    def catch_up(self, scan: Scan) -> None:
        """The scan has come to where new events are delivered."""
        done = [client_id for client_id, behind in self._behind.items() if behind.scan is scan]
        for client_id in done:
            del self._behind[client_id]
            outbox = self._outboxes.get(client_id)
            if outbox is not None:
                outbox.withdraw(partial(self._may_receive, client_id))
                outbox.catch_up()
        self.changed.update(done)

    def look_through(self, events: Sequence[Event], scan: Scan) -> None:
        """The next events of a scan: whoever is behind with it gets what it is owed of them."""
        touched: set[str] = set()
        for event in events:
            if not event.qos or event.verdict == QUARANTINED:
                continue
            targets = self._targets.get(event.topic)
            if targets is None:
                targets = self._find_targets(event.topic)
            for outbox, _ in targets:
                behind = outbox.behind
                if behind is None or behind.scan is not scan or event.seq <= behind.after_seq:
                    continue
                qos = min(self._granted(outbox.client_id, event.topic, event.seq), event.qos)
                if qos:
                    outbox.add(Message(event.topic, event.payload, qos, retain=False, seq=event.seq), late=True)
                    touched.add(outbox.client_id)
        self.changed |= touched

    def _granted(self, client_id: str, topic: str, seq: int) -> int:
        """The QoS at which a session had subscribed to a topic when the event `seq` came; 0 if it had not."""
        since = self._since.get(client_id, {})
        return max(
            (
                qos
                for topic_filter, qos in self._filters[client_id].items()
                if since.get(topic_filter, 0) < seq and matches(topic_filter, topic)
            ),
            default=0,
        )

    def _see_what_is_owed(self, written: Iterable[Outbox]) -> None:
        self._owing.update(written)
        owed = 0
        for outbox in list(self._owing):
            bytes_ = outbox.owed_bytes()
            owed += bytes_
            if not bytes_:
                self._owing.discard(outbox)
        self.allowance.owed_bytes = owed
        self.allowance.owing = len(self._owing)

    def _find_targets(self, topic: str) -> list[tuple[Outbox, int]]:
        granted: dict[str, int] = {}
        for client_id in self._index.match(topic):
            if not self._may_receive(client_id, topic):
                continue
            granted[client_id] = max(
                qos for topic_filter, qos in self._filters[client_id].items() if matches(topic_filter, topic)
            )
        if len(self._targets) >= _CACHED_TOPICS_MAX:
            self._targets.clear()
        targets = self._targets[topic] = [(self.outbox(client_id), qos) for client_id, qos in granted.items()]
        return targets

    def _may_receive(self, client_id: str, topic: str) -> bool:
        rights = self._rights.get(client_id)
        return rights is None or rights.may_receive(topic)
