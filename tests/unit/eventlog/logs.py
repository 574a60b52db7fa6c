"""What the tests of the log share: a clock set by hand, receivers that remember, and disks that refuse."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from contextlib import asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING

from gateway.event import Event
from gateway.eventlog.config import LogConfig
from gateway.eventlog.log import EventLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.eventlog.reader import LogReader

WALL_NS = 1_700_000_000_000_000_000
ABOVE = 2_000_000
"""Where a small log goes on if files are gone that told of its newest numbers."""
CLOUD = "cloud"
"""The upstream of every log that names no others."""


class HandClock:
    """Fulfils `gateway.clock.Clock`; time passes when a test says so."""

    boot_id = "b007b007-0000-4000-8000-000000000001"

    def __init__(self) -> None:
        self.now_ns = self.stepped_ns = 0

    def wall_ns(self) -> int:
        return WALL_NS + self.now_ns + self.stepped_ns

    def mono_ns(self) -> int:
        return self.now_ns


class Device:
    """A receiver that remembers what it was handed."""

    def __init__(self) -> None:
        self.receipts: list[bytes] = []

    def committed(self, receipt: bytes | bytearray) -> None:
        self.receipts.append(bytes(receipt))


def event(seq: int, payload: bytes = b"x", **changes: object) -> Event:
    plain = Event(seq, WALL_NS + seq, seq, HandClock.boot_id, "dev", "dev/t", 1, False, payload)
    return plain._replace(**changes)


def limits(**changes: object) -> LogConfig:
    """The smallest segments there can be, and a disk that is asked again soon."""
    return LogConfig.model_validate({"segment_bytes_max": 64 * 1024, "retry_interval_s": 0.01} | changes)


@asynccontextmanager
async def opened(
    data_dir: Path, upstreams: Sequence[str] = ("cloud",), clock: HandClock | None = None, **changes: object
) -> AsyncIterator[EventLog]:
    log = EventLog(data_dir, limits(**changes), clock or HandClock(), upstreams)
    try:
        yield log
    finally:
        await log.close(5)


def put(
    log: EventLog,
    payload: bytes = b"x",
    topic: str = "dev/t",
    *,
    client_id: str = "dev",
    qos: int = 1,
    retain: bool = False,
    **more: object,
) -> int:
    return log.intake.append(WALL_NS, 1, client_id, topic, qos, retain, payload, **more)


async def fill(log: EventLog, count: int, payload: bytes = bytes(8 * 1024)) -> list[int]:
    """Store `count` events, one commit each. Two or three of the usual size fill a segment."""
    seqs = []
    for _ in range(count):
        seqs.append(put(log, payload))
        await log.intake.settled()
    return seqs


async def read_all(log: EventLog, after_seq: int = 0) -> list[Event]:
    found: list[Event] = []
    while events := await log.read(found[-1].seq if found else after_seq, 1000):
        found += events
    return found


def scan(reader: LogReader) -> list[Event]:
    return list(reader.scan())


async def until(condition: Callable[[], object], what: str = "the condition", timeout_s: float = 10) -> None:
    """Poll `condition` from within an event loop (see `tests.site.ports.wait_for`)."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
        await asyncio.sleep(0.002)


async def turns(count: int = 50) -> None:
    """Let the event loop do whatever it could do by now."""
    for _ in range(count):
        await asyncio.sleep(0)


async def power_cut(log: EventLog, to: Path) -> Path:
    """What a power cut at this moment would leave of the log: its files as they are between two transactions."""
    await asyncio.get_running_loop().run_in_executor(log.intake.thread, shutil.copytree, log.data_dir, to)
    return to


def newest(data_dir: Path) -> Path:
    return max((data_dir / "log").glob("*.db"))


def firsts(data_dir: Path) -> list[int]:
    return sorted(int(path.stem) for path in (data_dir / "log").glob("*.db"))


def execute(path: Path, *statements: str) -> None:
    """Change a database behind the back of whoever writes it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def refuse_inserts(path: Path) -> None:
    """From now on this segment takes nothing: every insert fails after the rows before it went in."""
    execute(
        path,
        "CREATE TRIGGER IF NOT EXISTS refusal AFTER INSERT ON events BEGIN SELECT RAISE(FAIL, 'the disk refuses'); END",
    )


@contextmanager
def commit_held_back(path: Path) -> Iterator[None]:
    """Nobody else can write to this database meanwhile; a commit waits (up to SQLite's busy timeout, 5 s)."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def seqs(events: Sequence[Event]) -> list[int]:
    return [event.seq for event in events]
