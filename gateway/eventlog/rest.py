"""The state of a log that no gateway runs on, for commands that change it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.eventlog import lock, paused, upgrade
from gateway.eventlog.damage import Damaged
from gateway.eventlog.state import State, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_ONCE = "Start the gateway once: it saves what can be read (gateway run)."


def pause(data_dir: Path, upstream: str, now_ns: int) -> None:
    """Keep that an upstream is paused; durable when it returns.

    Raises:
        ConfigError: a gateway runs on it, or the directory cannot be used.
        LogError: the disk refuses, or the file is damaged.
    """
    with state_at_rest(data_dir) as state:
        state.transact(partial(paused.keep, upstream=upstream, since_ns=now_ns))


def resume(data_dir: Path, upstream: str) -> None:
    """Keep that an upstream is paused no more; as `pause`."""
    with state_at_rest(data_dir) as state:
        state.transact(partial(paused.drop, upstream=upstream))


@contextmanager
def state_at_rest(data_dir: Path) -> Iterator[State]:
    """The state of a data directory that no gateway runs on.

    Raises:
        ConfigError: one does, or the directory cannot be used.
        LogError: the disk refuses, or the file is damaged.
    """
    lock.prepare(data_dir)
    held = lock.DataDirLock(data_dir)
    try:
        upgrade.refuse_newer(data_dir)
        try:
            state = State(path_of(data_dir))
        except Damaged as damaged:
            raise LogError(str(damaged), _START_ONCE) from damaged
        try:
            yield state
        finally:
            state.close()
    finally:
        held.release()
