"""The card refuses the k-th write or fsync, and everything after it: no false receipt, and on it goes when it heals.

GATEWAY_IO_ERRORS_FIRST=200 tries each of the first 200.
"""

from __future__ import annotations

import os
import select
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.powercut.ledger import Message
from tests.powercut.recorder import REFUSALS, SYNCS, WRITES
from tests.powercut.story import cut, tell
from tests.powercut.trace import Kind
from tests.powercut.verdict import open_log
from tests.site.ports import wait_for
from tests.site.publisher import Publisher
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.powercut.recorder import Card, Recorder
    from tests.site.gateway_process import GatewayProcess
    from tests.site.scripted_upstream import ScriptedUpstream

    Gateways = Callable[..., GatewayProcess]
    Recorders = Callable[[GatewayProcess], Recorder]

FIRST = int(os.environ.get("GATEWAY_IO_ERRORS_FIRST") or 0)
STARTS = 20 if FIRST else 3
IMAGES = 10
FOREVER = 2**40
LOG = """
[log]
segment_bytes_max = 65536
cursor_interval_s = 0.1
retry_interval_s = 0.02
retention_bytes_max = 0
retention_age_s = 0
"""
REASONS = sorted(REFUSALS)


class Case(NamedTuple):
    """What the card refuses."""

    what: int
    at: int
    reason: str
    lasting: bool
    """Everything from there on, until it heals; else that one operation only."""

    def __str__(self) -> str:
        what = "write" if self.what == WRITES else "fsync"
        return f"{what} {self.at} {self.reason} {'lasting' if self.lasting else 'once'}"


def cases() -> list[Case]:
    if FIRST:
        return [
            Case(what, at, REASONS[at % 2], lasting)
            for what in (WRITES, SYNCS)
            for at in range(1, FIRST + 1)
            for lasting in (False, True)
        ]
    return [
        Case(WRITES, 40, "ENOSPC", lasting=True),
        Case(WRITES, 90, "EIO", lasting=True),
        Case(WRITES, 120, "EIO", lasting=False),
        Case(WRITES, 150, "ENOSPC", lasting=True),
        Case(SYNCS, 5, "EIO", lasting=True),
        Case(SYNCS, 6, "EIO", lasting=False),
        Case(SYNCS, 35, "EIO", lasting=False),
        Case(SYNCS, 45, "ENOSPC", lasting=True),
        Case(SYNCS, 60, "EIO", lasting=False),
    ]


def send_until_refused(device: Publisher, card: Card) -> None:
    """One event after the other is acknowledged, until the card refuses something."""
    while not card.failed:
        assert device.sent < 5000, "the card was never asked for what it was to refuse"
        device.send()
        while device.acknowledged < device.sent and not card.failed:
            if select.select([device.client.socket], [], [], 0.01)[0]:
                device.take()


def start(gateway: GatewayProcess, recorder: Recorder) -> None:
    """Start; a gateway that cannot begin on a card that refuses says so and begins once the card has healed."""
    gateway.start(wait=False, env=recorder.env)
    try:
        gateway.wait_ready()
    except AssertionError:
        assert gateway.process is not None
        assert gateway.process.poll() not in (None, 0), "neither ready nor ended"
        assert recorder.card.failed, gateway.log()
        assert "Traceback" not in gateway.log()
        print("ended at start:", gateway.log().strip().splitlines()[-1])  # noqa: T201 - shown when the test fails
        recorder.card.heal()
        gateway.start(env=recorder.env)


def refused(gateway: GatewayProcess, card: Card, device: Publisher) -> None:
    """While the card takes nothing, nothing new is acknowledged, the connection lives and the reason is told."""
    device.send()
    before = card.failed
    wait_for(lambda: card.failed >= before + 3, what="three more tries")
    device.ping()
    assert device.acknowledged < device.sent, "acknowledged although the card takes nothing"
    wait_for(lambda: gateway.status()["log"]["error"], what="the trouble told")


@pytest.mark.parametrize("case", cases(), ids=str)
async def test_a_card_that_refuses_gets_no_false_acknowledgement_and_is_used_again_once_it_heals(
    gateway_at: Gateways,
    recorder_of: Recorders,
    cloud: ScriptedUpstream,
    tmp_path: Path,
    seed: int,
    case: Case,
) -> None:
    gateway = gateway_at(config=LOG, upstream_port=cloud.port)
    recorder = recorder_of(gateway)
    card = recorder.card
    card.refuse(case.what, case.at, FOREVER if case.lasting else 1, case.reason)
    start(gateway, recorder)
    with RawClient(gateway.port) as client:
        device = Publisher(client)
        if not card.failed:
            send_until_refused(device, card)
        if case.lasting and card.refuses:  # also a start that went on without what was refused
            refused(gateway, card, device)
        card.heal()
        device.wait_acknowledged()
        for _ in range(100):
            device.send()
        device.wait_acknowledged()
        wait_for(lambda: not gateway.status()["log"]["error"], what="the end of the trouble told")
        wait_for(gateway.is_drained, what="everything forwarded")
        sent = device.sent
    gateway.kill()
    shutil.copytree(gateway.data_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("*-shm", "*.sock"))
    story = tell(recorder, gateway, cloud, seed)
    log = await open_log(tmp_path / "copy")
    assert {each.message for each in story.ledger.acknowledged} <= {
        Message(event.topic, event.payload) for event in log.events
    }
    assert len(story.ledger.acknowledged) == sent
    count = await cut(story, seed, tmp_path, IMAGES)
    assert (count.opened_with_loss, count.problems) == (0, [])


