"""The last retained message of each topic, through flushes, power cuts and the end of its segment."""

from __future__ import annotations

from gateway.event import QUARANTINED
from gateway.eventlog.state import Retained
from tests.unit.eventlog.logs import commit_held_back, fill, newest, opened, power_cut, put, turns, until


async def retain(log, **messages):
    for topic, payload in messages.items():
        put(log, payload.encode(), topic, retain=True)
    await log.intake.settled()


def retained(log):
    return {topic: message.payload.decode() for topic, message in log.retained.items()}


async def test_the_last_retained_message_of_a_topic_counts(tmp_path):
    async with opened(tmp_path) as log:
        await retain(log, a="1", b="1")
        await retain(log, a="2")
        put(log, b"not retained", "b")
        await log.intake.settled()
        assert retained(log) == {"a": "2", "b": "1"}
        assert log.retained["a"] == Retained("a", 3, 1, b"2")
    async with opened(tmp_path) as log:
        assert retained(log) == {"a": "2", "b": "1"}
        assert log.retained["a"] == Retained("a", 3, 1, b"2")


async def test_an_empty_payload_withdraws_a_retained_message(tmp_path):
    async with opened(tmp_path) as log:
        await retain(log, a="1", b="1")
        await log.flush()
        await retain(log, a="")
        assert retained(log) == {"b": "1"}
    async with opened(tmp_path) as log:
        assert retained(log) == {"b": "1"}


async def test_a_quarantined_message_neither_becomes_the_retained_one_nor_withdraws_it(tmp_path):
    async with opened(tmp_path / "a") as log:
        await retain(log, a="1")
        await log.flush()
        for payload in (b"2", b""):
            put(log, payload, "a", retain=True, verdict=QUARANTINED)
        put(log, b"1", "b", retain=True, verdict=QUARANTINED)
        await log.intake.settled()
        assert retained(log) == {"a": "1"}
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert retained(log) == {"a": "1"}


async def test_a_retained_message_counts_from_its_commit_on(tmp_path):
    async with opened(tmp_path) as log:
        with commit_held_back(newest(tmp_path)):
            put(log, b"1", "a", retain=True)
            await until(lambda: log.intake.pending_events == 0)
            await turns()
            assert log.retained == {}
        await log.intake.settled()
        assert retained(log) == {"a": "1"}


async def test_retained_messages_survive_a_power_cut_before_they_were_flushed(tmp_path):
    async with opened(tmp_path / "a") as log:
        await retain(log, a="1", b="1", c="1")
        await log.flush()
        await retain(log, a="2", b="", d="1")
        await fill(log, 10)
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert retained(log) == {"a": "2", "c": "1", "d": "1"}


async def test_what_was_recovered_after_a_power_cut_survives_later_flushes(tmp_path):
    async with opened(tmp_path / "a") as log:
        await retain(log, a="1", b="1")
        await log.flush()
        await retain(log, b="", c="1")
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        await retain(log, d="1")
    async with opened(left) as log:
        assert retained(log) == {"a": "1", "c": "1", "d": "1"}


async def test_retained_messages_survive_the_segment_they_were_published_in(tmp_path):
    async with opened(tmp_path / "a", [], retention_bytes_max=1) as log:
        await retain(log, a="1")
        await fill(log, 10)
        await log.retain()
        assert log.status().oldest > 1
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert retained(log) == {"a": "1"}


async def retain_as(log, client_id, *topics, payload=b"x"):
    for topic in topics:
        put(log, payload, topic, client_id=client_id, retain=True)
    await log.intake.settled()


async def test_beyond_retained_messages_max_a_message_is_an_event_and_no_more(tmp_path):
    async with opened(tmp_path, retained_messages_max=4) as log:
        for client, topic in zip("abcde", "vwxyz", strict=True):
            await retain_as(log, client, topic)
        assert list(log.retained) == ["v", "w", "x", "y"]
        assert log.head == 5
        assert (log.status().retained, log.status().retained_refused) == (4, 1)
        await retain_as(log, "e", "v", payload=b"new")
        assert retained(log) == {"v": "new", "w": "x", "x": "x", "y": "x"}
        await retain_as(log, "a", "w", payload=b"")
        await retain_as(log, "e", "z")
        assert sorted(log.retained) == ["v", "x", "y", "z"]
        before = retained(log)
    async with opened(tmp_path, retained_messages_max=4) as log:
        assert retained(log) == before


async def test_one_client_may_have_half_of_the_retained_messages_and_bytes(tmp_path):
    async with opened(tmp_path, retained_messages_max=6, retained_bytes_max=8192) as log:
        await retain_as(log, "flood", *"abcdefgh")
        assert sorted(log.retained) == ["a", "b", "c"]
        await retain_as(log, "other", "o")
        assert "o" in log.retained
        await retain_as(log, "flood", "a", payload=b"")
        await retain_as(log, "flood", "large", payload=b"x" * 4096)
        assert "large" not in log.retained
        await retain_as(log, "flood", "i")
        assert sorted(log.retained) == ["b", "c", "i", "o"]


async def test_a_retained_message_that_grows_too_large_is_withdrawn_and_not_left_stale(tmp_path):
    async with opened(tmp_path, retained_bytes_max=4096) as log:
        await retain_as(log, "a", "t", payload=b"old")
        await log.flush()
        await retain_as(log, "a", "t", payload=b"x" * 4096)
        assert log.retained == {}
        assert log._messages._shares == log._messages._owners == {}
        assert log._messages._bytes == 0
    async with opened(tmp_path, retained_bytes_max=4096) as log:
        assert log.retained == {}
