"""How much of the journal what devices do may take: so many lines of a kind in an interval, the rest is counted.

A message is constant, so it is the kind. A hostile client can cause as many events as it likes, and each is counted in
`gateway status`; the journal keeps room for what others have to say.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

LINES_MAX = 20
"""Of one kind in one interval."""
INTERVAL_S = 60.0
_RATIONED = ("gateway.security", "gateway.broker")
"""Loggers whose lines devices cause."""

logger = logging.getLogger(__name__)


class Ration(logging.Filter):
    """Lets the first lines of each kind pass, until it is renewed."""

    def __init__(self, lines_max: int = LINES_MAX) -> None:
        super().__init__()
        self._lines_max = lines_max
        self._counts: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is logged. An error of the gateway's own always is."""
        if record.levelno >= logging.ERROR or not record.name.startswith(_RATIONED):
            return True
        self._counts[record.msg] += 1
        return self._counts[record.msg] <= self._lines_max

    def renew(self) -> dict[str, int]:
        """Begin anew; returns how many lines of each kind were held back."""
        counts, self._counts = self._counts, Counter()
        return {kind: count - self._lines_max for kind, count in counts.items() if count > self._lines_max}


async def keep_renewed(ration: Ration, interval_s: float = INTERVAL_S) -> NoReturn:
    """Renew `ration` and tell what was held back, until cancelled and then once more."""
    try:
        while True:
            await asyncio.sleep(interval_s)
            _tell(ration)
    finally:
        _tell(ration)


def _tell(ration: Ration) -> None:
    for kind, more in ration.renew().items():
        logger.warning("more of the same, not logged", extra={"of": kind, "more": more})
