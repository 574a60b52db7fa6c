"""Deliveries on file, in order of arrival: one JSON array `["device", n]` a line.

A later `verify` takes up what an earlier one has recorded. A line that a kill tore is cut off; it was not yet
acknowledged to the broker, which sends that message again.
"""

import json
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from device_sims.errors import SimsError, UsageError


class Recording:
    """An open record file. `append` returns when the line is with the operating system: a kill does not lose it."""

    def __init__(self, file: FileIO, path: Path) -> None:
        self._file = file
        self._path = path

    def append(self, device: str, n: int) -> None:
        """Add one delivery.

        Raises:
            SimsError: the file cannot be written.
        """
        try:
            self._write_whole(json.dumps([device, n]).encode() + b"\n")
        except OSError as error:
            raise SimsError(f"cannot write the record {self._path}: {error}", hint="check the disk") from error

    def _write_whole(self, line: bytes) -> None:
        while line:
            line = line[self._file.write(line) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_recording(path: Path) -> Recording:
    """The record file at `path`, made if it does not exist, ready to be added to.

    Raises:
        UsageError: it cannot be opened.
    """
    try:
        file = path.open("ab", buffering=0)  # a line that could not be written must not wait for the next
        kept = _length_of_whole_lines(path)
        os.truncate(path, kept)
    except OSError as error:
        raise UsageError(f"cannot open the record {path}: {error}", hint="check that its folder exists") from error
    return Recording(file, path)


def read_recording(path: Path) -> Iterator[tuple[str, int]]:
    """The deliveries on file, streamed; none if there is no file.

    Raises:
        UsageError: the file is something else.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            yield _entry(path, number, line)


def _entry(path: Path, number: int, line: bytes) -> tuple[str, int]:
    try:
        device, n = json.loads(line)
    except (ValueError, TypeError):
        device, n = None, None
    if not isinstance(device, str) or type(n) is not int or n < 1:
        raise UsageError(f"{path}, line {number} is no delivery", hint="give a file that `verify --record` wrote")
    return device, n


def _length_of_whole_lines(path: Path) -> int:
    with path.open("rb") as file:
        whole = 0
        for line in file:
            whole += len(line) if line.endswith(b"\n") else 0
    return whole
