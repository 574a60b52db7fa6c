"""Each message is judged by the contract of its topic before it becomes an event; once, and whatever it comes from.

What a contract says decides about the message and never about the connection: whatever the payload, the device is
acknowledged after the commit, so that a bad message does not block good ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gateway.contracts.verdict import Stamp, Violation
from gateway.event import FLAGGED, LOCAL, QUARANTINED
from gateway.eventlog.batch import Violated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.contracts.contracts import Contracts
    from gateway.eventlog.log import EventLog
    from gateway.ingest.ingest import Message
    from gateway.ingest.repeats import Repeats

    Taken: TypeAlias = tuple[int, int, str, str, int, bool, bytes, str, bytes | None]
    """What `GroupCommit.append` is given of a message, in this order, but for the verdict."""

REJECTED = 0
"""What stands for the number of a message that did not become an event."""


class Judging:
    """Takes messages in by what their contracts say.

    Args:
        log: where they go.
        contracts: what they are judged by.
        repeats: is told of messages that could be told again by their bytes.
    """

    def __init__(self, log: EventLog, contracts: Contracts, repeats: Repeats) -> None:
        self._intake = log.intake
        self._take = log.intake.append
        self._ledger = log.ledger
        self._judge = contracts.judge
        self._repeats = repeats

    def append(
        self,
        received_ns: int,
        mono_ns: int,
        client_id: str,
        topic: str,
        qos: int,
        retain: bool,  # noqa: FBT001 - positional for speed
        payload: bytes,
        origin: str = LOCAL,
        properties: bytes | None = None,
    ) -> int:
        """As `GroupCommit.append`; `REJECTED` if the message is not stored: its receipt is due all the same."""
        said = self._judge(topic, payload)
        if said is None:
            return self._take(received_ns, mono_ns, client_id, topic, qos, retain, payload, origin, properties)
        message = received_ns, mono_ns, client_id, topic, qos, retain, payload, origin, properties
        return self._append_judged(said, message)

    def append_run(self, received_ns: int, mono_ns: int, client_id: str, messages: Sequence[Message]) -> None:
        """As `GroupCommit.append_run`; each is judged by itself, and those of which nothing is said go on together."""
        judge = self._judge
        said_of = [judge(topic, payload) for topic, _, payload in messages]
        done = 0
        for at, said in enumerate(said_of):
            if said is not None:
                if at > done:
                    self._intake.append_run(received_ns, mono_ns, client_id, messages[done:at])
                topic, retain, payload = messages[at]
                message = received_ns, mono_ns, client_id, topic, 1, retain, payload, LOCAL, None
                self._append_judged(said, message)
                done = at + 1
        if done < len(messages):
            self._intake.append_run(received_ns, mono_ns, client_id, messages[done:])

    def _append_judged(self, said: Violation | Stamp, message: Taken) -> int:
        """Take a message in of which its contract has something to say."""
        _, _, client_id, topic, qos, _, payload, _, _ = message
        if isinstance(said, Violation):
            if said.policy == "reject":
                return self._reject(said, client_id)
            verdict = FLAGGED if said.policy == "flag" else QUARANTINED
            seq = self._take(*message, verdict)
            self._note(seq, verdict, said, client_id)
            return seq
        seq = self._take(*message)
        if said.sequence is not None:
            self._intake.note_number((seq, said.contract, said.device or client_id, said.sequence))
        if qos == 1:
            self._repeats.add(client_id, topic, payload, seq)
        return seq

    def _note(self, seq: int, verdict: int, said: Violation, client_id: str) -> None:
        contract, version, device, field, rule, value, _ = said
        self._intake.note_violation(Violated(seq, verdict, contract, version, device, field, rule, value))
        self._intake.note_number((seq, contract, device or client_id, None))

    def _reject(self, said: Violation, client_id: str) -> int:
        seq = self._intake.last_seq
        self._ledger.reject(said.contract, said.rule, seq)
        self._intake.note_number((seq, said.contract, said.device or client_id, None))
        return REJECTED


def number_of(said: Violation | Stamp | None, client_id: str) -> tuple[str, str, int | None] | None:
    """Contract, device and the device's own number, of a stored message; None: there is nothing to be counted.

    The device is the client if the contract names no other.
    """
    if said is None or (isinstance(said, Stamp) and said.sequence is None):
        return None
    return said.contract, said.device or client_id, said.sequence if isinstance(said, Stamp) else None
