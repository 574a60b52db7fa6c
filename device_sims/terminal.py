"""What the person at the terminal sees: results on standard output, everything else on standard error."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import typer
from rich.console import Console
from rich.status import Status  # noqa: TC002 - annotations are read at run time here
from rich.table import Table

from device_sims.errors import SimsError, first_error

TROUBLE_INTERVAL_S = 5.0
PIPE_WIDTH = 160

# Into a file or a pipe tables are written as wide as they need, not as narrow as a terminal that is not there.
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say(line: str) -> None:
    """One line on standard error, at once."""
    err.print(line, markup=False)


def show(facts: dict[str, Any], table: Table, *, as_json: bool) -> None:
    """Print the result."""
    if as_json:
        out.print_json(json.dumps(facts))
    else:
        out.print(table)


@contextmanager
def telling_errors() -> Iterator[None]:
    """Turn an error that is meant for the person at the terminal into two lines and an exit code."""
    told: SimsError | None = None
    try:
        yield
    except* SimsError as group:
        first = first_error(group)
        told = first if isinstance(first, SimsError) else None
    if told is not None:
        say(f"error: {told}")
        if told.hint:
            say(f"hint: {told.hint}")
        raise typer.Exit(told.exit_code)


def on_stop_signal(callback: Callable[[], None]) -> None:
    """Call `callback` in the running loop on every SIGINT and SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, callback)


class LiveLine:
    """One line that is kept up to date while something lasts; silent if standard error is no terminal."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._troubled_s = -TROUBLE_INTERVAL_S

    def __enter__(self) -> Self:
        if err.is_terminal:
            self._status = err.status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, line: str) -> None:
        """Show `line` instead of the last one."""
        if self._status is not None:
            self._status.update(line)

    def trouble(self, line: str, now_s: float) -> None:
        """Say `line` above the live one, at most every few seconds; `now_s` counts from the start."""
        if now_s - self._troubled_s >= TROUBLE_INTERVAL_S:
            self._troubled_s = now_s
            say(line)
