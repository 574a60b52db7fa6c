"""Opens the log in a crash image as a gateway would, and holds it against what was told before the power cut."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from gateway.clock import SystemClock
from gateway.errors import GatewayError
from gateway.eventlog.config import LogConfig
from gateway.eventlog.log import EventLog
from tests.powercut.ledger import Message

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from gateway.event import Event
    from tests.powercut.ledger import Ledger

_UPSTREAM = "cloud"
URGENT = "load/urgent-0"
"""The topic of the only lane, where there is one."""
_LIMITS = LogConfig(retention_bytes_max=0, retention_age_s=0)


class Verdict(NamedTuple):
    """What is wrong with an image; nothing if both are empty."""

    lost: frozenset[Message]
    """Acknowledged and not in the log, nor removed from it because the upstream has it."""
    problems: list[str]


class Opened(NamedTuple):
    """What a log tells of itself."""

    events: list[Event]
    head: int
    cursor: int
    log_id: str
    next_seq: int
    """What the next event was given."""
    retained: dict[str, bytes]
    """Payload of the retained message of each topic."""
    spans: list[tuple[int, int]]
    """Stretches that went live: after the first number up to the second."""
    urgent: int
    """How far the only lane is; 0 if there is none."""


async def open_log(data_dir: Path) -> Opened:
    """Open a log, read all of it, append an event, close it, and find everything again.

    Raises:
        GatewayError: it does not open, or not a second time.
    """
    first = await _open_once(data_dir)
    second = await _open_once(data_dir)
    assert second.events[: len(first.events)] == first.events, "opened a second time, the log holds something else"
    assert [event.seq for event in second.events[len(first.events) :]] == [first.next_seq]
    return first


async def judge(
    data_dir: Path, ledger: Ledger, position: int, before: Collection[Message] = (), *, removes: bool = False
) -> Verdict:
    """Judge the image of a power cut at `position`.

    Args:
        data_dir: the image; it is changed.
        ledger: what was told, and when.
        position: how many records of the trace had happened.
        before: messages that were in the log when the recording began.
        removes: whether retention may have removed what the upstream has taken.
    """
    acknowledged = {each.message for each in ledger.acknowledged_before(position)}
    taken = {each.seq for each in ledger.taken_before(position)}
    try:
        log = await open_log(data_dir)
    except GatewayError as error:
        return Verdict(frozenset(acknowledged), [f"it does not open: {error}"])
    forwarded = {each.seq: each.message for each in ledger.forwarded}
    held = {Message(event.topic, event.payload) for event in log.events}
    if removes:
        held |= {forwarded[seq] for seq in taken}
    problems = []
    seqs = [event.seq for event in log.events]
    if any(one >= other for one, other in itertools.pairwise(seqs)):
        problems.append("seq does not rise strictly")
    for event in log.events:
        told = forwarded.get(event.seq)
        if told is not None and told != (event.topic, event.payload):
            problems.append(f"seq {event.seq} is {event.payload!r} here, and went upstream as {told.payload!r}")
    told_before = ledger.forwarded_before(position)
    highest = max((each.seq for each in told_before), default=0)
    if log.next_seq <= highest:
        problems.append(f"seq {log.next_seq} is given again: the upstream has had seqs up to {highest}")
    if {each.log_id for each in told_before} - {log.log_id}:
        problems.append("the log has another id than the one the upstream was told")
    if any(seq not in taken for seq in range(ledger.cursor_at_start + 1, log.cursor + 1)):
        problems.append(f"the cursor is at {log.cursor}, and the upstream has not acknowledged everything before it")
    problems += [
        f"what went live is said to be done up to {end}, and the upstream has not acknowledged all of it"
        for begin, end in log.spans
        if any(seq not in taken for seq in range(begin + 1, end + 1))
    ]
    if any(event.topic == URGENT and event.seq <= log.urgent and event.seq not in taken for event in log.events):
        problems.append(f"the lane is at {log.urgent}, and the upstream has not acknowledged everything of it before")
    problems += _stored_twice(log, ledger) + _retained_wrongly(log, ledger, acknowledged)
    return Verdict(frozenset((acknowledged | set(before)) - held), problems)


def _stored_twice(log: Opened, ledger: Ledger) -> list[str]:
    count = Counter(Message(event.topic, event.payload) for event in log.events)
    return [f"{message} was sent at QoS 2 and is stored twice" for message in ledger.exactly_once if count[message] > 1]


def _retained_wrongly(log: Opened, ledger: Ledger, acknowledged: Collection[Message]) -> list[str]:
    """The retained message of a topic is the last one acknowledged, or one that was sent after it."""
    problems = []
    for topic, payloads in ledger.retained.items():
        told = [at for at, payload in enumerate(payloads) if Message(topic, payload) in acknowledged]
        if told and log.retained.get(topic) not in payloads[told[-1] :]:
            problems.append(
                f"the retained message of {topic} is {log.retained.get(topic)!r}, told {payloads[told[-1]]!r}"
            )
    return problems


async def _open_once(data_dir: Path) -> Opened:
    clock = SystemClock()
    log = EventLog(data_dir, _LIMITS, clock, [_UPSTREAM])
    try:
        await log.mend()  # as a gateway does before all else: what is damaged is not in the head until then
        events: list[Event] = []
        while more := await log.read(events[-1].seq if events else 0, 1000):
            events += more
        head, cursor = log.head, log.cursor(_UPSTREAM)
        ahead = log.views.progress(_UPSTREAM).ahead
        spans = [(span.account.started, span.account.seq) for span in ahead.spans]
        retained = {topic: message.payload for topic, message in log.retained.items()}
        next_seq = log.intake.append(clock.wall_ns(), clock.mono_ns(), "after", "after", 1, False, b"after the cut")
        await log.intake.settled()
        return Opened(events, head, cursor, log.log_id, next_seq, retained, spans, max(ahead.lanes, default=0))
    finally:
        await log.close(10)
