"""How rows get in and out of SQLite beside a busy event loop: the reason for the statements in `gateway/eventlog`.

`python -m benchmarks.rows` prints rows a second for each way of writing and reading, alone and in a thread beside an
event loop whose connections talk without a pause. It writes to a temporary folder and ends by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast
from zlib import crc32

import uvloop

from gateway.event import Event
from gateway.eventlog import checksum
from gateway.eventlog.segment import Segment, path_of, remove
from gateway.eventlog.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Callable

_ROWS = 40_000
_BATCH = 2000
_CONNECTIONS = 8
_WORK_STEPS = 500
_TIMEOUT_S = 60.0
_TABLE = (
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, received_ns INTEGER, client INTEGER, topic INTEGER, payload BLOB)"
)

Row = tuple[int, int, int, int, bytes]


def main() -> None:
    """Measure and print."""
    rows = [(seq, time.time_ns(), seq % 20, seq % 200, os.urandom(100)) for seq in range(1, _ROWS + 1)]
    writers: dict[str, Callable[[sqlite3.Connection, list[Row]], None]] = {"write: executemany": _executemany}
    for size in (1, 20, 100, 500, 1000):
        writers[f"write: {size} rows a statement"] = _statements_of(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.db"
        for name, write in writers.items():
            _print(name, lambda write=write: _write(path, write, rows))  # type: ignore[misc]
        _print("read: fetchall", lambda: _read(path, _fetchall))
        _print("read: one JSON text", lambda: _read(path, _json_text))
        events = [Event(r[0], r[1], r[1], "boot", f"dev-{r[2]}", f"dev/{r[3]}", 1, False, r[4]) for r in rows]
        _print("the log's own write", lambda: _write_segment(Path(folder), events))
        _print("the log's own read", lambda: _read_segment(Path(folder)))
        _print("checksums alone", lambda: _checksums(events))


def _print(name: str, measure: Callable[[], float]) -> None:
    alone = measure()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        beside = runner.run(_beside_connections(measure))
    print(f"{name:28} {alone:>10,.0f}/s alone {beside:>10,.0f}/s beside a busy loop")


def _write(path: Path, write: Callable[[sqlite3.Connection, list[Row]], None], rows: list[Row]) -> float:
    for leftover in path.parent.iterdir():
        leftover.unlink()
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=64)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_TABLE)
    started = time.perf_counter()
    for at in range(0, len(rows), _BATCH):
        connection.execute("BEGIN")
        write(connection, rows[at : at + _BATCH])
        connection.execute("COMMIT")
    rate = len(rows) / (time.perf_counter() - started)
    connection.close()
    return rate


def _write_segment(folder: Path, events: list[Event]) -> float:
    remove(path_of(folder, 1))
    segment = Segment.create(folder, 1, {}, [])
    started = time.perf_counter()
    for at in range(0, len(events), _BATCH):
        segment.append_runs([events[at : at + _BATCH]])
    rate = len(events) / (time.perf_counter() - started)
    segment.close()
    return rate


def _read_segment(folder: Path) -> float:
    reader = SegmentReader(path_of(folder, 1))
    started, seq = time.perf_counter(), 0
    while seq < _ROWS:
        seq = reader.read(seq + 1, _ROWS, 1000, 10**8)[-1].seq
    rate = _ROWS / (time.perf_counter() - started)
    reader.close()
    return rate


def _checksums(events: list[Event]) -> float:
    started = time.perf_counter()
    for each in events:
        crc32(checksum.pack(each[0], each[1], each[2], 1, 2, 3, 1) + each[8])
    return len(events) / (time.perf_counter() - started)


def _executemany(connection: sqlite3.Connection, rows: list[Row]) -> None:
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)


def _statements_of(size: int) -> Callable[[sqlite3.Connection, list[Row]], None]:
    statement = "INSERT INTO events VALUES " + ",".join(["(?,?,?,?,?)"] * size)

    def write(connection: sqlite3.Connection, rows: list[Row]) -> None:
        for at in range(0, len(rows), size):
            connection.execute(statement, [value for row in rows[at : at + size] for value in row])

    return write


def _read(path: Path, read: Callable[[sqlite3.Connection, int], int]) -> float:
    connection = sqlite3.connect(path)
    started, seq = time.perf_counter(), 0
    while seq < _ROWS:
        seq = read(connection, seq)
    rate = _ROWS / (time.perf_counter() - started)
    connection.close()
    return rate


def _fetchall(connection: sqlite3.Connection, seq: int) -> int:
    rows = connection.execute("SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT 1000", (seq,)).fetchall()
    return int(rows[-1][0])


def _json_text(connection: sqlite3.Connection, seq: int) -> int:
    text = connection.execute(
        "SELECT json_group_array(json_array(seq, received_ns, client, topic, hex(payload)))"
        " FROM (SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT 1000)",
        (seq,),
    ).fetchone()[0]
    rows = json.loads(text)
    for row in rows:
        row[4] = bytes.fromhex(row[4])
    return int(rows[-1][0])


class _Echo(asyncio.Protocol):
    """Answers what it reads, after some work: a device's connection, as far as the interpreter lock is concerned."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for _ in range(_WORK_STEPS):
            pass
        self._transport.write(data)


async def _beside_connections(measure: Callable[[], float]) -> float:
    """Run `measure` in a thread while this loop is kept busy by connections that talk to each other."""
    loop = asyncio.get_running_loop()
    transports = []
    for _ in range(_CONNECTIONS):
        for end in socket.socketpair():
            transport, _protocol = await loop.create_connection(_Echo, sock=end)
            transports.append(transport)
    for transport in transports[::2]:
        transport.write(b"hello")
    try:
        return await asyncio.wait_for(asyncio.to_thread(measure), _TIMEOUT_S)
    finally:
        for transport in transports:
            transport.abort()


if __name__ == "__main__":
    main()
