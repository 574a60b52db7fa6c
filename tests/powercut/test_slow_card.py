"""A card that takes its time for an fsync costs latency: a commit takes all that waits, and no receipt runs ahead."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from tests.powercut.ledger import Ledger
from tests.powercut.trace import Kind
from tests.site.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.powercut.recorder import Recorder
    from tests.powercut.trace import Record
    from tests.site.gateway_process import GatewayProcess
    from tests.site.scripted_upstream import ScriptedUpstream

    Gateways = Callable[..., GatewayProcess]
    Recorders = Callable[[GatewayProcess], Recorder]

DELAYS_MS = (0, 5, 20)
DEVICES, WINDOW = 10, 20
EVENTS = 4000
_COMMITS_TO = re.compile(r".*/log/\d+\.db-wal")
_PAYLOAD = re.compile(rb'\{"device": "[^"]+", "n": \d+\}')


class Pace(NamedTuple):
    """One run."""

    events_per_sync: float
    acknowledged_per_s: float


def run(recorder: Recorder, gateway: GatewayProcess, cloud: ScriptedUpstream, delay_ms: float) -> Pace:
    gateway.start(env=recorder.env)
    recorder.card.delay_syncs(delay_ms)
    with Load(gateway.port, DEVICES, WINDOW) as load:
        begin_s = time.monotonic()
        load.wait_acknowledged(EVENTS)
        took_s = time.monotonic() - begin_s
        load.finish()
    gateway.kill()
    records = recorder.records()
    ledger = Ledger(records, gateway.port, cloud.port)
    assert len(ledger.acknowledged) >= EVENTS
    assert acknowledged_too_early(records, ledger) == []
    commits = [each for each in records if each.kind is Kind.SYNC_OK and _COMMITS_TO.fullmatch(each.path)]
    return Pace(len(ledger.acknowledged) / len(commits), len(ledger.acknowledged) / took_s)


def acknowledged_too_early(records: Sequence[Record], ledger: Ledger) -> list[bytes]:
    """Payloads whose PUBACK went out before an fsync had returned that was asked for after they had been written."""
    written: dict[bytes, tuple[int, int]] = {}
    syncs: dict[int, list[tuple[int, int]]] = {}
    begun: dict[int, int] = {}
    for position, record in enumerate(records):
        if record.kind is Kind.WRITE:
            for payload in _PAYLOAD.findall(record.data):
                written.setdefault(payload, (position, record.inode))
        elif record.kind is Kind.SYNC_BEGIN:
            begun[record.thread] = position
        elif record.kind is Kind.SYNC_OK:
            syncs.setdefault(record.inode, []).append((begun[record.thread], position))
    early = []
    for told, message in ledger.acknowledged:
        position, inode = written.get(message.payload, (len(records), 0))
        covering = syncs.get(inode, [])[bisect_right(syncs.get(inode, []), (position, 0)) :]
        if not covering or covering[0][1] > told:
            early.append(message.payload)
    return early


def test_a_slow_card_makes_commits_larger_and_no_acknowledgement_precedes_its_fsync(
    gateway_at: Gateways, recorder_of: Recorders, cloud: ScriptedUpstream
) -> None:
    paces = {}
    for delay_ms in DELAYS_MS:
        gateway = gateway_at(f"card-{delay_ms}", upstream_port=cloud.port)
        paces[delay_ms] = run(recorder_of(gateway), gateway, cloud, delay_ms)
        ratio = paces[delay_ms].acknowledged_per_s / paces[0].acknowledged_per_s
        told = f"{paces[delay_ms].events_per_sync:.0f} events per fsync, {ratio:.2f} x the rate without delay"
        print(f"fsync {delay_ms} ms later: {told}")  # noqa: T201 - a figure to be looked at, not asserted
    assert paces[20].events_per_sync > DEVICES * WINDOW / 4, "a commit leaves most of what waits to the next"


def test_an_acknowledgement_before_its_fsync_would_be_seen(
    gateway_at: Gateways, recorder_of: Recorders, cloud: ScriptedUpstream
) -> None:
    gateway = gateway_at(upstream_port=cloud.port)
    recorder = recorder_of(gateway)
    run(recorder, gateway, cloud, 5)
    without = [record for record in recorder.records() if record.kind not in (Kind.SYNC_BEGIN, Kind.SYNC_OK)]
    ledger = Ledger(without, gateway.port, cloud.port)
    assert len(acknowledged_too_early(without, ledger)) == len(ledger.acknowledged)
