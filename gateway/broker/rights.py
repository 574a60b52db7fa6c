"""What a client may publish, subscribe to and be sent. Pure.

A right is a topic filter; nothing is forbidden but what is not granted. Topics that begin with '$' belong to the
gateway: nobody publishes there, and only role `local` may subscribe to them. Patterns become filters by filling in who
the client is. A name that could widen a filter ('+', '#', '/', a leading '$', U+0000, or nothing at all) fills none:
such a pattern grants nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.broker.filters import Grants
from gateway.broker.presets import PRESETS, Preset
from gateway.broker.refusals import Refusals
from gateway.broker.roles import DEFAULT_ROLE, LOCAL_ROLE, RightsConfig, RoleConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PLACEHOLDER = re.compile(r"\{(client_id|username)\}")
_WIDENING = re.compile(r"[+#/\0]|^\$|^$")
_NOTHING, _NO_PRESET = RoleConfig(), Preset((), ())
_EVERYTHING = RoleConfig(publish=["#"], subscribe=["#"])


class Identity(NamedTuple):
    """Who a connection is, as far as it has been proved."""

    client_id: str
    """Proved by nothing but that it is no other login's name."""
    username: str | None = None
    """Of a login that was checked; None without one."""
    role: str | None = None
    """None: that of whoever has none."""


class ClientRights:
    """The rights of one connection."""

    __slots__ = ("_publish", "_subscribe", "identity", "role")

    def __init__(self, identity: Identity, role: str, publish: Grants, subscribe: Grants) -> None:
        self.identity = identity
        self.role = role
        self._publish = publish
        self._subscribe = subscribe

    def may_publish(self, topic: str) -> bool:
        """Whether the client may publish to the valid `topic`."""
        return self._publish.matches(topic)

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether all that the valid `topic_filter` matches is granted."""
        if topic_filter.startswith("$"):
            return self.role == LOCAL_ROLE and not topic_filter.startswith("$share/")
        return self._subscribe.covers(topic_filter)

    def may_receive(self, topic: str) -> bool:
        """Whether the client may be sent what was published to `topic`."""
        return self.role == LOCAL_ROLE or self._subscribe.matches(topic)

    def why_not(self, topic: str) -> str:
        """The reason for a refusal, for the operator."""
        if topic.startswith("$"):
            return "topics that begin with '$' belong to the gateway"
        return f"role {self.role!r} does not grant it"


NOBODY = ClientRights(Identity(""), "nobody", Grants(()), Grants(()))
"""The rights of a connection whose client has not been admitted: none."""


class Rights:
    """Gives each identity its rights, and remembers what was refused."""

    def __init__(
        self,
        config: RightsConfig = RightsConfig(),  # noqa: B008 - frozen
        roles: Mapping[str, RoleConfig] | None = None,
        *,
        is_local: bool = True,
    ) -> None:
        """Build the roles; `is_local`: every listener is on loopback."""
        self._config = config
        self._roles = dict(roles or {})
        self._roles[DEFAULT_ROLE] = RoleConfig(publish=config.publish, subscribe=config.subscribe)
        self._roles[LOCAL_ROLE] = _EVERYTHING
        is_open = is_local and not config.model_fields_set & {"publish", "subscribe"}
        self.anonymous_role = config.anonymous_role or (LOCAL_ROLE if is_open else DEFAULT_ROLE)
        """Of clients without a login."""
        self.drops = config.on_refused_publish == "drop"
        """Whether who publishes without the right stays connected."""
        self.refusals = Refusals()
        self._shared: dict[str, tuple[Grants, Grants]] = {}

    def of(self, identity: Identity) -> ClientRights:
        """The rights of a client; of a role that there is not, none."""
        name = identity.role or (DEFAULT_ROLE if identity.username is not None else self.anonymous_role)
        grants = self._shared.get(name)
        if grants is None:
            role = self._roles.get(name, _NOTHING)
            preset = PRESETS[role.preset] if role.preset is not None else _NO_PRESET
            publish, subscribe = (*role.publish, *preset.publish), (*role.subscribe, *preset.subscribe)
            grants = self._filled(publish, identity), self._filled(subscribe, identity)
            if not any(map(_PLACEHOLDER.search, publish + subscribe)):
                self._shared[name] = grants
        return ClientRights(identity, name, *grants)

    def _filled(self, patterns: Iterable[str], identity: Identity) -> Grants:
        return Grants(filled for pattern in patterns if (filled := self._fill(pattern, identity)) is not None)

    def _fill(self, pattern: str, identity: Identity) -> str | None:
        """The filter that a pattern is for a client; None if it is none."""
        names = {"username": identity.username or "", "client_id": identity.client_id}
        wanted = set(_PLACEHOLDER.findall(pattern))
        if any(_WIDENING.search(names[each]) for each in wanted):
            return None
        if wanted == {"client_id"} and not self._is_own(identity):
            return None
        return _PLACEHOLDER.sub(lambda found: names[found[1]], pattern)

    def _is_own(self, identity: Identity) -> bool:
        """Whether the client id says no more than was proved, or than the operator wants proved."""
        return identity.username in {None, identity.client_id} or self._config.client_id == "any"
