"""The quarantine follows the log within its limits, and what goes is booked."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.event import FLAGGED, QUARANTINED
from gateway.eventlog import quarantine_rows as rows
from gateway.eventlog.batch import Violated
from gateway.eventlog.config import QuarantineConfig
from gateway.eventlog.quarantine_rows import Chosen
from gateway.eventlog.state import State, StateReader
from gateway.eventlog.wanted import Wanted
from tests.unit.eventlog.logs import WALL_NS, commit_held_back, event, fill, firsts, opened, power_cut, put, until
from tests.unit.eventlog.quarantines import ALL, followed, kept, release, seqs, violate


def ledger(log):
    return [(row.cause, row.upstream, row.detail, row.events) for row in log._state.losses()]


async def test_a_violation_is_in_the_log_and_in_quarantine_with_a_copy_and_why(tmp_path):
    async with opened(tmp_path) as log:
        put(log)
        violate(log, b"\0bad", topic="a/b", retain=True, qos=2, properties=b"")
        violate(log, b"flagged", verdict=FLAGGED)
        await followed(log)
        (row,) = await kept(log)
        assert row.event() == (await log.read(1, 1))[0]
        assert row[4:11] == ("", "c", "1", "d", "celsius", "max", "900")
        assert (row.is_whole, row.released_seq, row.quarantined_ns) == (True, 0, WALL_NS)
        assert log.quarantined.describe() == {
            "events": 1,
            "bytes": rows.ROW_OVERHEAD_BYTES + 7,
            "released": 0,
            "contracts": {"c": 1},
            "upstreams": {},
        }


async def test_a_running_log_takes_violations_over_by_itself(tmp_path):

    async with opened(tmp_path, cursor_interval_s=0.01) as log:
        task = asyncio.create_task(log.run())
        violate(log)
        await until(lambda: log.quarantined.sums)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_retention_waits_for_what_is_not_taken_over_yet(tmp_path):
    async with opened(tmp_path, upstreams=(), retention_bytes_max=1) as log:
        violate(log)
        await fill(log, 30)
        with commit_held_back(tmp_path / "state.db"):
            await log.retain()
            assert firsts(tmp_path)[0] == 1
        await log.retain()
        assert firsts(tmp_path)[0] > 1
        assert await seqs(log) == [("", 1)]


async def test_what_an_upstream_refuses_is_durable_with_a_copy_when_it_returns(tmp_path):
    async with opened(tmp_path / "a") as log:
        await fill(log, 3, b"payload")
        await log.quarantine("cloud", {2: "too large", 3: "invalid"})
        await log.quarantine("archive", {2: "too large"})
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert [(row.upstream, row.seq, row.reason, row.payload) for row in await kept(log)] == [
            ("cloud", 2, "too large", b"payload"),
            ("cloud", 3, "invalid", b"payload"),
            ("archive", 2, "too large", b"payload"),
        ]
        assert log.quarantined.describe()["upstreams"] == {"archive": 1, "cloud": 2}


async def test_what_is_refused_once_more_is_one_row_that_is_not_released(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 2)
        for reason in ("first", "again"):
            await log.quarantine("cloud", {1: reason})
            await log.quarantined.mark_released(await kept(log) if reason == "first" else [])
        assert [(row.seq, row.reason, row.released_seq) for row in await kept(log)] == [(1, "again", 0)]


async def test_beyond_its_limits_the_oldest_go_released_ones_first_and_the_others_are_booked(tmp_path):
    async with opened(tmp_path) as log:
        log.quarantined.limits = QuarantineConfig(events_max=3)
        for contract in "abc":
            violate(log, contract=contract)
        release(log, 2)
        await followed(log)
        violate(log, contract="d")
        await followed(log)
        assert await seqs(log) == [("", 1), ("", 3), ("", 5)]
        assert ledger(log) == []
        violate(log, contract="e")
        await followed(log)
        assert await seqs(log) == [("", 3), ("", 5), ("", 6)]
        assert ledger(log) == [("quarantine_dropped", None, "violates a", 1)]


async def test_a_full_quarantine_may_keep_what_it_has_and_nothing_waits_for_it(tmp_path):
    async with opened(tmp_path) as log:
        log.quarantined.limits = QuarantineConfig(events_max=2, policy="refuse")
        for _ in range(4):
            violate(log)
        await followed(log)
        await log.quarantine("cloud", {1: "too large"})
        assert await seqs(log) == [("", 1), ("", 2)]
        assert ledger(log) == [
            ("quarantine_full", None, "violates c", 2),
            ("quarantine_full", "cloud", "refused by cloud", 1),
        ]
        assert len(await log.read(0, 10)) == 4


async def test_bytes_are_bounded_and_what_alone_is_too_large_gets_no_place(tmp_path):
    async with opened(tmp_path) as log:
        log.quarantined.limits = QuarantineConfig(bytes_max=4 * (rows.ROW_OVERHEAD_BYTES + 105))
        for _ in range(6):
            violate(log, bytes(100))
        violate(log, bytes(10_000))
        await followed(log)
        assert await seqs(log) == [("", 3), ("", 4), ("", 5), ("", 6)]
        assert sorted(ledger(log)) == [
            ("quarantine_dropped", None, "violates c", 2),
            ("quarantine_full", None, "violates c", 1),
        ]


async def test_what_is_removed_is_booked_unless_it_was_released(tmp_path):
    async with opened(tmp_path) as log:
        violate(log)
        violate(log)
        release(log, 1)
        await followed(log)
        await log.quarantined.purge(await kept(log, ALL._replace(released=True)))
        assert await kept(log, ALL._replace(released=True)) == []
        assert ledger(log) == [("purged", None, "violates c", 1)]
        assert log.quarantined.sums == []


async def test_rows_are_chosen_by_what_operators_know(tmp_path):
    async with opened(tmp_path) as log:
        violate(log, topic="a/1", contract="a")
        violate(log, topic="b/1", contract="b", client_id="other")
        put(log, topic="a/2")
        await followed(log)
        await log.quarantine("cloud", {3: "too large"})
        by = {
            "upstream": ALL._replace(upstream="cloud"),
            "no upstream": ALL._replace(upstream=""),
            "contract": ALL._replace(contract="b"),
            "client": Chosen(Wanted(device="other")),
            "device": Chosen(Wanted(device="d")),
            "topic": Chosen(Wanted(topic="a/#")),
            "numbers": Chosen(Wanted(seqs=(1, 3))),
            "from": Chosen(Wanted(first_seq=2)),
            "early": Chosen(Wanted(end_ns=WALL_NS - 1)),
            "late": Chosen(Wanted(begin_ns=WALL_NS)),
        }
        found = {name: [row.seq for row in await kept(log, chosen)] for name, chosen in by.items()}
        assert found == {
            "upstream": [3],
            "no upstream": [1, 2],
            "contract": [2],
            "client": [2],
            "device": [1, 2],
            "topic": [1, 3],
            "numbers": [1, 3],
            "from": [2, 3],
            "early": [],
            "late": [1, 2, 3],
        }
        assert [row.seq for row in await kept(log, ALL, 2)] == [1, 2]
    with closing(StateReader(tmp_path / "state.db")) as reader:
        assert reader.ask(lambda db: [row.seq for row in rows.choose(db, by["topic"])]) == [1, 3]


class Db:
    """A state database for the rows alone."""

    def __init__(self, path):
        self.state = State(path)

    def add(self, kept, limits):
        self.state.transact(lambda db: rows.add(db, kept, limits, 7))


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(st.sampled_from(["", "cloud"]), st.integers(1, 6), st.integers(0, 900)), max_size=12),
    st.integers(1, 4),
    st.sampled_from(["drop_oldest", "refuse"]),
)
def test_limits_hold_whatever_comes_and_every_event_is_there_or_booked(tmp_path_factory, coming, events_max, policy):
    folder = tmp_path_factory.mktemp("rows")
    some = Db(folder / "state.db")
    try:
        config = QuarantineConfig(events_max=events_max, bytes_max=1500, policy=policy)
        came = 0
        for upstream, seq, size in coming:
            before = some.state.ask(
                lambda db, key=(upstream, seq): db.execute(
                    "SELECT count(*) FROM quarantine WHERE upstream = ? AND seq = ?", key
                ).fetchone()[0]
            )
            made = event(seq, bytes(size))
            violated = Violated(seq, QUARANTINED, "c", "1", "d", "f", "max", "9")
            row = rows.of_refusal(upstream, seq, made, "", 7) if upstream else rows.of_violation(violated, made, 7)
            some.add([row], config)
            came += 1 - before
            (count, bytes_) = some.state.ask(rows._totals)
            assert count <= events_max
            assert bytes_ <= 1500
        there = sum(each.events for each in some.state.ask(rows.sums))
        assert there + sum(loss.events for loss in some.state.losses()) == came
    finally:
        some.state.close()
        shutil.rmtree(folder)
