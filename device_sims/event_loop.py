"""The event loop everything runs on: uvloop where it installs, since it halves the cost of a fleet; else asyncio's."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_new_loop: Callable[[], asyncio.AbstractEventLoop] | None
try:
    from uvloop import new_event_loop as _new_loop
except ImportError:
    _new_loop = None


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in a new loop and return its result."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(main)
