"""The loop with events under way: what is sent beside them, when the cursor follows, and what an error does."""

from __future__ import annotations

import asyncio

from gateway.errors import Busy, LogError, Refused, Unreachable
from tests.unit.forward.forward_fakes import MemoryLog, ScriptedUpstream, StreamingUpstream, make_event
from tests.unit.forward.test_forward_runner import forwarding, until


async def test_an_event_is_sent_at_once_while_another_is_under_way() -> None:
    log, upstream = MemoryLog([make_event(1)]), StreamingUpstream()
    async with forwarding(log, upstream):
        await until(lambda: upstream.under_way == [1])
        await log.append(make_event(2))
        await until(lambda: upstream.under_way == [1, 2])
        assert log.cursor("cloud") == 0
        upstream.answer(2)
        await until(lambda: log.cursor("cloud") == 2)


async def test_batches_follow_each_other_without_waiting_for_answers() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 31)]), StreamingUpstream()
    async with forwarding(log, upstream, batch_events_max=10):
        await until(lambda: len(upstream.under_way) == 30)
    assert [len(batch) for batch in upstream.batches] == [10, 10, 10]


async def test_the_cursor_follows_answers_while_the_log_has_nothing_new() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 5)]), StreamingUpstream()
    async with forwarding(log, upstream, stall_timeout_s=60):
        await until(lambda: len(upstream.under_way) == 4)
        upstream.answer(3)
        await until(lambda: log.cursor("cloud") == 3)
        assert upstream.under_way == [4]


async def test_a_stall_is_noticed_although_new_events_keep_coming() -> None:
    log, upstream = MemoryLog([make_event(1)]), StreamingUpstream()
    async with forwarding(log, upstream, stall_timeout_s=0.2) as forwarder:
        for seq in range(2, 1000):
            if forwarder.status().stalls:
                break
            await log.append(make_event(seq))
            await asyncio.sleep(0.01)
        assert forwarder.status().stalls == 1
        assert log.cursor("cloud") == 0


async def test_after_an_error_everything_unanswered_is_given_again_and_the_first_event_alone() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 8)]), StreamingUpstream()
    async with forwarding(log, upstream, batch_events_max=3):
        await until(lambda: len(upstream.under_way) == 7)
        upstream.answer(2)
        upstream.fail(Unreachable("cut"))
        await until(lambda: upstream.under_way == [3])
        await log.append(make_event(8))
        assert upstream.batches[3:] == [[3]]  # a probe is answered before anything follows it
        upstream.answer(1)
        await until(lambda: len(upstream.under_way) == 5)
        upstream.answer(5)
        await until(lambda: log.cursor("cloud") == 8)
    assert upstream.taken == [1, 2, 3, 4, 5, 6, 7, 8]
    assert log.booked == {"forwarded": 8, "filtered": 0, "quarantined": 0}


async def test_where_a_connection_ends_twice_events_go_one_by_one_until_behind_it() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 10)]), StreamingUpstream()
    async with forwarding(log, upstream, batch_events_max=4):
        await until(lambda: len(upstream.under_way) == 9)
        upstream.answer(1)
        upstream.fail(Unreachable("reset"))
        await until(lambda: upstream.under_way == [2])
        upstream.answer(1)
        await until(lambda: len(upstream.under_way) == 7)
        upstream.fail(Unreachable("reset"))
        for seq in range(3, 10):
            await until(lambda seq=seq: upstream.under_way == [seq])
            if seq == 5:
                upstream.fail(Refused({5: "bad"}))
            else:
                upstream.answer(1)
        await log.append(make_event(10))
        await log.append(make_event(11))
        await until(lambda: upstream.under_way == [10, 11])
        upstream.answer(2)
        await until(lambda: log.cursor("cloud") == 11)
    assert log.booked == {"forwarded": 10, "filtered": 0, "quarantined": 1}


async def test_an_event_with_which_the_connection_always_ends_is_named() -> None:
    log, upstream = MemoryLog([make_event(1), make_event(2)]), ScriptedUpstream()
    upstream.on_send = lambda _: (0, Unreachable("reset"))
    async with forwarding(log, upstream) as forwarder:
        await until(lambda: "event 1 was alone on its way" in forwarder.status().reason)
    assert upstream.batches[0] == [1, 2]
    assert set(map(tuple, upstream.batches[1:])) == {(1,)}
    assert log.cursor("cloud") == 0


