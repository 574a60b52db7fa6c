"""One gateway per data directory: two writers would give the same sequence number to different events."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def prepare(data_dir: Path) -> None:
    """Make the data directory and its `log` folder.

    Raises:
        ConfigError: it cannot be made or written.
    """
    hint = f"Create it and give it to the user the gateway runs as (uid {os.getuid()}), or set gateway.data_dir."
    try:
        (data_dir / "log").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"gateway.data_dir: {data_dir} cannot be created: {error.strerror}", hint) from error
    if not os.access(data_dir, os.W_OK | os.X_OK) or not os.access(data_dir / "log", os.W_OK | os.X_OK):
        raise ConfigError(f"gateway.data_dir: {data_dir} is not writable", hint)


class DataDirLock:
    """Held for as long as this process owns the data directory; the kernel releases it when the process ends."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock.

        Raises:
            ConfigError: another gateway holds it, or the file cannot be written.
        """
        path = data_dir / "lock"
        try:
            self._file = path.open("a+", encoding="ascii")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}", "Check who owns the folder.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise ConfigError(
                f"gateway.data_dir: {data_dir} is in use by another gateway (process {holder})",
                "Stop that one first, or give this one a data_dir of its own.",
            ) from error
        with suppress(OSError):  # the lock is held, whether or not a full disk takes the name of its holder
            os.ftruncate(self._file.fileno(), 0)
            os.pwrite(self._file.fileno(), f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another gateway have the directory."""
        self._file.close()


def holder(data_dir: Path) -> int | None:
    """Process id of the gateway that owns the directory; None if none runs."""
    path = data_dir / "lock"
    try:
        with path.open(encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(file.read().strip() or 0)
    except (OSError, ValueError):
        return None
    return None
