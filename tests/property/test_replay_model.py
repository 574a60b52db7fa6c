"""A replay against the log: exactly the wanted events go out, in order, whatever comes between.

What comes between: the upstream takes a few, its connection breaks, it refuses an event for good; the replay is paused
and resumed; the gateway is stopped and started; the power fails; retention takes what has not had its turn. Around a
power cut an event may go out twice, under the same number, and what became of each is counted once.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.errors import Refused, Unreachable
from gateway.eventlog.log import EventLog
from gateway.eventlog.replays import Pacing
from gateway.eventlog.wanted import Wanted
from gateway.forward.config import ReplayConfig
from gateway.forward.member import Standing
from gateway.forward.replay import Replayer
from tests.unit.eventlog.logs import HandClock, limits, put, until
from tests.unit.forward.forward_fakes import make_config

pytestmark = pytest.mark.timeout(300)
EVENTS = 90
TOPICS, DEVICES = ("plant/a", "plant/b", "office"), ("one", "two")


class Tap:
    """An upstream that takes as many events as it is told to, and remembers them over all its connections."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.taken: list[int] = []
        self.allowed = 0
        self.poison: set[int] = set()
        self._changed = asyncio.Event()
        self._error: Unreachable | None = None

    def take(self, count: int) -> None:
        self.allowed += count
        self._changed.set()

    def fail(self) -> None:
        self._error = Unreachable("cut")
        self._changed.set()

    async def open(self) -> None:
        self.acknowledged, self._error = 0, None

    async def send(self, events):
        for event in events:
            while not self.allowed and self._error is None:
                self._changed.clear()
                await self._changed.wait()
            if self._error is not None:
                raise self._error
            if event.seq in self.poison:
                self.acknowledged += 1
                raise Refused({event.seq: "poison"})
            self.taken.append(event.seq)
            self.acknowledged += 1
            self.allowed -= 1
        await asyncio.sleep(0)

    async def wait_closed(self):
        while self._error is None:
            self._changed.clear()
            await self._changed.wait()
        return self._error

    async def close(self) -> None:
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A log of some segments, with events of two devices on three topics."""
    data_dir = tmp_path_factory.mktemp("template") / "data"

    async def fill() -> None:
        log = EventLog(data_dir, limits(), HandClock(), ["cloud"])
        for number in range(EVENTS):
            payload = json.dumps({"n": number, "filler": "x" * 3000}).encode()
            put(log, payload, TOPICS[number % 3], client_id=DEVICES[number % 2])
            await log.intake.settled()
        log.advance("cloud", log.head)
        await log.close(5)

    asyncio.run(fill())
    assert len(list((data_dir / "log").glob("*.db"))) > 4
    return data_dir


class Model:
    """A log with one replay, and the tap it goes to."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        self.tap = Tap()
        self.cuts = 0
        self.id = ""
        self.runs: list[int] = []
        """How much the tap had taken whenever the replay was started."""
        self.data_dir = folder / "data"
        shutil.copytree(template, self.data_dir)

    def open(self) -> None:
        self.log = EventLog(self.data_dir, limits(retention_bytes_max=1, cursor_interval_s=10), HandClock(), ["cloud"])
        config = make_config(batch_events_max=7)
        self.replayer = Replayer(self.log, ReplayConfig(), lambda _: Standing(config), lambda *_: self.tap, HandClock())
        self.running = asyncio.ensure_future(self.replayer.run())
        self.runs.append(len(self.tap.taken))

    async def close(self) -> None:
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running
        await self.log.close(5)

    @property
    def progress(self):
        return self.log.replays.known[self.id].progress

    @property
    def is_over(self) -> bool:
        return self.progress.state == "done"

    async def step(self, what: str, count: int) -> None:
        if self.is_over:
            return
        if what == "take":
            goal = len(self.tap.taken) + count
            self.tap.take(count)
            await until(lambda: len(self.tap.taken) >= goal or self.is_over, "so many taken")
            self.tap.allowed = 0
        elif what == "flush":
            await self.log.flush()
        elif what == "break":
            self.tap.fail()
        elif what == "poison":
            self.tap.poison.add(self.progress.position + count)
        elif what == "pause":
            await self.replayer.pause(self.id)
            await self.replayer.resume(self.id)
            self.runs.append(len(self.tap.taken))
        elif what == "restart":
            await self.close()
            self.open()
        elif what == "power cut":
            await self.cut_the_power()
        elif what == "retention":
            await self.log.retain()

    async def cut_the_power(self) -> None:
        self.cuts += 1
        left = self.folder / f"cut-{self.cuts}"
        await asyncio.get_running_loop().run_in_executor(
            self.log.intake.thread, shutil.copytree, self.log.data_dir, left
        )
        await self.close()
        shutil.rmtree(self.data_dir)
        self.data_dir = left
        self.open()