async def test_trouble_that_comes_while_the_forwarder_idles_is_heard() -> None:
    log, upstream = MemoryLog([make_event(1), make_event(2)]), StreamingUpstream()
    async with forwarding(log, upstream):
        await until(lambda: upstream.under_way == [1, 2])
        upstream.fail(Busy("later"))
        await until(lambda: upstream.under_way == [1])
        assert upstream.opens == 1
        upstream.answer(1)
        await until(lambda: upstream.under_way == [2])
        upstream.fail(Refused({2: "bad"}))
        await until(lambda: log.cursor("cloud") == 2)
    assert log.quarantined == {2: "bad"}
    assert log.booked == {"forwarded": 1, "filtered": 0, "quarantined": 1}


async def test_what_is_behind_a_refused_event_is_given_again() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 6)]), StreamingUpstream()
    async with forwarding(log, upstream):
        await until(lambda: len(upstream.under_way) == 5)
        upstream.answer(2)
        upstream.fail(Refused({3: "bad"}))
        await until(lambda: upstream.under_way == [4, 5])
        assert log.cursor("cloud") == 3
        upstream.answer(2)
        await until(lambda: log.cursor("cloud") == 5)
    assert log.booked == {"forwarded": 4, "filtered": 0, "quarantined": 1}


async def test_a_disk_that_does_not_take_the_quarantine_leaves_the_rest_to_be_given_again() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 4)]), StreamingUpstream()
    async with forwarding(log, upstream):
        await until(lambda: len(upstream.under_way) == 3)
        log.quarantine_error = LogError("disk full")
        upstream.fail(Refused({1: "bad"}))
        await until(lambda: upstream.under_way == [1])
        assert log.cursor("cloud") == 0
        assert log.booked == {"forwarded": 0, "filtered": 0, "quarantined": 0}


async def test_the_cursor_waits_for_a_quarantine_that_takes_longer_than_it_is_looked_after() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 4)]), StreamingUpstream()
    log.quarantine_done.clear()
    async with forwarding(log, upstream, stall_timeout_s=0.04):  # looked after each 10 ms
        await until(lambda: len(upstream.under_way) == 3)
        upstream.answer(1)
        upstream.fail(Refused({2: "bad"}))
        await until(lambda: upstream.acknowledged == 2)
        await asyncio.sleep(0.1)
        assert log.cursor("cloud") < 2
        assert upstream.opens == 1  # a slow disk is no stall
        log.quarantine_done.set()
        await until(lambda: upstream.under_way == [3])
        upstream.answer(1)
        await until(lambda: log.cursor("cloud") == 3)
    assert log.booked == {"forwarded": 2, "filtered": 0, "quarantined": 1}


async def test_a_stop_with_events_under_way_keeps_the_answered_prefix() -> None:
    log, upstream = MemoryLog([make_event(seq) for seq in range(1, 6)]), StreamingUpstream()
    async with forwarding(log, upstream, stall_timeout_s=60):
        await until(lambda: len(upstream.under_way) == 5)
        upstream.answer(3)
    assert log.cursor("cloud") == 3
    assert log.booked["forwarded"] == 3


async def test_events_that_the_log_has_dropped_are_not_counted_again_and_the_cursor_never_goes_back() -> None:
    events = [make_event(seq, "a" if seq % 2 else "b") for seq in range(1, 11)]
    log, upstream = MemoryLog(events), StreamingUpstream()
    async with forwarding(log, upstream, topics=["a"], stall_timeout_s=60) as forwarder:
        await until(lambda: upstream.under_way == [1, 3, 5, 7, 9])
        log.cursors["cloud"] = 6  # retention; 1 to 6 are booked as dropped
        upstream.answer(2)
        upstream.answer(2)
        await until(lambda: log.cursor("cloud") == 8)
        assert log.booked == {"forwarded": 1, "filtered": 1, "quarantined": 0}
        log.cursors["cloud"] = 20  # and beyond all that was read
        upstream.answer(1)
        await log.append(make_event(19, "a"))
        await log.append(make_event(21, "a"))
        await until(lambda: upstream.under_way == [21])
        upstream.answer(1)
        await until(lambda: log.cursor("cloud") == 21)
        assert forwarder.status().cursor == 21
    assert log.booked == {"forwarded": 2, "filtered": 1, "quarantined": 0}
