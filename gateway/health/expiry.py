"""Certificates that expire: shown in `gateway status`, and logged once a day from 30 days before their end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.certificates import problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from gateway.certificates import Certificate
    from gateway.clock import Clock

LOOK_INTERVAL_S = 60.0
_TOLD_INTERVAL_NS = 86_400 * 1_000_000_000

logger = logging.getLogger(__name__)


class Expiry:
    """Looks at certificates.

    Args:
        certificates: those in use now.
        clock: the machine's.
    """

    def __init__(self, certificates: Callable[[], list[Certificate]], clock: Clock) -> None:
        self._certificates = certificates
        self._clock = clock
        self._told_ns: dict[tuple[str, str], int] = {}

    def describe(self) -> list[dict[str, object]]:
        """What `gateway status` tells of them; plain JSON values."""
        now_s = self._clock.wall_ns() / 1e9
        return [each.describe(now_s) for each in self._certificates()]

    def look(self) -> None:
        """Log what is wrong with them, or soon will be, unless that was logged within a day."""
        now_s, now_ns = self._clock.wall_ns() / 1e9, self._clock.mono_ns()
        for each in self._certificates():
            wrong = problem(each.validity, now_s)
            told_ns = self._told_ns.get((each.what, each.where))
            if wrong is not None and (told_ns is None or now_ns - told_ns >= _TOLD_INTERVAL_NS):
                self._told_ns[each.what, each.where] = now_ns
                logger.warning(
                    "a certificate needs attention", extra={"what": each.what, "where": each.where, "problem": wrong}
                )

    async def watch(self) -> NoReturn:
        """Look once a minute, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_INTERVAL_S)
