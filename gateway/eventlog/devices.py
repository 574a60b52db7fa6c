"""Devices that may log in, in `state.db`: names and hashes of secrets, never a secret.

What is known is in memory, as of the last change that is on disk, so that a login asks no disk. Each row has a
checksum: a flipped bit must neither let somebody in nor give a role. A row that is not what was written is left out,
and logged.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.eventlog.damage import SQLITE_ERRORS, wal_of
from gateway.eventlog.rest import state_at_rest
from gateway.eventlog.state import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)


class Device(NamedTuple):
    """An identity that may connect."""

    name: str
    """Its user name."""
    secret_hash: str
    """Of argon2id, with its salt and cost."""
    role: str | None
    """None: that of whoever has none."""
    enabled: bool
    created_ns: int
    rotated_ns: int
    """When it was given its secret; both in nanoseconds since 1970."""


class Devices:
    """The stored devices.

    Args:
        state: where they are.
        write: calls a function in the thread that owns `state`.
    """

    def __init__(self, state: State, write: Callable[..., Awaitable[Any]]) -> None:
        self._state = state
        self._write = write
        self.known = {device.name: device for device in load(state)}
        """By name."""

    async def keep(self, device: Device) -> None:
        """Store a device, or what has changed of it; durable when it returns, and known from then on.

        Raises:
            LogError: the disk refused, and nothing has changed.
        """
        await self._write(self._state.keep_device, to_row(device))
        self.known[device.name] = device

    async def drop(self, name: str) -> None:
        """Forget a device; durable when it returns, and unknown from then on.

        Raises:
            LogError: the disk refused, and nothing has changed.
        """
        await self._write(self._state.drop_device, name)
        self.known.pop(name, None)


@contextmanager
def at_rest(data_dir: Path) -> Iterator[Devices]:
    """The devices of a data directory that no gateway runs on.

    Raises:
        ConfigError: one does, or the directory cannot be used.
        LogError: the disk refuses, or the file is damaged.
    """
    with state_at_rest(data_dir) as state:
        yield Devices(state, _at_once)


async def _at_once(function: Callable[..., None], *args: object) -> None:
    function(*args)


def load(state: State) -> list[Device]:
    """Every device that is what was written.

    Raises:
        LogError: the disk refuses.
    """
    return list(_whole(state.devices()))


def carry_over(aside: Path, state: State) -> int:
    """Store in `state` what can still be read of the devices in a database that was set aside; returns how many.

    Raises:
        LogError: the disk does not take them.
    """
    how = "mode=ro" if wal_of(aside).exists() else "immutable=1"
    rows: list[tuple[Any, ...]] = []
    try:
        with closing(sqlite3.connect(f"{aside.absolute().as_uri()}?{how}", uri=True)) as database:
            rows += database.execute(State.DEVICES)
    except SQLITE_ERRORS as error:
        logger.warning("not every device can be read", extra={"file": str(aside), "reason": str(error)})
    found = list(_whole(rows))
    for device in found:
        state.keep_device(to_row(device))
    return len(found)


def to_row(device: Device) -> tuple[object, ...]:
    """As it is stored, with a checksum."""
    return (*device, zlib.crc32(repr(tuple(device)).encode()))


def _whole(rows: Iterable[tuple[Any, ...]]) -> Iterator[Device]:
    for row in rows:
        device = Device(row[0], row[1], row[2], bool(row[3]), row[4], row[5])
        if to_row(device) == tuple(row):
            yield device
        else:
            logger.error("a device is not what was written, and may not log in", extra={"device": str(row[0])[:200]})
