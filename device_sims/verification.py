"""A verification: collects deliveries, follows the ledger, and knows when there is nothing left to wait for.

It ends when the ledger is finished and everything acknowledged has arrived; or when the ledger is finished and, with
the subscription up, nothing has arrived for a while; or at its timeout or when it is interrupted, in which case the
verdict is not final.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from device_sims.clock import Clock
from device_sims.errors import ConnectionLost, LedgerMissing
from device_sims.ledger import Ledger
from device_sims.subscription import Subscription
from device_sims.verdict import Tally, Verdict

LOOK_INTERVAL_S = 0.1


class Ended(StrEnum):
    """Why a verification ended."""

    COMPLETE = "everything acknowledged has arrived"
    IDLE = "nothing arrived any more"
    TIMEOUT = "the timeout was reached"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait. `timeout_s` None waits as long as it takes; a killed run never finishes its ledger."""

    idle_s: float = 10.0
    timeout_s: float | None = None
    accept_unfinished: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict and why it was reached now."""

    verdict: Verdict
    ended: Ended

    passed_over: int
    """Retained messages that were not counted."""

    @property
    def is_final(self) -> bool:
        """Whether waiting longer could not have changed it, as far as one can know."""
        return self.ended in {Ended.COMPLETE, Ended.IDLE}


@dataclass(slots=True)
class Verification:
    """One verification of one ledger."""

    ledger: Path
    tally: Tally
    subscription: Subscription
    patience: Patience
    clock: Clock
    report: Callable[[], None]
    is_recorded: bool
    """Whether a later verification can take up what this one has seen."""

    async def run(self, interrupted: asyncio.Event) -> Finding:
        """Collect until it ends, then judge.

        The session at the broker is kept only for a later verification that can go on from a record.

        Raises:
            LedgerMissing: there is no ledger to judge by.
            LedgerError: it cannot be read.
            SimsError: the subscription was refused, or a delivery could not be recorded.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.subscription.run())
            ended = await self._end(interrupted)
            self.subscription.ending.set()
        with Ledger.open_readonly(self.ledger) as ledger:
            finding = Finding(self.tally.judge(ledger.acknowledged()), ended, self.subscription.passed_over)
        if self.subscription.subscribed and (finding.is_final or not self.is_recorded):
            await self._forget_session()
        return finding

    async def _forget_session(self) -> None:
        try:
            await self.subscription.forget()
        except ConnectionLost as lost:
            self.subscription.say(f"the broker keeps session {self.subscription.identifier}: {lost}")

    async def _end(self, interrupted: asyncio.Event) -> Ended:
        started_s = changed_s = self.clock.monotonic()
        seen = -1
        while True:
            self.report()
            now_s = self.clock.monotonic()
            if interrupted.is_set():
                return Ended.INTERRUPTED
            has_changed = self.tally.deliveries != seen
            seen = self.tally.deliveries
            is_finished, is_complete = self._look()
            if is_complete:
                return Ended.COMPLETE
            if has_changed or not is_finished or not self.subscription.is_up:
                changed_s = now_s
            if now_s - changed_s >= self.patience.idle_s:
                return Ended.IDLE
            if self.patience.timeout_s is not None and now_s - started_s >= self.patience.timeout_s:
                return Ended.TIMEOUT
            await self.clock.sleep(LOOK_INTERVAL_S)

    def _look(self) -> tuple[bool, bool]:
        """Whether the ledger is finished, and whether all that it holds has arrived.

        The whole ledger is read only when the counts allow for completeness.
        """
        try:
            ledger = Ledger.open_readonly(self.ledger)
        except LedgerMissing:
            return False, False  # the run has not begun yet
        with ledger:
            is_finished = ledger.finished() or self.patience.accept_unfinished
            if not is_finished or ledger.totals().acknowledged > self.tally.received:
                return is_finished, False
            return True, not self.tally.lacks_any_of(ledger.acknowledged())
