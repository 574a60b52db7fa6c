"""A backup made beside a real gateway under load, and a gateway begun from it."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess

SMALL = "[log]\nsegment_bytes_max = 65536\n"


def test_a_gateway_begun_from_a_backup_has_what_was_acknowledged_before_it_and_forwards_the_rest(
    gateway_at: Callable[..., GatewayProcess],
) -> None:
    cloud = gateway_at("cloud").start()
    edge = gateway_at("edge", SMALL, upstream_port=cloud.port, upstream_options='version = "3.1.1"')
    edge.start()
    done = threading.Event()
    acknowledged = []

    def publish() -> None:
        with RawClient(edge.port) as device:
            device.join("dev")
            n = 0
            while not done.is_set():
                n += 1
                device.publish("t", b"%d" % n + bytes(500), n % 60_000 + 1)
                acknowledged.append(n)

    publisher = threading.Thread(target=publish)
    publisher.start()
    wait_for(lambda: len(acknowledged) >= 500, what="a log of several segments")
    before = len(acknowledged)
    backup = edge.data_dir.parent / "backup"
    made = edge.command_json("backup", str(backup))
    done.set()
    publisher.join()
    assert made["faults"] == []
    edge.stop()
    assert made["last_seq"] >= before
    assert len(acknowledged) > before, "nothing was published during the backup"

    shutil.rmtree(edge.data_dir)
    shutil.copytree(backup, edge.data_dir)
    edge.start()
    with RawClient(edge.port) as device:
        device.join("dev")
        device.publish("t", b"after", 1)
    wait_for(lambda: any(event.payload == b"after" for event in cloud.events()), 20, "the new event at the cloud")
    kept = edge.events()
    assert [event.seq for event in kept[:before]] == [*range(1, before + 1)]
    assert kept[-1].payload == b"after"
    assert kept[-1].seq > len(acknowledged)
    wait_for(edge.is_drained, what="everything forwarded again")
    books = edge.command("status", "--books")
    assert books.returncode == 0, books.stdout
