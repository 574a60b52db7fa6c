"""Files damaged at random places: the log opens, numbers do not clash, what is readable is read, the rest is booked.

Whatever is read is what was stored: a flipped bit is never taken for an event. How long such a start takes is measured
by `python -m benchmarks.damage`.

`GATEWAY_TEST_DAMAGES` sets how many places per kind of file and of damage (6), `GATEWAY_TEST_SEED` the seed.
"""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from gateway.eventlog.damage import wal_of
from gateway.eventlog.losses import ledger
from gateway.eventlog.state import path_of as state_path_of
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient
from tests.unit.eventlog.logs import firsts, newest, opened, power_cut, put, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.event import Event
    from tests.site.gateway_process import GatewayProcess

PLACES = int(os.environ.get("GATEWAY_TEST_DAMAGES", "6"))
SEED = int(os.environ.get("GATEWAY_TEST_SEED", str(random.SystemRandom().randrange(10**9))))
EVENTS = 3000
SEGMENT_BYTES = 256 * 1024


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "data"


def stored() -> Iterator[tuple[bytes, str]]:
    """Payload and topic of each event, in order."""
    rng = random.Random(1)
    for n in range(EVENTS):
        yield b"%d " % n + rng.randbytes(100), f"site/{n % 200}"


STORED = dict(enumerate(stored(), 1))


async def build(data_dir: Path) -> None:
    """A log as it is after a stop, and one as it is after a power cut, with write-ahead logs, beside it."""
    async with opened(data_dir, segment_bytes_max=SEGMENT_BYTES) as log:
        for seq, (payload, topic) in STORED.items():
            put(log, payload, topic, retain=seq % 50 == 0)
            if seq % 60 == 0:
                await log.intake.settled()
            if seq % 300 == 0:
                log.advance("cloud", seq // 10)
                await log.flush()
        await power_cut(log, data_dir.with_name("cut"))


def hurt(path: Path, kind: str, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    if kind == "truncated":
        del content[at:]
    elif kind == "zero-filled":
        end = min(len(content), at + rng.choice([100, 4096, 30_000]))
        content[at:end] = bytes(end - at)
    elif kind == "bit-flipped":
        for _ in range(rng.choice([1, 8])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    else:
        at = rng.choice([16, 100, 4096])
        content[:at] = rng.choice([bytes(at), rng.randbytes(at)])
    path.write_bytes(content)
    return f"{kind} at {at} of {path.name}"


def target(data_dir: Path, which: str, rng: random.Random) -> Path:
    if which.startswith("state"):
        return wal_of(state_path_of(data_dir)) if which == "state log" else state_path_of(data_dir)
    if which == "newest log":
        return wal_of(newest(data_dir))
    segments = sorted((data_dir / "log").glob("*.db"))
    return newest(data_dir) if which == "newest" else rng.choice(segments[:-1])


@pytest.mark.timeout(120 + 5 * PLACES)
@pytest.mark.parametrize("kind", ["truncated", "zero-filled", "bit-flipped", "header lost"])
@pytest.mark.parametrize("which", ["newest", "older", "state", "newest log", "state log"])
async def test_a_log_opens_whatever_happened_to_its_files(tmp_path: Path, whole: Path, which: str, kind: str) -> None:
    if not whole.exists():
        await build(whole)
    for number in range(PLACES):
        seed = f"{SEED}/{which}/{kind}/{number}"
        rng = random.Random(seed)
        data_dir = tmp_path / str(number)
        shutil.copytree(whole.with_name("cut") if which.endswith("log") else whole, data_dir)
        what = f"GATEWAY_TEST_SEED={SEED}: {hurt(target(data_dir, which, rng), kind, rng)} ({number})"
        await check(data_dir, what, end_may_be_unknown=which == "newest log")
        shutil.rmtree(data_dir)


async def check(data_dir: Path, what: str, *, end_may_be_unknown: bool) -> None:
    async with opened(data_dir, segment_bytes_max=SEGMENT_BYTES, recent_bytes_max=0) as log:
        assert log.cursor("cloud") <= EVENTS // 10, what
        seq = put(log, b"new")
        await log.intake.settled()
        await log.mend()
        found = await read_all(log)
        assert found[-1].seq == seq, what
        for event in found[:-1]:
            assert (event.payload, event.topic) == STORED[event.seq], what
        end = EVENTS
        if end_may_be_unknown and seq <= EVENTS:  # like a torn end: nothing tells that it was acknowledged
            end = seq - 1
        check_books(data_dir, found, what, end)
        assert await read_all(log) == found, what
        left = log.log_id
    async with opened(data_dir, segment_bytes_max=SEGMENT_BYTES, recent_bytes_max=0) as log:
        assert log.log_id == left, what
        assert put(log, b"newer") > seq, what
        await log.intake.settled()
        assert (await read_all(log))[:-1] == found, what


def check_books(data_dir: Path, found: list[Event], what: str, end: int) -> None:
    """Every number is an event or in the ledger, never both, and nothing is in the ledger without a file set aside."""
    booked = set()
    for row in ledger(state_path_of(data_dir)):
        if row.cause == "damaged":
            booked |= set(range(row.first_seq, row.last_seq + 1))
    seqs = [event.seq for event in found]
    assert seqs == sorted(set(seqs)), what
    assert not booked & set(seqs), what
    assert set(range(1, end + 1)) <= booked | set(seqs), what
    kept = max((seq for seq in seqs if seq <= end), default=0)
    cut_off = booked == set(range(kept + 1, end + 1))
    assert not booked or cut_off or any((data_dir / "damaged").iterdir()), what
    assert len(firsts(data_dir)) >= 2


@pytest.mark.parametrize("which", ["newest", "older", "state"])
def test_a_gateway_serves_and_forwards_whatever_happened_to_its_files(
    gateway_at: Callable[..., GatewayProcess], which: str
) -> None:
    cloud = gateway_at("cloud").start()
    edge = gateway_at(
        "edge", "[log]\nsegment_bytes_max = 65536\n", upstream_port=cloud.port, upstream_options='version = "3.1.1"'
    )
    edge.start()
    with RawClient(edge.port) as device:
        device.join("dev")
        for n in range(60):
            device.publish("t", b"%d " % n + bytes(4000), n + 1)
    wait_for(edge.is_drained, what="everything forwarded")
    edge.stop()
    rng = random.Random(SEED)
    path = target(edge.data_dir, which, rng)
    path.write_bytes(b"\0" * path.stat().st_size)
    edge.start()
    with RawClient(edge.port) as device:
        device.join("dev")
        device.publish("t", b"after", 1)
    wait_for(lambda: any(event.payload == b"after" for event in cloud.events()), 20, "the new event at the cloud")