@asynccontextmanager
async def model_of(template: Path):
    with tempfile.TemporaryDirectory(prefix="replay-model-") as name:
        model = Model(Path(name), template)
        model.open()
        try:
            yield model
        finally:
            await model.close()


steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "flush", "break", "poison", "pause", "restart", "power cut", "retention"]),
        st.integers(1, 25),
    ),
    max_size=7,
)
stretches = st.tuples(
    st.integers(1, EVENTS),
    st.integers(EVENTS // 2, EVENTS),
    st.sampled_from(["#", "plant/#", "office", "nothing"]),
    st.sampled_from([None, "one", "two"]),
    st.sampled_from(["", "n > 40", "n < 70 and n != 13"]),
).map(lambda of: Wanted(of[0], of[1], topic=of[2], device=of[3], where=of[4]))
lists = st.sets(st.integers(1, EVENTS), min_size=1, max_size=20).map(Wanted.of)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink takes minutes, and the steps are few as they are
)
@given(wanted=st.one_of(stretches, lists), todo=steps)
def test_exactly_the_wanted_events_go_out_in_order(template, wanted, todo):
    if wanted.first_seq <= wanted.last_seq:
        asyncio.run(replay(template, wanted, todo))


async def replay(template, wanted, todo):
    async with model_of(template) as model:
        is_wanted = wanted.chooser(lambda _: 0)
        events = [event for event in await read_all(model.log) if wanted.numbers(event.seq, event.seq)]
        expected = [event.seq for event in events if is_wanted(event)]
        model.id = (await model.replayer.begin("cloud", wanted, Pacing())).id
        for what, count in todo:
            await model.step(what, count)
        if not model.is_over:
            model.tap.take(10**6)
            await until(lambda: model.is_over, "the end of the replay")
        progress, taken = model.progress, model.tap.taken
        assert in_order(taken, model.runs)
        assert progress.sent + progress.filtered + progress.refused + progress.missing == len(events)
        assert progress.position == wanted.last_seq
        went = list(dict.fromkeys(taken))
        assert set(went) <= set(expected)
        lost = set(expected) - set(went) - model.tap.poison
        assert len(lost) <= progress.missing
        assert progress.refused <= len(model.tap.poison & set(expected))
        if not any(what == "retention" for what, _ in todo):
            assert not lost
            assert progress.missing == 0
            assert went == sorted(went)
        if not any(what in {"power cut", "break"} for what, _ in todo):
            assert taken == went
        assert model.log.cursor("cloud") == EVENTS


def in_order(taken: list[int], runs: list[int]) -> bool:
    """Within each run the numbers rise, but for what goes out again after a broken connection."""
    for begin, end in zip(runs, [*runs[1:], len(taken)], strict=True):
        reached = 0
        for seq in taken[begin:end]:
            if seq > reached and any(each > seq for each in taken[begin:end][: taken[begin:end].index(seq)]):
                return False
            reached = max(reached, seq)
    return True


async def read_all(log: EventLog):
    found: list = []
    while events := await log.read(found[-1].seq if found else 0, 1000):
        found += events
    return found
