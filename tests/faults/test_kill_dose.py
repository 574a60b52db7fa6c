"""SIGKILL again and again under load at QoS 1 and 2, against an upstream that writes everything down.

GATEWAY_SIGKILLS sets how often; at least 500 events a cycle are acknowledged.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from device_sims.verdict import identify, judge
from gateway.eventlog.state import StateReader, path_of
from tests.site.load import Load
from tests.site.ports import wait_for
from tests.site.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess
    from tests.site.scripted_upstream import Arrival

KILLS = int(os.environ.get("GATEWAY_SIGKILLS") or 4)
ACKNOWLEDGED_PER_KILL = 500
LOG = """
[log]
segment_bytes_max = 1048576
cursor_interval_s = 0.05
retention_bytes_max = 0
retention_age_s = 0
"""

pytestmark = pytest.mark.timeout(120 + 10 * KILLS)


def seq_of(arrival: Arrival) -> int:
    return int(arrival.properties["id"].split(".")[1])


def wait_and_kill(gateway: GatewayProcess, load: Load, chance: random.Random) -> None:
    """Some acknowledgements later; now and then in the middle of a start as well."""
    if chance.random() < 0.2:
        gateway.kill()
        gateway.start(wait=False)
        load.devices[0].stopping.wait(chance.uniform(0, 0.6))
        gateway.kill()
        gateway.start()
    load.wait_acknowledged(chance.randrange(1, 2 * ACKNOWLEDGED_PER_KILL))
    gateway.kill()


def check_cursor(data_dir: Path, cloud: ScriptedUpstream) -> None:
    """Not beyond what the upstream has: it writes down what came before it acknowledges it."""
    with closing(StateReader(path_of(data_dir))) as state:
        cursor = state.cursors().get("cloud", 0)
    taken = {seq_of(arrival) for arrival in list(cloud.arrivals)}
    missing = sorted(set(range(1, cursor + 1)) - taken)
    assert not missing, f"the cursor is at {cursor}, and the upstream never got {missing[:5]}"


def test_however_often_it_is_killed_nothing_acknowledged_is_lost_and_no_seq_is_used_twice(
    gateway_at: Callable[..., GatewayProcess],
) -> None:
    seed = int(os.environ.get("GATEWAY_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"GATEWAY_TEST_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)
    with ScriptedUpstream() as cloud:
        gateway = gateway_at(config=LOG, upstream_port=cloud.port)
        gateway.start()
        with Load(gateway.port, 4, exact_devices=2) as load:
            for _ in range(KILLS):
                wait_and_kill(gateway, load, chance)
                check_cursor(gateway.data_dir, cloud)
                gateway.start()
            load.wait_acknowledged(max(0, KILLS * ACKNOWLEDGED_PER_KILL - load.count()), 30 + KILLS)
            load.finish()
            wait_for(gateway.is_drained, 60, "everything forwarded")
        gateway.kill()
        acknowledged, exact = load.acknowledged(), {device.name for device in load.devices if device.qos == 2}
    stored = gateway.events()
    known = [known for event in stored if (known := identify(event.payload)) is not None]
    told = judge(acknowledged, known)
    print(f"{KILLS} kills: {told.total}")  # noqa: T201 - as above
    assert told.ok, told.devices
    assert told.total.acknowledged >= KILLS * ACKNOWLEDGED_PER_KILL
    assert judge(acknowledged, [one for each in cloud.arrivals if (one := identify(each.payload)) is not None]).ok
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    of_seq = {event.seq: event.payload for event in stored}
    assert all(of_seq[seq_of(arrival)] == arrival.payload for arrival in cloud.arrivals), "a seq was used twice"
    assert {seq_of(arrival) for arrival in cloud.arrivals} == set(of_seq)
    assert not [one for one, count in Counter(known).items() if count > 1 and one[0] in exact], "QoS 2 stored twice"
