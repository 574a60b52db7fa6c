"""Where persistent sessions are kept; what they are is told in `queue`. Also the one we have at another broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.eventlog.queue import NOTHING, Owed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.eventlog.queue import Queues, Session
    from gateway.eventlog.state import State

_OURS = "external_session"


class Sessions:
    """Those of one log, on disk."""

    def __init__(self, state: State, write: Callable[..., Awaitable[object]]) -> None:
        """`write` calls a function in the thread that owns `state`."""
        self._state = state
        self._write = write
        self.queues: Queues | None = None
        """Asked at every flush of cursors; None: nothing is written."""

    def load(self) -> dict[str, Session]:
        """All of them, by client id; to be asked once, before the log runs."""
        return self._state.sessions()

    def seq(self) -> int | None:
        """The last `Owed.seq` that was stored; None: never, an earlier version has written it. To be asked likewise."""
        return self._state.sessions_seq()

    async def begin(self, client_id: str, owner: str) -> None:
        """Begin a session of the user `owner`, with nothing in it; durable when it returns.

        Raises:
            LogError: the disk refused.
        """
        await self._write(self._state.begin_session, client_id, owner)

    async def keep(self, client_id: str, subscriptions: Mapping[str, int], since: Mapping[str, int]) -> None:
        """Change the subscriptions of a session; durable when it returns.

        Raises:
            LogError: the disk refused.
        """
        await self._write(self._state.keep_session, client_id, dict(subscriptions), dict(since))

    async def drop(self, client_id: str) -> None:
        """Forget a session; durable when it returns.

        Raises:
            LogError: the disk refused.
        """
        await self._write(self._state.drop_session, client_id)

    def take(self, head: int) -> Owed:
        """See `Queues.take`."""
        return NOTHING if self.queues is None else self.queues.take(head)

    def put_back(self, owed: Owed) -> None:
        """See `Queues.put_back`."""
        if self.queues is not None:
            self.queues.put_back(owed)

    def subscribed(self, name: str) -> list[str]:
        """Filters that our own session of this name is subscribed to, at another broker; none if that is not known."""
        try:
            kept, filters = json.loads(self._state.meta(_OURS) or "[]")
        except ValueError:
            return []
        return [str(each) for each in filters] if kept == name else []

    async def keep_subscribed(self, name: str, filters: Sequence[str]) -> None:
        """Keep what our own session is subscribed to; durable when it returns, and the only one that is kept.

        Raises:
            LogError: the disk refused.
        """
        await self._write(self._state.set_meta, _OURS, json.dumps([name, list(filters)]))
