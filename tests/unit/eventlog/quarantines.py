"""What the tests of the quarantine share: events that violate their contract, and a look at those that are kept."""

from __future__ import annotations

from gateway.event import QUARANTINED
from gateway.eventlog.batch import Violated
from gateway.eventlog.quarantine_rows import Chosen
from gateway.eventlog.wanted import Wanted
from tests.unit.eventlog.logs import put

ALL = Chosen(Wanted(quarantined=True))


def violate(log, payload=b"x", contract="c", verdict=QUARANTINED, **more):
    seq = put(log, payload, verdict=verdict, **more)
    log.intake.note_violation(Violated(seq, verdict, contract, "1", "d", "celsius", "max", "900"))
    return seq


def release(log, original):
    seq = put(log, b"released")
    log.intake.note_release(seq, original)
    return seq


async def followed(log):
    await log.intake.settled()
    await log.follow()


async def kept(log, chosen=ALL, rows_max=10_000):
    return await log.quarantined.find(chosen, rows_max)


async def seqs(log, chosen=ALL):
    return [(row.upstream, row.seq) for row in await kept(log, chosen)]
