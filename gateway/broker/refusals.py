"""What was refused for want of a right: counted, remembered for `gateway status`, and logged.

Bounded in memory by `_CLIENTS_MAX` rows and in the log by their counts: a client's first refusal is logged, then its
10th, its 100th and so on.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from gateway.broker.rights import ClientRights, Identity

Action = Literal["publish", "subscribe", "will", "connect"]

_ROWS_MAX = 100
_SHOWN_CHARACTERS_MAX = 200

logger = logging.getLogger("gateway.security")


class Refusal(NamedTuple):
    """How often a client was refused something, and the last time."""

    client_id: str
    username: str | None
    action: Action
    topic: str
    """The last one, or filter; cut if it is very long."""
    reason: str
    times: int


class Refusals:
    """Counters since the start, and the clients refused last."""

    def __init__(self) -> None:
        self.counts: dict[Action, int] = {"publish": 0, "subscribe": 0, "will": 0, "connect": 0}
        """Messages, filters of subscriptions, wills and client identifiers refused."""
        self._rows: OrderedDict[tuple[str, Action], Refusal] = OrderedDict()

    def note(self, rights: ClientRights, action: Action, topic: str, source: str = "") -> str:
        """Count a refusal, and log it if it is a client's first, or its 10th, 100th...; returns the reason."""
        return self._note(rights.identity, action, topic, rights.why_not(topic), source)

    def note_client_id(self, rights: ClientRights, source: str) -> str:
        """The same for a connection under another login's client identifier."""
        reason = "the client identifier belongs to another login"
        return self._note(rights.identity, "connect", "", reason, source)

    def newest(self) -> list[Refusal]:
        """Of each client the last one, newest first."""
        return list(reversed(self._rows.values()))

    def _note(self, identity: Identity, action: Action, topic: str, reason: str, source: str) -> str:
        self.counts[action] += 1
        key = identity.client_id, action
        known = self._rows.pop(key, None)
        times = known.times + 1 if known is not None else 1
        shown = topic[:_SHOWN_CHARACTERS_MAX]
        self._rows[key] = Refusal(identity.client_id, identity.username, action, shown, reason, times)
        if len(self._rows) > _ROWS_MAX:
            self._rows.popitem(last=False)
        if str(times).strip("0") == "1":
            logger.warning(
                "refused for want of a right",
                extra={
                    "event": f"{action} refused",
                    "source": source,
                    "client_id": identity.client_id,
                    "user": identity.username,
                    "topic": shown,
                    "reason": reason,
                    "times": times,
                },
            )
        return reason
