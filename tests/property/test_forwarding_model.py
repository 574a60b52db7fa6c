"""Forwarders of one upstream against a list of what was sent: whatever happens, each event arrives, in the order of its
view, and the books balance after every step.

The log, its state and the forwarders are real; the upstream is in memory and goes away, refuses and comes back as it is
told. A crash is a copy of the log's files between two transactions, from which everything goes on.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.errors import Refused, Unreachable
from gateway.event import ACCEPTED, QUARANTINED
from gateway.eventlog.log import EventLog
from gateway.forward.forwarding import Forwarding
from tests.unit.eventlog.logs import CLOUD, HandClock, limits, turns, until
from tests.unit.forward.forward_fakes import ScriptedUpstream, make_config

pytestmark = pytest.mark.timeout(300)
TOPICS = ("plant/a", "alarms/fire", "alarms/water", "else/b")
CONFIGS = (
    {},
    {"catch_up": "live_first"},
    {"catch_up": "live_first", "backlog_rate_max": 400},
    {"priorities": ["alarms/#"]},
    {"priorities": ["alarms/fire", "alarms/#"], "catch_up": "live_first"},
    {"priorities": ["alarms/#"], "catch_up": "live_first", "time_to_live_s": 50},
)
SEGMENT_BYTES_MAX = 28 * 1024
"""As in `log_and_list`: every 4 KiB of events fill one."""


class Site:
    """Where all connections of the upstream end."""

    def __init__(self) -> None:
        self.is_up = True
        self.room = 10**9
        """So many more events are taken before it goes away."""
        self.bad: set[int] = set()
        """Events that it refuses for good."""
        self.arrived: set[int] = set()
        self.records: list[list[int]] = []
        """What came over each connection, in order."""

    def build(self, *, marks=(), suffix: str = "") -> ScriptedUpstream:
        upstream = ScriptedUpstream()
        self.records.append(upstream.taken)
        upstream.on_open = lambda: None if self.is_up else Unreachable("away")

        def take(given):
            if not self.is_up:
                return 0, Unreachable("away")
            for count, event in enumerate(given):
                if event.seq in self.bad:
                    if count:  # as a peer that stops at what it refuses
                        return count, Unreachable("one at a time")
                    upstream.acknowledged += 1
                    return 0, Refused({event.seq: "bad"})
                if not self.room:
                    self.is_up = False
                    return count, Unreachable("away")
                self.room -= 1
                self.arrived.add(event.seq)
            return None

        upstream.on_send = take
        return upstream


class ForwardingModel(RuleBasedStateMachine):
    """Drives everything in a loop of its own, which stands still between two steps."""

    @initialize(
        config=st.sampled_from(CONFIGS),
        policy=st.sampled_from(["drop_oldest", "refuse_new"]),
        recent_bytes_max=st.sampled_from([0, 10**7]),
    )
    def begin(self, config: dict[str, object], policy: str, recent_bytes_max: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="forwarding-model-"))
        self.clock = HandClock()
        self.limits = limits(
            recent_bytes_max=recent_bytes_max,
            retention_bytes_max=100_000,
            retention_policy=policy,
            commit_interval_ms=0,
        ).model_copy(update={"segment_bytes_max": SEGMENT_BYTES_MAX})
        self.site = Site()
        self.wanted: set[int] = set()
        self.may_expire = False
        self.config, self.crashes = config, 0
        self.log = EventLog(self.folder / "0", self.limits, self.clock, [CLOUD])
        self.start()

    def teardown(self) -> None:
        if not hasattr(self, "log"):
            return
        self.everything_arrives()
        self.stop()
        self.wait(self.log.close(10))
        self.loop.close()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        self.may_expire |= "time_to_live_s" in self.config

        async def start() -> asyncio.Task[None]:
            config = make_config(topics=["plant/#", "alarms/#"], batch_events_max=4, **self.config)
            made = Forwarding(CLOUD, config, self.site.build, self.log, self.clock)
            return asyncio.create_task(made.run())

        self.task = self.wait(start())

    def stop(self) -> None:
        self.task.cancel()
        self.wait(asyncio.wait([self.task]))

    def wait(self, coroutine):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 20))

    # --- what comes, and what the upstream does ---

    @rule(
        topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=12),
        size=st.sampled_from([1, 2000]),
        verdict=st.sampled_from([ACCEPTED, ACCEPTED, QUARANTINED]),
        count=st.sampled_from([0, 3, 60]),
    )
    def append(self, topics: list[str], size: int, verdict: int, count: int) -> None:
        async def append() -> None:
            for topic in topics:
                if not self.log.intake.full:
                    stamps = self.clock.wall_ns(), self.clock.mono_ns()
                    seq = self.log.intake.append(*stamps, "dev", topic, 1, False, bytes(size), verdict=verdict)
                    if verdict == ACCEPTED and topic != "else/b":
                        self.wanted.add(seq)
            await self.log.intake.settled()
            await turns(count)

        self.wait(append())

    @rule(room=st.integers(0, 10), count=st.sampled_from([0, 10, 200]))
    def go_away_soon(self, room: int, count: int) -> None:
        self.site.room = room
        self.wait(turns(count))

    @rule(count=st.sampled_from([0, 10, 200]))
    def come_back(self, count: int) -> None:
        self.site.room, self.site.is_up = 10**9, True
        self.wait(turns(count))

    @rule(ahead=st.integers(1, 5))
    def refuse_one(self, ahead: int) -> None:
        self.site.bad.add(self.log.head + ahead)

    @rule(count=st.integers(1, 500))
    def let_time_pass(self, count: int) -> None:
        self.clock.now_ns += 20 * 10**9
        self.wait(turns(count))

    # --- what happens to the gateway ---

    @rule(config=st.sampled_from(CONFIGS))
    def configure(self, config: dict[str, object]) -> None:
        self.stop()
        self.config = config
        self.start()

    @rule()
    def flush(self) -> None:
        self.wait(self.log.flush())

    @rule()
    def retain(self) -> None:
        self.wait(self.log.retain())

    @rule(flushed=st.booleans())
    def crash(self, flushed: bool) -> None:
        if flushed:
            self.wait(self.log.flush())
        self.crashes += 1
        left = self.folder / str(self.crashes)

        async def copy() -> None:
            thread = self.log.intake.thread
            await asyncio.get_running_loop().run_in_executor(thread, shutil.copytree, self.log.data_dir, left)

        self.wait(copy())
        self.stop()
        self.wait(self.log.close(10))
        shutil.rmtree(self.log.data_dir)
        self.log = EventLog(left, self.limits, self.clock, [CLOUD])
        self.start()

    @rule()
    def everything_arrives(self) -> None:
        self.come_back(0)
        self.wait(until(lambda: self.log.cursor(CLOUD) == self.log.head, "the cursor at the head"))
        line = self.line()
        assert line.pending == 0
        missing = self.wanted - self.site.bad - self.site.arrived
        assert len(missing) <= line.dropped, f"{sorted(missing)} never arrived, and {line.dropped} were dropped"
        if self.limits.retention_policy == "refuse_new" and not self.may_expire:
            assert (missing, line.dropped) == (set(), 0)

    # --- what has to be true ---

    @invariant()
    def the_books_balance(self) -> None:
        line = self.line()
        assert line.balances, line
        assert line.pending >= 0

    @invariant()
    def each_connection_is_in_order(self) -> None:
        for record in self.site.records:
            first = list(dict.fromkeys(record))
            assert first == sorted(first)

    def line(self):
        (line,) = self.wait(self.log.books())
        return line


TestForwardingModel = ForwardingModel.TestCase
TestForwardingModel.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
