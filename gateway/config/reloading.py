"""Takes over, while the gateway runs, what an operator has changed in the configuration.

Promises: a configuration that is wrong changes nothing, and what is wrong with it is logged and shown, with what to
write instead. What cannot be changed while the gateway runs is named, by key, and stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.config.changes import needs_restart, taken_over
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

    from gateway.config.model import Config

logger = logging.getLogger(__name__)


class Reloading:
    """Of one gateway.

    Args:
        config: in force when it starts.
        read: reads the configuration again; raises ConfigError if it is wrong.
        apply: has every part take over what it can; raises ConfigError, and then it has changed nothing.
    """

    def __init__(
        self, config: Config, read: Callable[[], Config] | None, apply: Callable[[Config], Awaitable[None]]
    ) -> None:
        self._config = config
        self._read = read
        self._apply = apply
        self._asked = asyncio.Event()
        self.error = ""
        """What was wrong with the configuration that was read last; empty if nothing was."""
        self.needs_restart: list[str] = []
        """Keys that were changed and are not in force."""

    def ask(self) -> None:
        """Have the configuration read again, soon."""
        self._asked.set()

    async def run(self) -> NoReturn:
        """Read it whenever that is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._reload()

    def describe(self) -> dict[str, object]:
        """What `gateway status` shows; plain JSON values."""
        return {"error": self.error, "needs_restart": self.needs_restart}

    async def _reload(self) -> None:
        if self._read is None:
            return
        try:
            wanted = await asyncio.to_thread(self._read)
            await self._apply(wanted)
        except ConfigError as error:
            self.error = f"{error} {error.hint}".rstrip()
            logger.error(  # noqa: TRY400 - what is wrong stands in the message
                "the configuration is wrong and was not taken over: everything is as it was",
                extra={"problem": str(error), "hint": error.hint},
            )
            return
        self.error, self.needs_restart = "", needs_restart(self._config, wanted)
        self._config = taken_over(self._config, wanted)
        logger.info("the configuration was read again")
        for key in self.needs_restart:
            logger.warning("a change of the configuration needs a restart", extra={"key": key})
