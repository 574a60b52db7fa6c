"""Feeds the watchdog only while the way of the data is alive.

A beat goes through the event loop and the thread that writes the log. A disk that refuses writes is no reason for a
restart (the log retries and says so); a thread or a loop that no longer answers is.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

    from gateway.health.systemd import Notifier

_BEATS_PER_TIMEOUT = 3
_INTERVAL_S = 10.0
"""How often the beat is tried when nobody watches: it still tells of a stuck disk in the journal."""

logger = logging.getLogger(__name__)


async def watch(notifier: Notifier, beat: Callable[[], Awaitable[None]]) -> NoReturn:
    """Feed `notifier` for as long as `beat` answers in time; runs until cancelled."""
    interval_s = _INTERVAL_S if notifier.watchdog_s is None else notifier.watchdog_s / _BEATS_PER_TIMEOUT
    while True:
        try:
            async with asyncio.timeout(interval_s):
                await beat()
        except TimeoutError:
            logger.error("the disk has not answered", extra={"timeout_s": interval_s})  # noqa: TRY400
        else:
            notifier.alive()
            await asyncio.sleep(interval_s)
