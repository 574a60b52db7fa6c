"""The end of the segment that is gone on with: a wrong highest number is noticed before a number is given out."""

from __future__ import annotations

import pytest

from gateway.eventlog import ending, pages
from gateway.eventlog.damage import Damaged
from gateway.eventlog.losses import ledger
from gateway.eventlog.pages import PAGE_BYTES
from gateway.eventlog.segment import Segment, path_of
from gateway.eventlog.state import path_of as state_path_of
from tests.unit.eventlog.logs import event, execute, fill, firsts, newest, opened, put, read_all, seqs

EVENTS = 3000


@pytest.fixture
def segment(tmp_path):
    """A segment whose tree has a page above its leaves."""
    made = Segment.create(tmp_path, 1, {}, [])
    made.append_runs([[event(seq, bytes(100)) for seq in range(1, EVENTS + 1)]])
    made.close()
    return path_of(tmp_path, 1)


def patch(path, at, what):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(what)


def test_the_end_of_a_whole_segment_is_right(segment):
    ending.check(segment, EVENTS)


def test_an_empty_segment_is_right(tmp_path):
    Segment.create(tmp_path, 7, {}, []).close()
    ending.check(path_of(tmp_path, 7), 6)


def test_a_tree_that_leads_to_another_page_than_the_last_is_noticed(segment):
    content = segment.read_bytes()
    leaves = [
        leaf
        for number in range(2, len(content) // PAGE_BYTES + 1)
        if (leaf := pages.leaf_of(content[(number - 1) * PAGE_BYTES : number * PAGE_BYTES], number, 1, EVENTS))
    ]
    rightmost, other = max(leaves), min(leaves)
    at = content.index(rightmost.page.to_bytes(4, "big"), PAGE_BYTES)
    assert content[at - 8] == 0x05, "the pointer of the page above the leaves"
    patch(segment, at, other.page.to_bytes(4, "big"))
    with pytest.raises(Damaged, match=f"a page in it holds {EVENTS}"):
        ending.check(segment, other.high)


def test_a_flipped_bit_in_one_of_the_last_events_is_noticed(segment):
    execute(segment, f"UPDATE events SET mono_ns = mono_ns + 1 WHERE seq = {EVENTS - 3}")
    with pytest.raises(Damaged, match=f"checksum of event {EVENTS - 3} is wrong"):
        ending.check(segment, EVENTS)


async def test_damage_further_back_is_found_while_the_gateway_serves(tmp_path):
    async with opened(tmp_path, segment_bytes_max=10**8) as log:
        await fill(log, 600, bytes(3000))
    patch(newest(tmp_path), 100 * PAGE_BYTES, b"\xff" * PAGE_BYTES)
    async with opened(tmp_path, segment_bytes_max=10**8, recent_bytes_max=0) as log:
        assert firsts(tmp_path) == [1]
        assert put(log) == 601
        await log.intake.settled()
        await log.mend()
        found = seqs(await read_all(log))
        assert put(log) == 602
    lost = sum(row.events for row in ledger(state_path_of(tmp_path)) if row.cause == "damaged")
    assert 0 < lost < 10
    assert len(found) == 601 - lost
    assert len(list((tmp_path / "damaged").glob("*.db.*Z"))) == 1
