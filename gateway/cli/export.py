"""Writes events of the log to a file: JSON Lines, CSV or Parquet, whether the gateway runs or not.

The file is there when it is complete, and not before: it is written under another name, made durable and renamed. An
existing one is replaced then. Memory is bounded, however large the file becomes.
"""

from __future__ import annotations

import base64
import csv
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from gateway.cli import show
from gateway.conditions import json_of
from gateway.errors import ConfigError, LogError
from gateway.eventlog.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.event import Event
    from gateway.eventlog.wanted import Wanted

    Write = Callable[[BinaryIO, Iterable[Event], History], None]

_GROUP_EVENTS_MAX = 10_000
_GROUP_BYTES_MAX = 8 * 1024 * 1024
"""A row group of Parquet is held in memory until it is written."""
_COLUMNS = (
    "id", "seq", "time", "clockquality", "client_id", "topic", "qos", "retain", "origin", "payload", "payload_base64"
)  # fmt: skip


def export(data_dir: Path, wanted: Wanted, to_file: str, document_of: Callable[[str, bytes], Any] = json_of) -> None:
    """Write what is wanted to a file and print how much that was.

    Raises:
        ConfigError: the ending is none of ours, a library is missing, or there is no log.
        LogError: the log cannot be read, or the disk does not take the file.
    """
    path = Path(to_file)
    write = _FORMATS.get(path.suffix.lower())
    if write is None:
        raise ConfigError(
            f"--to-file {to_file}: the ending tells the format, and this is none", f"Write {', '.join(_FORMATS)}."
        )
    if write is _write_parquet:
        _pyarrow()  # before anything is written
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    with History(data_dir) as history:
        counted = _Counted(history.wanted(wanted, document_of))
        try:
            with draft.open("xb") as file:
                write(file, counted, history)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise LogError(f"{path} cannot be written: {error.strerror}", "Look at the disk (df, ls -ld).") from error
        finally:
            with suppress(OSError):
                draft.unlink()
    typer.echo(f"{counted.events:,} event(s) in {path}")


class _Counted:
    """Events, counted on the way."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = events
        self.events = 0

    def __iter__(self) -> Iterator[Event]:
        for event in self._events:
            self.events += 1
            yield event


def _write_json_lines(file: BinaryIO, events: Iterable[Event], history: History) -> None:
    file.writelines(show.as_json(event, history.log_id, history.boots).encode() + b"\n" for event in events)


def _write_csv(file: BinaryIO, events: Iterable[Event], history: History) -> None:
    """As RFC 4180 says, with a head line; a payload that is not UTF-8 stands in a column of its own."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for event in events:
        rows.writerow([*_head(event, history), *_payload(event.payload)])
    text.detach()  # flushed, and the file stays open


def _write_parquet(file: BinaryIO, events: Iterable[Event], history: History) -> None:
    """One column a field; `payload` is bytes, `time` a moment in UTC with nanoseconds."""
    arrow, parquet = _pyarrow()
    schema = arrow.schema(
        [
            ("id", arrow.string()),
            ("seq", arrow.int64()),
            ("time", arrow.timestamp("ns", tz="UTC")),
            ("clockquality", arrow.string()),
            ("client_id", arrow.string()),
            ("topic", arrow.string()),
            ("qos", arrow.int8()),
            ("retain", arrow.bool_()),
            ("origin", arrow.string()),
            ("payload", arrow.binary()),
        ]
    )
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(events):
            rows = [(*_head(event, history, text_time=False), event.payload) for event in group]
            columns = [list(column) for column in zip(*rows, strict=True)]
            arrays = [arrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


_FORMATS: dict[str, Write] = {
    ".jsonl": _write_json_lines,
    ".ndjson": _write_json_lines,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


def _head(event: Event, history: History, *, text_time: bool = True) -> tuple[Any, ...]:
    """Everything but the payload."""
    time_ns, quality = history.boots.of(event)
    time = show.rfc3339(time_ns) if text_time else time_ns
    names = event.client_id, event.topic, event.qos, event.retain, event.origin
    return (f"{history.log_id}.{event.seq}", event.seq, time, quality, *names)


def _payload(payload: bytes) -> tuple[str, str]:
    try:
        return payload.decode(), ""
    except UnicodeDecodeError:
        return "", base64.b64encode(payload).decode()


def _groups(events: Iterable[Event]) -> Iterator[list[Event]]:
    group: list[Event] = []
    bytes_ = 0
    for event in events:
        group.append(event)
        bytes_ += len(event.payload) + len(event.topic)
        if len(group) == _GROUP_EVENTS_MAX or bytes_ >= _GROUP_BYTES_MAX:
            yield group
            group, bytes_ = [], 0
    if group:
        yield group


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: ICN001, PLC0415 - only who writes Parquet needs it
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "Parquet needs pyarrow, which is not installed",
            "Install it with: pip install 'edge-gateway[parquet]'. For 32-bit ARM there is none: write .jsonl or .csv.",
        ) from error
    return pyarrow, parquet


def _sync_folder(folder: Path) -> None:
    """The new name is durable only when its folder's entry is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
