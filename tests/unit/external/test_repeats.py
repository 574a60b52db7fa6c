"""Which messages of a broker are repeats: against a model of a broker whose messages all look the same."""

from __future__ import annotations

from collections import deque

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.external.repeats import Change, Repeats

TOPIC, PAYLOAD = "door/1", b"open"


def known(*changes: tuple[int, int]) -> Repeats:
    repeats = Repeats()
    for packet_id, seq in changes:
        repeats.load(packet_id, seq, TOPIC, PAYLOAD)
    return repeats


def test_a_repeat_is_known_by_packet_id_topic_and_payload() -> None:
    repeats = known((5, 1))
    assert repeats.find(5, TOPIC, PAYLOAD) == 1
    assert repeats.find(6, TOPIC, PAYLOAD) is None
    assert repeats.find(5, "door/2", PAYLOAD) is None
    assert repeats.find(5, TOPIC, b"shut") is None
    assert repeats.find(5, "door", b"/1open") is None


def test_a_packet_id_stands_for_the_message_that_came_last_under_it() -> None:
    repeats = known((5, 1))
    assert repeats.note(5, 2, TOPIC, b"shut") == [Change(5, 2)]
    assert (repeats.find(5, TOPIC, PAYLOAD), repeats.find(5, TOPIC, b"shut")) == (None, 2)


def test_what_the_broker_has_our_acknowledgement_of_is_no_repeat_and_is_forgotten_with_the_next_message() -> None:
    repeats = known((5, 1))
    assert repeats.prove([Change(5, 1)]) == []
    assert repeats.find(5, TOPIC, PAYLOAD) is None
    assert repeats.note(6, 2, TOPIC, PAYLOAD) == [Change(5, 0), Change(6, 2)]


def test_a_proof_about_an_earlier_message_under_the_same_id_forgets_nothing() -> None:
    repeats = known((5, 2))
    assert repeats.prove([Change(5, 1)]) == []
    assert repeats.find(5, TOPIC, PAYLOAD) == 2


def test_where_ids_come_again_soon_they_are_forgotten_on_disk_at_once() -> None:
    repeats = known((5, 1))
    repeats.note(5, 2, TOPIC, PAYLOAD)
    assert repeats.prove([Change(5, 2)]) == [Change(5, 0)]


def test_many_proofs_without_a_message_are_written_by_themselves() -> None:
    repeats = known(*((packet_id, packet_id) for packet_id in range(1, 1002)))
    changes = repeats.prove(Change(packet_id, packet_id) for packet_id in range(1, 1002))
    assert sorted(changes) == [Change(packet_id, 0) for packet_id in range(1, 1002)]
    assert len(repeats) == 0


def test_a_new_session_begins_with_nothing_known() -> None:
    repeats = known((5, 1))
    repeats.clear()
    assert repeats.find(5, TOPIC, PAYLOAD) is None
    assert repeats.note(5, 2, TOPIC, PAYLOAD) == [Change(5, 2)]


class Broker(RuleBasedStateMachine):
    """A broker that gives ids out in turn and heeds no window, and a gateway that may be killed at any moment.

    The messages all have the same bytes, so only ids tell them apart. No id comes again before it is forgotten on disk:
    there are 65,535 of them, and the gateway asks for proof once a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ids = self.sent = 0
        self.open: deque[tuple[int, int]] = deque()
        """(packet id, message) that the broker has no acknowledgement of."""
        self.wire: deque[tuple[int, int, bool]] = deque()
        """What is on its way to the gateway: (packet id, message, marked as a repeat)."""
        self.stored: list[int] = []
        """Messages on disk; the seq of one is its place, from 1."""
        self.marks: dict[int, int] = {}
        self.batch: list[int] = []
        self.changes: list[Change] = []
        self.due: list[Change] = []
        self.acknowledgements: deque[Change] = deque()
        self.proof: list[Change] = []
        """What the broker has read of them since it was asked last."""
        self.next_id = 0
        self.repeats = Repeats()

    @initialize(ids=st.integers(min_value=4, max_value=30))
    def begin(self, ids: int) -> None:
        self.ids = ids

    @rule(messages=st.integers(min_value=1, max_value=5))
    def send(self, messages: int) -> None:
        for _ in range(messages):
            packet_id = self.next_id + 1
            if packet_id in {*self.marks, *self.repeats._known, *(each for each, _ in self.open)}:
                return
            self.next_id = (self.next_id + 1) % self.ids
            message = self.sent = self.sent + 1
            self.open.append((packet_id, message))
            self.wire.append((packet_id, message, False))

    @precondition(lambda self: self.wire)
    @rule(messages=st.integers(min_value=1, max_value=5))
    def read(self, messages: int) -> None:
        for _ in range(min(messages, len(self.wire))):
            packet_id, message, dup = self.wire.popleft()
            seq = self.repeats.find(packet_id, TOPIC, PAYLOAD) if dup else None
            if seq is None:
                self.batch.append(message)
                seq = len(self.stored) + len(self.batch)
                self.changes += self.repeats.note(packet_id, seq, TOPIC, PAYLOAD)
            self.due.append(Change(packet_id, seq))

    @rule()
    def commit(self) -> None:
        self.stored += self.batch
        for packet_id, seq in self.changes:
            if seq:
                self.marks[packet_id] = seq
            else:
                self.marks.pop(packet_id, None)
        self.acknowledgements.extend(self.due)
        self.batch, self.changes, self.due = [], [], []

    @precondition(lambda self: self.acknowledgements)
    @rule(packets=st.integers(min_value=1, max_value=5))
    def acknowledge(self, packets: int) -> None:
        """The broker reads some."""
        read = [self.acknowledgements.popleft() for _ in range(min(packets, len(self.acknowledgements)))]
        for packet_id, _ in read:
            assert self.open.popleft()[0] == packet_id
        self.proof += read

    @precondition(lambda self: self.proof)
    @rule()
    def prove(self) -> None:
        """The gateway asks, and has an answer."""
        self.changes += self.repeats.prove(self.proof)
        self.proof = []

    @rule(killed=st.booleans())
    def reconnect(self, killed: bool) -> None:
        """What is on its way in either direction is lost, with a kill also what is not on disk."""
        self.acknowledgements.clear()
        self.wire = deque((packet_id, message, True) for packet_id, message in self.open)
        self.proof = []
        if killed:
            self.batch, self.changes, self.due = [], [], []
            self.repeats = Repeats()
            for packet_id, seq in self.marks.items():
                self.repeats.load(packet_id, seq, TOPIC, PAYLOAD)
        else:
            self.commit()
            self.acknowledgements.clear()

    @invariant()
    def each_message_is_stored_once(self) -> None:
        assert len(set(self.stored)) == len(self.stored)
        owed = {message for _, message in self.open}
        assert set(range(1, self.sent + 1)) - owed <= set(self.stored), "acknowledged and not stored"


TestBroker = Broker.TestCase
TestBroker.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)


@given(st.binary(), st.text(min_size=1))
def test_any_payload_and_topic_is_known_again(payload: bytes, topic: str) -> None:
    assume(topic.isprintable())
    repeats = Repeats()
    repeats.note(1, 7, topic, payload)
    assert repeats.find(1, topic, payload) == 7
