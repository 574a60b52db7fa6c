"""Books what never became an event, and what devices' own numbers tell of messages that never came.

A row is durable within `log.cursor_interval_s`, as a refusal is: a crash before that loses the row and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.eventlog.losses import EVENTS_MAX, REFUSED, REJECTED, Loss

if TYPE_CHECKING:
    from gateway.clock import Clock
    from gateway.eventlog.cursors import Cursors


class Ledger:
    """The loss ledger, for whoever takes messages in. Called in the event loop."""

    def __init__(self, cursors: Cursors, clock: Clock) -> None:
        self._cursors = cursors
        self._clock = clock

    def refuse(self, qos: int, seq: int) -> None:
        """Book a message that was not taken in because the log is full; `seq` is the last number given out."""
        self.note(REFUSED, f"QoS {qos}", seq, 1)

    def reject(self, contract: str, rule: str, seq: int) -> None:
        """Book a message that is acknowledged and not stored, because its contract says so.

        Args:
            contract: its name; empty: the topic has none.
            rule: what the message broke.
            seq: the last number given out.
        """
        self.note(REJECTED, f"{contract or 'topic without a contract'}: {rule}", seq, 1)

    def note(self, cause: str, detail: str, seq: int, events: int) -> None:
        """Book `events` at the number `seq`, which none of them has."""
        now_ns = self._clock.wall_ns()
        self._cursors.book(Loss(now_ns, None, seq, seq, min(events, EVENTS_MAX), cause, detail, now_ns))
