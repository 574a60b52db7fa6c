"""The power fails while a backlog drains behind live events and before alarms: nothing counts as done that is not."""

from __future__ import annotations

import itertools
import os
import threading
from typing import TYPE_CHECKING

import pytest

from tests.powercut.story import cut, tell
from tests.powercut.verdict import URGENT
from tests.site.load import Load
from tests.site.ports import wait_for
from tests.site.scripted_upstream import WELCOME, Arrival, Reset, ScriptedUpstream, accept

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.powercut.recorder import Recorder
    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]
    Recorders = Callable[[GatewayProcess], Recorder]

IMAGES = int(os.environ.get("GATEWAY_POWERCUT_IMAGES") or 100)
CONFIG = "[log]\nsegment_bytes_max = 65536\ncursor_interval_s = 0.02\nretention_bytes_max = 0\n"
OPTIONS = f"""
catch_up = "live_first"
backlog_rate_max = 1000
batch_events_max = 20
priorities = ["{URGENT}"]
"""

pytestmark = pytest.mark.timeout(120 + IMAGES)


async def test_nothing_that_goes_out_of_its_turn_counts_as_done_before_it_is(
    gateway_at: Gateways, recorder_of: Recorders, tmp_path: Path, seed: int
) -> None:
    gate, count = threading.Event(), itertools.count(1)

    def welcome(_: int) -> bytes:
        if not gate.is_set():
            raise Reset
        return WELCOME

    def answer(arrival: Arrival) -> bytes:
        if next(count) % 150 == 0:  # each time a connection begins anew, so does what goes live
            raise Reset
        return accept(arrival)

    with ScriptedUpstream(answer, welcome) as cloud:
        gateway = gateway_at(config=CONFIG, upstream_port=cloud.port, upstream_options=OPTIONS)
        recorder = recorder_of(gateway)
        gateway.start(env=recorder.env)
        with Load(gateway.port, 3, 5, "usual") as load, Load(gateway.port, 1, 2, "urgent") as urgent:
            load.wait_acknowledged(600)
            gate.set()
            load.wait_acknowledged(600)
            load.finish()
            urgent.finish()
        wait_for(gateway.is_drained, timeout_s=60, what="everything forwarded")
        assert gateway.stop() == 0
        assert {each.properties.get("historical") for each in cloud.arrivals} == {None, "true"}
        assert URGENT in {each.topic for each in cloud.arrivals}
        story = tell(recorder, gateway, cloud, seed)
    found = await cut(story, seed, tmp_path, IMAGES)
    assert (found.opened_with_loss, found.problems) == (0, [])
