"""Everything that forwards to one upstream, as one task: whoever starts, pauses or removes an upstream has this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.forward.runner import Forwarder
from gateway.forward.view import MainView

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

    from gateway.clock import Clock
    from gateway.eventlog.log import EventLog
    from gateway.forward.config import UpstreamConfig
    from gateway.forward.status import ForwarderStatus
    from gateway.forward.upstream import Upstream


class Forwarding:
    """The forwarders of one upstream.

    Args:
        name: of the upstream, in the configuration and in the log.
        config: of the upstream.
        build: makes the upstream for one more connection; nobody else may use what it returns.
        log: where the events are.
        clock: its monotonic time stamps state changes.
        ready: awaited after each connect, before anything is sent.
    """

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        build: Callable[[], Upstream],
        log: EventLog,
        clock: Clock,
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.upstreams = [build()]
        """One for each connection; to be looked at only."""
        self._main = Forwarder(name, config, self.upstreams[0], MainView(log), clock, ready=ready)

    def status(self) -> ForwarderStatus:
        """A snapshot of the main forwarder."""
        return self._main.status()

    async def run(self) -> NoReturn:
        """Forward until cancelled; then every connection is closed and the cursors stand at what was taken."""
        await self._main.run()