@pytest.mark.parametrize("what", [WRITES, SYNCS], ids=["writes", "fsyncs"])
def test_a_start_on_a_card_that_refuses_ends_with_the_reason_and_harms_nothing(
    gateway_at: Gateways, recorder_of: Recorders, cloud: ScriptedUpstream, what: int
) -> None:
    """After a SIGKILL, so that there is something to recover."""
    gateway = gateway_at(config=LOG, upstream_port=cloud.port)
    recorder = recorder_of(gateway)
    card = recorder.card
    sent: list[bytes] = []
    for at in range(1, STARTS + 1):
        card.heal()
        gateway.start(env=recorder.env)
        with RawClient(gateway.port) as client:
            device = Publisher(client, f"device-{at}")
            for _ in range(30):
                device.send()
            device.wait_acknowledged()
            sent += [device.payload(n) for n in range(1, 31)]
        gateway.kill()
        card.refuse(what, card.seen(what) + at, FOREVER, REASONS[at % 2])
        gateway.start(wait=False, env=recorder.env)
        assert gateway.process is not None
        try:
            gateway.wait_ready()  # what is not refused at the start is refused later
        except AssertionError:
            assert gateway.process.poll() not in (None, 0), "neither ready nor ended"
            assert "Look at the disk" in gateway.log() or "df, dmesg" in gateway.log()
        gateway.kill()
        assert [event.payload for event in gateway.events()] == sent
    assert "Traceback" not in gateway.log()


async def test_a_failed_fsync_ends_the_segment_and_what_readers_still_see_beyond_is_never_used(
    gateway_at: Gateways, recorder_of: Recorders, cloud: ScriptedUpstream, tmp_path: Path, seed: int
) -> None:
    gateway = gateway_at(config=LOG.replace("65536", "1048576"), upstream_port=cloud.port)
    recorder = recorder_of(gateway)
    card = recorder.card
    gateway.start(env=recorder.env)
    with RawClient(gateway.port) as client:
        device = Publisher(client)
        for _ in range(10):
            device.send()
        device.wait_acknowledged()
        wait_for(gateway.is_drained, what="everything forwarded")
        card.refuse(SYNCS, card.seen(SYNCS) + 1, FOREVER, "EIO")
        refused(gateway, card, device)
        seen = [event.seq for event in gateway.events()]
        assert seen[:10] == list(range(1, 11))
        assert seen[10:] in ([], [11]), "the kernel may show what is not on disk"
        assert len(cloud.arrivals) == 10
        card.heal()
        device.wait_acknowledged()
        wait_for(gateway.is_drained, what="everything forwarded")
    gateway.kill()
    segments = sorted((gateway.data_dir / "log").glob("*.db"))
    assert [int(path.stem) for path in segments] == [1, 11]
    assert [(event.seq, event.payload) for event in gateway.events()] == [(n, device.payload(n)) for n in range(1, 12)]
    records = recorder.records()
    failed = next(at for at, record in enumerate(records) if record.kind is Kind.SYNC_FAILED)
    assert records[failed].path == f"{segments[0].resolve()}-wal"
    inode = records[failed].inode
    assert not [record for record in records[failed:] if record.kind is Kind.WRITE and record.inode == inode]
    count = await cut(tell(recorder, gateway, cloud, seed), seed, tmp_path, IMAGES)
    assert (count.opened_with_loss, count.problems) == (0, [])


async def test_what_a_failed_fsync_covered_is_not_believed_after_a_restart(
    gateway_at: Gateways, recorder_of: Recorders, cloud: ScriptedUpstream, tmp_path: Path, seed: int
) -> None:
    """The kernel shows a new process what it never got onto the card; building on it would lose what comes after."""
    gateway = gateway_at(config=LOG.replace("65536", "1048576"), upstream_port=cloud.port)
    recorder = recorder_of(gateway)
    gateway.start(env=recorder.env)
    for life in range(5):
        with RawClient(gateway.port) as client:
            device = Publisher(client, f"device-{life}")
            for _ in range(10):
                device.send()
            device.wait_acknowledged()
            before = recorder.card.failed
            recorder.card.refuse(SYNCS, recorder.card.seen(SYNCS) + 1, FOREVER, "EIO")
            device.send()
            wait_for(lambda before=before: recorder.card.failed >= before + 5, what="some refusals")
        gateway.kill()
        recorder.card.heal()
        gateway.start(env=recorder.env)
    with RawClient(gateway.port) as client:
        device = Publisher(client, "last")
        for _ in range(10):
            device.send()
        device.wait_acknowledged()
    gateway.kill()
    for number in range(5):
        story = tell(recorder, gateway, cloud, seed + number)
        count = await cut(story, seed + number, tmp_path, IMAGES)
        assert (count.opened_with_loss, count.problems) == (0, [])
