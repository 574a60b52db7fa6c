"""When a verification ends, and when it does not, with no broker in reach. With one: the integration tests."""

import asyncio
import random
import time

import pytest

from device_sims.clock import Clock
from device_sims.endpoint import parse_endpoint
from device_sims.errors import LedgerMissing, first_error
from device_sims.ledger import LedgerWriter
from device_sims.subscription import Subscription
from device_sims.verdict import Tally
from device_sims.verification import Ended, Patience, Verification


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def writer(path):
    writer = LedgerWriter.create(path, fleet="x", seed=1, started_ns=1)
    yield writer
    writer.close()


async def verify(path, *, tally=None, interrupted=None, **patience):
    subscription = Subscription(
        parse_endpoint("mqtt://127.0.0.1:1"), "verify", "#", bytes, lambda _: None, random.Random(1)
    )
    verification = Verification(
        path, tally or Tally(), subscription, Patience(**patience), Clock(), lambda: None, is_recorded=True
    )
    return await verification.run(interrupted or asyncio.Event())


async def test_a_run_that_never_finishes_is_judged_at_the_timeout_and_not_finally(writer, path):
    finding = await verify(path, timeout_s=0.3)
    assert (finding.ended, finding.is_final) == (Ended.TIMEOUT, False)


async def test_the_ledger_of_a_killed_run_can_be_accepted_as_it_is(writer, path):
    finding = await verify(path, timeout_s=5, accept_unfinished=True)
    assert (finding.ended, finding.is_final) == (Ended.COMPLETE, True)


async def test_deliveries_on_record_count_even_if_the_broker_is_gone(writer, path):
    writer.acknowledged("a", 1, "t", 1)
    writer.finish(2)
    tally = Tally()
    tally.deliver("a", 1)
    assert (await verify(path, tally=tally, timeout_s=5)).ended is Ended.COMPLETE


async def test_silence_means_nothing_while_the_subscription_is_down(writer, path):
    writer.acknowledged("a", 1, "t", 1)
    writer.finish(2)
    finding = await verify(path, idle_s=0.1, timeout_s=0.6)
    assert finding.ended is Ended.TIMEOUT
    assert finding.verdict.total.lost == 1


async def test_an_interruption_gives_the_verdict_so_far(writer, path):
    interrupted = asyncio.Event()
    interrupted.set()
    assert (await verify(path, interrupted=interrupted)).ended is Ended.INTERRUPTED


async def test_there_is_no_verdict_without_a_ledger(path):
    with pytest.raises((LedgerMissing, ExceptionGroup)) as caught:
        await verify(path, timeout_s=0.2)
    assert isinstance(first_error(caught.value), LedgerMissing)


def test_the_clock_of_the_system_is_the_default():
    clock = Clock()
    assert abs(clock.wall_ns() - time.time_ns()) < 60_000_000_000
    assert clock.monotonic() <= time.monotonic()
