"""To await one thing unless another comes first, without a task for each wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, TypeVar

    T = TypeVar("T")


async def unless(done: asyncio.Future[None], attempt: Coroutine[Any, Any, T]) -> T | None:
    """What `attempt` returns or raises; None if `done` comes first: `attempt` is cancelled then, or not even begun."""
    if done.done():
        attempt.close()
        return None
    is_waiting = True

    def interrupt(_: asyncio.Future[None]) -> None:
        if is_waiting:
            limit.reschedule(0)

    try:
        async with asyncio.timeout(None) as limit:
            done.add_done_callback(interrupt)
            try:
                return await attempt
            finally:
                is_waiting = False
    except TimeoutError:
        if not limit.expired():
            raise
        return None
    finally:
        done.remove_done_callback(interrupt)
