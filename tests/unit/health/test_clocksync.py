"""Whether the clock is set, and what is noted when it is."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from pathlib import Path

import pytest

from gateway.clock import Anchor, SystemClock
from gateway.errors import LogError
from gateway.health import clocksync
from gateway.health.clocksync import BUILT, ClockSync, believed, kernel_vouches

S = 10**9
YEARS_30 = 30 * 365 * 86_400 * S
BUILT_NS = int(BUILT.timestamp()) * S
RIGHT_NS = BUILT_NS + 86_400 * S


class Machine:
    """A clock, whoever sets it, and a disk; fulfils `gateway.clock.Clock`."""

    boot_id = "boot"

    def __init__(self, offset_ns: int = RIGHT_NS) -> None:
        self.now_ns, self.offset_ns = 100 * S, offset_ns
        self.source = ""
        self.kept: list[Anchor] = []
        self.disk_refuses = False
        self.at_wall_reading = lambda: None

    def mono_ns(self) -> int:
        self.now_ns += 10
        return self.now_ns

    def wall_ns(self) -> int:
        self.at_wall_reading()
        return self.mono_ns() + self.offset_ns

    async def keep(self, anchor: Anchor) -> None:
        if self.disk_refuses:
            raise LogError("full")
        self.kept.append(anchor)

    def sync(self, newest: Anchor | None = None, **more: float) -> ClockSync:
        return ClockSync(self, lambda _: self.source, newest, self.keep, **more)


async def looked(sync: ClockSync, times: int = 1) -> None:
    for _ in range(times):
        await sync.look()


# --- on whose word ---


@pytest.mark.parametrize("mode", ["kernel", "trust"])
def test_a_clock_from_before_this_version_is_wrong_whoever_vouches_for_it(mode, tmp_path):
    for wall_ns in (0, 946_684_800 * S, BUILT_NS - 1):
        assert believed(mode, wall_ns, kernel=lambda: True, timesyncd=tmp_path) == ""


def test_the_kernel_is_believed_and_asked_before_timesyncd(tmp_path):
    assert believed("kernel", RIGHT_NS, kernel=lambda: True, timesyncd=tmp_path / "none") == "kernel"
    assert believed("kernel", RIGHT_NS, kernel=lambda: False, timesyncd=tmp_path) == ""


def test_where_the_kernel_may_not_be_asked_timesyncd_is(tmp_path):
    assert believed("kernel", RIGHT_NS, kernel=lambda: None, timesyncd=tmp_path) == "timesyncd"
    assert believed("kernel", RIGHT_NS, kernel=lambda: None, timesyncd=tmp_path / "none") == ""


def test_an_operator_can_vouch_for_the_clock(tmp_path):
    assert believed("trust", RIGHT_NS, kernel=lambda: False, timesyncd=tmp_path / "none") == "trust"


def test_the_kernel_can_be_asked():
    assert kernel_vouches() is not None


def test_the_build_date_is_not_before_the_last_release():
    changelog = (Path(__file__).parents[3] / "CHANGELOG.md").read_text(encoding="utf-8")
    for released in re.findall(r"^## .*(\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE):
        assert BUILT.date() >= datetime.fromisoformat(released).date()


# --- what is noted ---


async def test_an_anchor_is_stored_once_when_the_clock_becomes_set():
    machine = Machine()
    sync = machine.sync()
    await looked(sync, 3)
    assert machine.kept == []
    assert not sync.status().set
    machine.source = "kernel"
    await looked(sync, 3)
    (anchor,) = machine.kept
    assert anchor.source == "kernel"
    assert abs(anchor.offset_ns - RIGHT_NS) < 1000
    assert (sync.status().set, sync.status().agrees, sync.status().steps) == (True, True, 0)


async def test_a_clock_once_set_stays_set_when_the_kernel_takes_its_word_back():
    machine = Machine()
    machine.source = "kernel"
    sync = machine.sync()
    await looked(sync)
    machine.source = ""
    await looked(sync)
    assert sync.status().set
    assert not machine.sync().status().set


async def test_what_is_stored_already_is_not_stored_again():
    machine = Machine()
    machine.source = "kernel"
    sync = machine.sync(Anchor(1, RIGHT_NS, "kernel"))
    await looked(sync)
    assert machine.kept == []
    assert sync.status().set


@pytest.mark.parametrize("step_ns", [YEARS_30, -YEARS_30, 2 * S])
async def test_a_step_makes_an_anchor_as_soon_as_somebody_vouches_for_it(step_ns):
    machine = Machine()
    machine.source = "kernel"
    sync = machine.sync()
    await looked(sync)
    machine.source, machine.offset_ns = "", RIGHT_NS + step_ns
    await looked(sync, 2)
    assert len(machine.kept) == 1
    assert (sync.status().agrees, sync.status().steps, sync.status().last_step_s) == (False, 1, step_ns / S)
    machine.source = "kernel"
    await looked(sync, 2)
    assert [each.offset_ns // S for each in machine.kept] == [RIGHT_NS // S, (RIGHT_NS + step_ns) // S]
    assert sync.status().agrees


async def test_small_changes_are_no_steps():
    machine = Machine()
    machine.source = "kernel"
    sync = machine.sync()
    for _ in range(20):
        machine.offset_ns += S // 50
        await looked(sync)
    assert len(machine.kept) == 1
    assert sync.status().steps == 0


async def test_a_clock_that_is_stepped_during_the_look_is_looked_at_again():
    machine = Machine(0)
    sync = machine.sync()
    machine.source = "kernel"

    def step_after_the_first_reading() -> None:
        machine.at_wall_reading = lambda: setattr(machine, "offset_ns", RIGHT_NS)

    machine.at_wall_reading = step_after_the_first_reading
    await looked(sync)
    assert machine.kept == []
    await looked(sync)
    assert [each.offset_ns // S for each in machine.kept] == [RIGHT_NS // S]


async def test_an_anchor_the_disk_refuses_is_tried_again():
    machine = Machine()
    machine.source, machine.disk_refuses = "kernel", True
    sync = machine.sync()
    await looked(sync, 2)
    assert not sync.status().set
    machine.disk_refuses = False
    await looked(sync)
    assert sync.status().set
    assert len(machine.kept) == 1


# --- giving the time service a start ---


async def test_who_waits_goes_on_when_the_clock_is_set():
    machine = Machine()
    sync = machine.sync(wait_s=600)
    waiting = [asyncio.ensure_future(sync.wait()) for _ in range(2)]
    await looked(sync, 3)
    assert not any(each.done() for each in waiting)
    machine.source = "kernel"
    await looked(sync)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
        await sync.wait()


async def test_nobody_waits_longer_than_he_may_and_only_once():
    sync = Machine().sync(wait_s=0.05)
    async with asyncio.timeout(5):
        await sync.wait()
    again = asyncio.ensure_future(sync.wait())
    for _ in range(5):  # turns of the loop, in which no new wait would end
        await asyncio.sleep(0)
    assert again.done()


async def test_nobody_waits_for_a_clock_that_was_set_or_that_nobody_will_set(tmp_path):
    async with asyncio.timeout(5):
        await Machine().sync(wait_s=0).wait()
        await Machine().sync(Anchor(1, RIGHT_NS, "kernel"), wait_s=600).wait()
    assert clocksync.time_service_runs([tmp_path / "none", tmp_path])
    assert not clocksync.time_service_runs([tmp_path / "none"])


async def test_it_watches_until_it_is_cancelled(monkeypatch):
    monkeypatch.setattr(clocksync, "LOOK_INTERVAL_S", 0.001)
    machine = Machine()
    sync = machine.sync()
    watching = asyncio.ensure_future(sync.watch())
    stored = asyncio.Event()

    async def keep(anchor: Anchor) -> None:
        machine.kept.append(anchor)
        stored.set()

    sync._keep = keep
    machine.source = "kernel"
    async with asyncio.timeout(5):
        await stored.wait()
    watching.cancel()
    await asyncio.wait([watching])
    assert watching.cancelled()


async def test_the_clocks_of_this_machine_can_be_looked_at():
    kept: list[Anchor] = []

    async def keep(anchor: Anchor) -> None:
        kept.append(anchor)

    clock = SystemClock()
    sync = ClockSync(clock, lambda _: "trust", None, keep)
    await looked(sync, 2)
    assert len(kept) == 1
    assert abs(clock.wall_ns() - clock.mono_ns() - kept[0].offset_ns) < S // 2
