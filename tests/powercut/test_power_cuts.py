"""The power fails at any moment under load: what was acknowledged is there, and nothing is told twice in two ways.

Every image is judged by what the trace says was told before it was made (`ledger.py`). GATEWAY_POWERCUT_IMAGES sets
how many images each test makes.
"""

from __future__ import annotations

import filecmp
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.powercut.images import KEEP_ALL, POWER_CUT
from tests.powercut.ledger import Ledger, Message
from tests.powercut.story import Story, cut, moments, tell
from tests.powercut.trace import Kind
from tests.powercut.verdict import open_log
from tests.site.load import Load
from tests.site.ports import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.powercut.recorder import Recorder
    from tests.site.gateway_process import GatewayProcess
    from tests.site.scripted_upstream import ScriptedUpstream

    Gateways = Callable[..., GatewayProcess]
    Recorders = Callable[[GatewayProcess], Recorder]

IMAGES = int(os.environ.get("GATEWAY_POWERCUT_IMAGES") or 100)
EVENTS = 2000
LOG = """
[log]
segment_bytes_max = 65536
cursor_interval_s = 0.02
retention_interval_s = 0.05
retention_age_s = 0
"""
KEEP = LOG + "retention_bytes_max = 0\n"
REMOVE = LOG + 'retention_bytes_max = 150000\nretention_policy = "refuse_new"\n'
NORMAL = {"PYTHONPATH": str(Path(__file__).with_name("normal"))}

pytestmark = pytest.mark.timeout(120 + IMAGES)


def run(recorder: Recorder, gateway: GatewayProcess, name: str = "device") -> None:
    """Load at QoS 1 and 2 and with retained messages, a clean stop and a start in the middle, more load."""
    for life in range(2):
        gateway.start(env=recorder.env)
        window = 5 if life == 0 else 50
        with Load(gateway.port, 4, window, f"{name}-{life}", exact_devices=2, retain_every=7) as load:
            load.wait_acknowledged(EVENTS // 2)
            load.finish()
        wait_for(gateway.is_drained, what="everything forwarded")
        assert gateway.stop() == 0


def test_the_recorder_sees_everything(
    gateway_at: Gateways, recorder_of: Recorders, cloud: ScriptedUpstream, tmp_path: Path, seed: int
) -> None:
    """A write that the shim is blind to would make every other test here worthless."""
    gateway = gateway_at(config=REMOVE, upstream_port=cloud.port)
    recorder = recorder_of(gateway)
    run(recorder, gateway)
    story = tell(recorder, gateway, cloud, seed)
    story.disk.feed(story.records)
    story.disk.image(tmp_path / "image", KEEP_ALL, random.Random(seed))
    assert same(tmp_path / "image", gateway.data_dir)
    assert len(story.ledger.acknowledged) >= EVENTS
    assert [(each.message.topic, each.message.payload) for each in story.ledger.forwarded] == [
        (each.topic, each.payload) for each in cloud.arrivals
    ]
    assert {each.seq for each in story.ledger.taken} == {each.seq for each in story.ledger.forwarded}
    assert story.ledger.exactly_once
    assert story.ledger.retained
    assert len([record for record in story.records if record.kind is Kind.RENAME]) > 4, "segments"
    kinds = {record.kind for record in story.records}
    assert kinds >= {Kind.CREATE, Kind.WRITE, Kind.SYNC_OK, Kind.RENAME, Kind.UNLINK, Kind.SENT, Kind.RECEIVED}


@pytest.mark.parametrize("config", [KEEP, REMOVE], ids=["everything kept", "with retention"])
async def test_a_power_cut_loses_nothing_acknowledged_and_reuses_no_seq(
    gateway_at: Gateways, recorder_of: Recorders, cloud: ScriptedUpstream, tmp_path: Path, seed: int, config: str
) -> None:
    gateway = gateway_at(config=config, upstream_port=cloud.port)
    recorder = recorder_of(gateway)
    run(recorder, gateway)
    story = tell(recorder, gateway, cloud, seed)._replace(removes=config == REMOVE)
    count = await cut(story, seed, tmp_path, IMAGES)
    assert (count.opened_with_loss, count.problems) == (0, [])


async def test_a_power_cut_soon_after_a_power_cut_loses_nothing_either(
    gateway_at: Gateways, recorder_of: Recorders, cloud: ScriptedUpstream, tmp_path: Path, seed: int
) -> None:
    first = gateway_at("first", config=KEEP, upstream_port=cloud.port)
    recorder = recorder_of(first)
    run(recorder, first)
    story = tell(recorder, first, cloud, seed)
    position = moments(story.records[len(story.records) // 3 :], random.Random(seed), 1)[0] + len(story.records) // 3
    story.disk.feed(story.records[:position])
    second = gateway_at("second", config=REMOVE, upstream_port=cloud.port)
    story.disk.image(second.data_dir, POWER_CUT, random.Random(f"{seed}/first"))
    shutil.copytree(second.data_dir, tmp_path / "copy")
    found = await open_log(tmp_path / "copy")
    recorder = recorder_of(second)
    run(recorder, second, "later")
    records = recorder.records()
    ledger = Ledger(records, second.port, cloud.port, found.cursor)
    before = {Message(event.topic, event.payload) for event in found.events if event.seq > found.cursor}
    count = await cut(Story(records, ledger, recorder.disk(seed), before, removes=True), seed, tmp_path, IMAGES)
    assert (count.opened_with_loss, count.problems) == (0, [])


async def test_control_without_the_fsync_of_each_commit_acknowledged_events_are_lost(
    gateway_at: Gateways, recorder_of: Recorders, cloud: ScriptedUpstream, tmp_path: Path, seed: int
) -> None:
    gateway = gateway_at(config=KEEP, upstream_port=cloud.port)
    recorder = recorder_of(gateway)
    recorder.env |= NORMAL
    run(recorder, gateway)
    count = await cut(tell(recorder, gateway, cloud, seed), seed, tmp_path, IMAGES // 3)
    assert count.opened_with_loss > count.images / 10


def same(one: Path, other: Path) -> bool:
    """Whether two directories hold the same files, SQLite's index files aside."""
    names = [{path.relative_to(top) for path in top.rglob("*") if path.suffix != ".db-shm"} for top in (one, other)]
    files = [str(name) for name in names[0] if (one / name).is_file()]
    return names[0] == names[1] and filecmp.cmpfiles(one, other, files, shallow=False)[1:] == ([], [])
