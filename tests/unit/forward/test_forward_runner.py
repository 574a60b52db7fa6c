"""The loop: what moves the cursor, what is tried again, and what never is."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.clock import SystemClock
from gateway.errors import Blocked, Busy, LogError, Refused, Unreachable
from gateway.forward.runner import Forwarder
from tests.unit.forward.forward_fakes import MemoryLog, ScriptedUpstream, make_config, make_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def forwarding(log: MemoryLog, upstream: ScriptedUpstream, **config: object) -> AsyncIterator[Forwarder]:
    forwarder = Forwarder("cloud", make_config(**config), upstream, log, SystemClock())
    task = asyncio.create_task(forwarder.run())
    try:
        yield forwarder
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def failing(times: int, error: Callable[[], Exception], taken: int = 0) -> Callable[..., object]:
    """An `on_send` that fails so often."""
    left = [times]

    def on_send(_: object) -> object:
        left[0] -= 1
        return (taken, error()) if left[0] >= 0 else None

    return on_send


async def test_all_events_arrive_in_order_and_the_cursor_follows() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 26)]), ScriptedUpstream()
    async with forwarding(log, upstream, batch_events_max=10) as forwarder:
        await until(lambda: log.cursor("cloud") == 25)
        await log.append(make_event(30))
        await until(lambda: log.cursor("cloud") == 30)
        assert forwarder.status().state == "connected"
        assert forwarder.status().forwarded == 26
    assert upstream.taken == [*range(1, 26), 30]
    assert forwarder.status().state == "stopped"
    assert upstream.closes == 1


async def test_forwarding_starts_at_the_cursor() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 6)]), ScriptedUpstream()
    log.cursors["cloud"] = 3
    async with forwarding(log, upstream):
        await until(lambda: log.cursor("cloud") == 5)
    assert upstream.taken == [4, 5]


async def test_unwanted_events_are_passed_over_and_counted() -> None:
    topics = ["a", "b", "a", "b", "b", "$SYS/x", "b"]
    log = MemoryLog([make_event(seq, topic) for seq, topic in enumerate(topics, 1)])
    upstream = ScriptedUpstream()
    async with forwarding(log, upstream, topics=["a"], batch_events_max=2) as forwarder:
        await until(lambda: log.cursor("cloud") == 7)
        assert forwarder.status().filtered == 5
    assert upstream.taken == [1, 3]


async def test_quarantined_events_are_passed_over_and_counted_and_flagged_ones_are_sent() -> None:
    events = [make_event(seq)._replace(verdict=seq % 3) for seq in range(1, 10)]
    log, upstream = MemoryLog(events), ScriptedUpstream()
    async with forwarding(log, upstream) as forwarder:
        await until(lambda: log.cursor("cloud") == 9)
        status = forwarder.status()
        assert (status.forwarded, status.quarantined, status.filtered) == (6, 3, 0)
    assert upstream.taken == [1, 3, 4, 6, 7, 9]


async def test_what_came_from_an_upstream_is_not_sent_back_to_it() -> None:
    events = [make_event(1), make_event(2, origin="cloud"), make_event(3, origin="other")]
    log, upstream = MemoryLog(events), ScriptedUpstream()
    async with forwarding(log, upstream):
        await until(lambda: log.cursor("cloud") == 3)
    assert upstream.taken == [1, 3]


async def test_cursor_passes_unwanted_events_in_front_of_one_that_is_held_up() -> None:
    log = MemoryLog([make_event(1, "b"), make_event(2, "b"), make_event(3, "a"), make_event(4, "b")])
    upstream = ScriptedUpstream()
    upstream.hold = 3
    async with forwarding(log, upstream, topics=["a"]):
        await upstream.holding.wait()
        assert log.cursor("cloud") == 2
        upstream.release.set()
        await until(lambda: log.cursor("cloud") == 4)


async def test_cursor_follows_acknowledgements_while_a_batch_is_under_way() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 11)]), ScriptedUpstream()
    upstream.hold = 7
    async with forwarding(log, upstream, stall_timeout_s=60):
        await until(lambda: log.cursor("cloud") == 6)
        upstream.release.set()
        await until(lambda: log.cursor("cloud") == 10)
    assert upstream.batches == [list(range(1, 11))]


async def test_stop_in_mid_batch_keeps_the_acknowledged_prefix() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 11)]), ScriptedUpstream()
    upstream.hold = 7
    async with forwarding(log, upstream):
        await upstream.holding.wait()
    assert log.cursor("cloud") == 6
    assert upstream.closes == 1


async def test_broken_connection_sends_the_rest_again_beginning_with_one_event() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 7)]), ScriptedUpstream()
    upstream.on_send = failing(1, lambda: Unreachable("cut"), taken=2)
    async with forwarding(log, upstream) as forwarder:
        await until(lambda: log.cursor("cloud") == 6)
        assert forwarder.status().reconnects == 1
    assert upstream.batches == [[1, 2, 3, 4, 5, 6], [3], [4, 5, 6]]
    assert upstream.opens == 2


async def test_unreachable_upstream_is_tried_until_it_is_back() -> None:
    log, upstream = MemoryLog([make_event(1)]), ScriptedUpstream()
    upstream.on_open = lambda: Unreachable("no route") if upstream.opens < 5 else None
    async with forwarding(log, upstream) as forwarder:
        await until(lambda: forwarder.status().state == "unreachable")
        assert forwarder.status().reason == "no route"
        await until(lambda: log.cursor("cloud") == 1)
        assert forwarder.status().state == "connected"
        assert forwarder.status().reason == ""
    assert upstream.opens == 5


async def test_backoff_grows_until_something_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    log, upstream = MemoryLog([make_event(1), make_event(2)]), ScriptedUpstream()
    waits: list[float] = []
    sleep = asyncio.sleep

    async def recorded_sleep(delay: float) -> None:
        if delay:
            waits.append(delay)
        await sleep(0)

    monkeypatch.setattr("gateway.forward.runner.asyncio.sleep", recorded_sleep)
    outcomes = [(0, Unreachable("a")), (0, Unreachable("b")), (1, Unreachable("c")), None]
    upstream.on_send = lambda _: outcomes.pop(0)
    forwarder = Forwarder(
        "cloud",
        make_config(backoff_initial_s=1, backoff_max_s=100),
        upstream,
        log,
        SystemClock(),
        randomness=lambda: 0.0,
    )
    task = asyncio.create_task(forwarder.run())
    async with asyncio.timeout(10):
        while log.cursor("cloud") < 2:
            await sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert waits == [1, 2, 1]


async def test_busy_upstream_gets_the_time_it_asked_for_on_the_same_connection() -> None:
    log, upstream = MemoryLog([make_event(1), make_event(2)]), ScriptedUpstream()
    upstream.on_send = failing(2, lambda: Busy("later", wait_s=0.01))
    async with forwarding(log, upstream) as forwarder:
        await until(lambda: forwarder.status().state == "busy")
        await until(lambda: log.cursor("cloud") == 2)
    assert upstream.opens == 1
    assert upstream.batches == [[1, 2], [1], [1], [2]]


async def test_a_busy_upstream_cannot_ask_for_more_than_the_backoff_limit() -> None:
    log, upstream = MemoryLog([make_event(1)]), ScriptedUpstream()
    upstream.on_send = failing(1, lambda: Busy("next year", wait_s=31_536_000))
    async with forwarding(log, upstream):
        await until(lambda: log.cursor("cloud") == 1)


async def test_blocked_upstream_loses_nothing_and_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.forward")
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 4)]), ScriptedUpstream()
    upstream.on_send = failing(5, lambda: Blocked("not authorized"))
    async with forwarding(log, upstream) as forwarder:
        await until(lambda: upstream.opens == 4)
        assert forwarder.status().state == "blocked"
        assert forwarder.status().reason == "not authorized"
        await until(lambda: log.cursor("cloud") == 3)
    assert log.quarantined == {}
    assert upstream.taken == [1, 2, 3]
    assert all(len(batch) == 1 for batch in upstream.batches[1:6])
    assert [record.state for record in caplog.records if record.levelno == logging.ERROR] == ["blocked"]


async def test_refused_events_are_quarantined_before_the_cursor_passes_them() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 7)]), ScriptedUpstream()
    upstream.on_send = failing(1, lambda: Refused({2: "bad", 3: "worse"}), taken=4)
    async with forwarding(log, upstream) as forwarder:
        await until(lambda: log.cursor("cloud") == 6)
        assert forwarder.status().quarantined == 2
        assert forwarder.status().forwarded == 4
        assert forwarder.status().state == "connected"
    assert log.quarantined == {2: "bad", 3: "worse"}
    assert upstream.batches == [[1, 2, 3, 4, 5, 6], [5, 6]]


async def test_a_disk_that_does_not_take_the_quarantine_holds_the_cursor() -> None:
    log, upstream = MemoryLog([make_event(1), make_event(2)]), ScriptedUpstream()
    log.quarantine_error = LogError("disk full")
    upstream.on_send = lambda events: (1, Refused({1: "bad"})) if events[0].seq == 1 else None
    async with forwarding(log, upstream):
        await until(lambda: log.cursor("cloud") == 2)
    assert log.quarantined == {1: "bad"}
    assert upstream.batches == [[1, 2], [1], [2]]


async def test_stalled_connection_is_dropped_and_the_batch_sent_again() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 6)]), ScriptedUpstream()
    upstream.hold = 3
    async with forwarding(log, upstream, stall_timeout_s=0.05) as forwarder:
        await until(lambda: forwarder.status().state == "stalled")
        assert log.cursor("cloud") == 2
        upstream.release.set()
        await until(lambda: log.cursor("cloud") == 5)
        assert forwarder.status().stalls >= 1
    assert upstream.opens >= 2
    assert upstream.batches[1] == [3]


async def test_slow_progress_is_not_a_stall() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 9)]), ScriptedUpstream()

    async def slow_send(events: list) -> None:
        for event in events:
            await asyncio.sleep(0.05)
            upstream.taken.append(event.seq)
            upstream.acknowledged += 1

    upstream.send = slow_send
    async with forwarding(log, upstream, stall_timeout_s=0.3) as forwarder:
        await until(lambda: log.cursor("cloud") == 8)
        assert forwarder.status().stalls == 0
    assert upstream.taken == list(range(1, 9))


async def test_a_connection_that_takes_too_long_is_given_up() -> None:
    log, upstream = MemoryLog([make_event(1)]), ScriptedUpstream()
    quick_open = upstream.open

    async def open_hangs_once() -> None:
        upstream.open = quick_open
        await asyncio.Event().wait()

    upstream.open = open_hangs_once
    async with forwarding(log, upstream, connect_timeout_s=0.02) as forwarder:
        await until(lambda: log.cursor("cloud") == 1)
        assert forwarder.status().reconnects == 0


async def test_idle_forwarder_notices_a_lost_connection() -> None:
    log, upstream = MemoryLog(), ScriptedUpstream()
    async with forwarding(log, upstream) as forwarder:
        await until(lambda: forwarder.status().state == "connected" and upstream.opens == 1)
        await asyncio.sleep(0)
        upstream.drop(Unreachable("gone"))
        await until(lambda: forwarder.status().reconnects == 1)
        await log.append(make_event(1))
        await until(lambda: log.cursor("cloud") == 1)


async def test_an_upstream_that_does_not_close_does_not_hold_up_the_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.forward.runner.CLOSE_TIMEOUT_S", 0.02)
    log, upstream = MemoryLog(), ScriptedUpstream()

    async def hang() -> None:
        await asyncio.Event().wait()

    upstream.close = hang
    async with forwarding(log, upstream) as forwarder:
        await until(lambda: upstream.opens == 1)
    assert forwarder.status().state == "stopped"


@pytest.mark.parametrize("bug", [ZeroDivisionError("bug"), TimeoutError("not ours")])
async def test_unexpected_errors_reach_the_supervisor(bug: Exception) -> None:
    log, upstream = MemoryLog([make_event(1)]), ScriptedUpstream()
    upstream.on_send = failing(1, lambda: bug)
    forwarder = Forwarder("cloud", make_config(), upstream, log, SystemClock())
    with pytest.raises(type(bug)):
        await forwarder.run()
    assert upstream.closes == 1


async def test_a_gap_at_the_end_of_the_log_is_waited_out() -> None:
    log, upstream = MemoryLog([make_event(1)]), ScriptedUpstream()
    log.head = 9  # 2 to 9 were committed once, and retention has removed them
    async with forwarding(log, upstream):
        await until(lambda: log.cursor("cloud") == 1)
        await log.append(make_event(10))
        await until(lambda: log.cursor("cloud") == 10)
    assert upstream.taken == [1, 10]
