"""A disk that fills up under load: nothing false is told, nobody is thrown out, cursors advance, it goes on by itself.

The disk is a tmpfs of a few megabytes, which takes root to mount, and for everybody the largest size of a file.
"""

from __future__ import annotations

import os
import resource
import subprocess
import threading
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway.eventlog.batch import Batch
from gateway.eventlog.books import Account
from gateway.eventlog.reader import LogReader
from gateway.eventlog.reserve import DiskFull, Reserve
from gateway.eventlog.retained import Retained
from gateway.eventlog.state import State, StateReader, path_of
from gateway.eventlog.writer import SegmentWriter
from tests.site.ports import wait_for
from tests.site.publisher import Publisher
from tests.site.raw_client import RawClient
from tests.site.scripted_upstream import WELCOME, Arrival, Reset, ScriptedUpstream, accept
from tests.unit.eventlog.logs import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]

DISK_BYTES = 4 * 1024 * 1024
BALLAST_BYTES = 1024 * 1024
RESERVE_BYTES = 128 * 1024
DEVICES, WINDOW = 3, 10
LOG = f"""
[log]
segment_bytes_max = 262144
reserve_bytes = {RESERVE_BYTES}
cursor_interval_s = 0.02
retry_interval_s = 0.05
retention_interval_s = 0.1
retention_age_s = 0
"""
KEEP = LOG + "retention_bytes_max = 0\n"
REMOVE = LOG
"""The limit is far beyond the disk."""
PAUSE = threading.Event()
"""Never set."""
SLOW = "inflight_max = 4"
"""So that cursors move, and are flushed, many times."""
"""Room for the few pages of the state, and not for a new segment."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The data directory of the gateway `edge`, on a disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("a small file system is needed, and only root may mount one")
    path = tmp_path / "edge"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system is needed and cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


class Cloud(NamedTuple):
    """An upstream that takes nothing before it is opened, and then one event after the other."""

    server: ScriptedUpstream
    open: threading.Event

    def payloads(self) -> list[bytes]:
        return [arrival.payload for arrival in self.server.arrivals]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    gate = threading.Event()

    def take(arrival: Arrival) -> bytes:
        PAUSE.wait(0.001)
        return accept(arrival)

    def welcome(_: int) -> bytes:
        if not gate.is_set():
            raise Reset
        return WELCOME

    with ScriptedUpstream(take, welcome) as server:
        yield Cloud(server, gate)


@pytest.fixture
def devices(gateway_at: Gateways) -> Iterator[Callable[[GatewayProcess, str], list[Publisher]]]:
    with ExitStack() as stack:

        def join(gateway: GatewayProcess, life: str) -> list[Publisher]:
            clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(DEVICES)]
            return [Publisher(client, f"device-{life}-{n}", 5000) for n, client in enumerate(clients)]

        yield join


def publish_until_refused(gateway: GatewayProcess, devices: list[Publisher]) -> None:
    """Fill the disk until it stays full: leaving a segment may make room for some more."""
    refusals_in_a_row, head = 0, -1
    while refusals_in_a_row < 20:
        log = gateway.status()["log"]
        refusals_in_a_row = refusals_in_a_row + 1 if log["error"] and log["head"] == head else 0
        head = log["head"]
        if not log["pending_events"]:
            for device in devices * WINDOW:
                device.send()
        PAUSE.wait(0.02)
    for device in devices:
        device.ping()
    assert any(device.acknowledged < device.sent for device in devices), "acknowledged although the disk is full"


def acknowledged(devices: list[Publisher]) -> set[bytes]:
    return {device.payload(n) for device in devices for n in range(1, device.acknowledged + 1)}


def stored(gateway: GatewayProcess) -> set[bytes]:
    return {event.payload for event in gateway.events()}


def cursor_on_disk(data_dir: Path) -> int:
    with closing(StateReader(path_of(data_dir))) as state:
        return state.cursors().get("cloud", 0)


def wait_all_acknowledged(devices: list[Publisher]) -> None:
    """On the connections they have had all the time."""
    for device in devices:
        device.wait_acknowledged()


def test_a_full_disk_gets_room_by_retention_once_the_upstream_takes_events_again(
    disk: Path, gateway_at: Gateways, cloud: Cloud, devices: Callable[[GatewayProcess, str], list[Publisher]]
) -> None:
    gateway = gateway_at(config=REMOVE, upstream_port=cloud.server.port, upstream_options=SLOW).start()
    fleet = devices(gateway, "a")
    publish_until_refused(gateway, fleet)
    assert acknowledged(fleet) <= stored(gateway)
    assert "full" in gateway.status()["log"]["error"] or "no room" in gateway.status()["log"]["error"]
    assert "full" in gateway.command("status").stdout or "no room" in gateway.command("status").stdout
    assert gateway.status()["log"]["oldest"] == 1
    cloud.open.set()
    wait_all_acknowledged(fleet)
    wait_for(gateway.is_drained, 60, "everything forwarded")
    assert acknowledged(fleet) <= set(cloud.payloads())
    wait_for(lambda: gateway.status()["log"]["oldest"] > 1, what="segments removed")
    assert not gateway.status()["log"]["error"]
    assert (disk / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES, "the reserve is not there again"
    assert gateway.stop() == 0


def test_cursors_moved_on_a_full_disk_outlive_sigkill_and_room_is_used_as_soon_as_it_is_there(
    disk: Path, gateway_at: Gateways, cloud: Cloud, devices: Callable[[GatewayProcess, str], list[Publisher]]
) -> None:
    gateway = gateway_at(config=KEEP, upstream_port=cloud.server.port, upstream_options=SLOW)
    for number in range(2):
        (disk / f"ballast-{number}").write_bytes(bytes(BALLAST_BYTES // 2))
    gateway.start()
    fleet = devices(gateway, "a")
    publish_until_refused(gateway, fleet)
    cloud.open.set()
    wait_for(lambda: gateway.upstream()["pending"] == 0, 60, "everything that is stored forwarded")
    wait_for(lambda: cursor_on_disk(disk) == gateway.status()["log"]["head"], what="the cursor on the disk")
    for device in fleet:
        device.ping()
    assert gateway.status()["log"]["error"], "there was room meanwhile, so nothing is shown by this test"

    (disk / "ballast-0").unlink()
    wait_all_acknowledged(fleet)
    wait_for(lambda: not gateway.status()["log"]["error"], what="the end of the trouble told")
    publish_until_refused(gateway, fleet)
    wait_for(lambda: gateway.upstream()["pending"] == 0, 60, "everything that is stored forwarded")
    wait_for(lambda: cursor_on_disk(disk) == gateway.status()["log"]["head"], what="the cursor on the disk")
    told = acknowledged(fleet)
    head, arrived = gateway.status()["log"]["head"], len(cloud.server.arrivals)
    gateway.kill()
    assert cursor_on_disk(disk) == head

    gateway.start()  # on a disk that is still full
    (more,) = devices(gateway, "b")[:1]
    publish_until_refused(gateway, [more])  # one or two may fit into what is left
    again = set(cloud.payloads()[arrived:]) - {more.payload(n) for n in range(1, more.sent + 1)}
    assert not again, "the upstream got again what its cursor was beyond"
    (disk / "ballast-1").unlink()
    more.wait_acknowledged()
    wait_for(gateway.is_drained, what="everything forwarded")
    assert told | acknowledged([more]) <= stored(gateway)
    seqs = [event.seq for event in gateway.events()]
    assert seqs == sorted(set(seqs))
    assert gateway.stop() == 0


def test_cursors_advance_where_no_new_segment_can_be_written(
    gateway_at: Gateways, cloud: Cloud, devices: Callable[[GatewayProcess, str], list[Publisher]]
) -> None:
    """A largest size of files stands for the full disk: writes beyond it fail, those before it are taken."""
    gateway = gateway_at(config=KEEP, upstream_port=cloud.server.port, upstream_options=SLOW).start()
    assert gateway.process is not None
    fleet = devices(gateway, "a")
    for device in fleet * 200:
        device.send()
    wait_all_acknowledged(fleet)
    soft, hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)
    state_bytes = (gateway.data_dir / "state.db").stat().st_size  # it can be written in place; no segment fits
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (state_bytes, hard))
    publish_until_refused(gateway, fleet)
    cloud.open.set()
    wait_for(lambda: gateway.upstream()["pending"] == 0, 60, "everything that is stored forwarded")
    wait_for(lambda: cursor_on_disk(gateway.data_dir) == gateway.status()["log"]["head"], what="the cursor on the disk")
    assert gateway.status()["log"]["error"]
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    wait_all_acknowledged(fleet)
    wait_for(gateway.is_drained, what="everything forwarded")
    assert not gateway.status()["log"]["error"]
    assert stored(gateway) == acknowledged(fleet) == set(cloud.payloads())
    gateway.kill()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def test_the_state_takes_cursors_for_ever_on_a_full_disk_and_new_rows_from_the_reserve(disk: Path) -> None:
    reserve = Reserve(disk / "reserve", 4 * RESERVE_BYTES)
    reserve.hold()
    state = State(path_of(disk), reserve)
    state.flush({"cloud": Account(1, 0)}, [], 1, 0)
    with pytest.raises(OSError, match="No space left"):
        fill(disk / "ballast")
    for seq in range(2, 500):
        state.flush({"cloud": Account(seq, 0)}, [], seq, 0)
    assert cursor_on_disk(disk) == 499
    assert (disk / "reserve").exists(), "cursors are written in place: they take no new room"
    rows = 0
    with suppress(DiskFull):
        for rows in range(1000):
            state.flush({"cloud": Account(500 + rows, 0)}, [Retained(f"t/{rows}", rows, 1, bytes(1000))], 500 + rows, 0)
    assert rows * 1000 > RESERVE_BYTES, "the write-ahead log took most of the reserve"
    assert not (disk / "reserve").exists()
    assert cursor_on_disk(disk) == 499 + rows
    state.close()


def test_segments_are_read_on_a_disk_that_has_no_room_for_their_index(disk: Path) -> None:
    (disk / "log").mkdir()
    writer = SegmentWriter(disk / "log", "log", 1)
    writer.open(1)
    for seq in (1, 2):  # a segment each
        batch = Batch()
        batch.events.append(event(seq))
        writer.write(batch)
    writer.close()
    with pytest.raises(OSError, match="No space left"):
        fill(disk / "ballast")
    for _ in range(2):  # the second time beside what the first attempt has left
        reader = LogReader(disk / "log")
        assert [each.seq for each in reader.scan()] == [1, 2]
        reader.close()
