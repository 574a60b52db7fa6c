"""What an operator may set about rights (sections `[rights]` and `[roles.NAME]`)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from gateway.broker.presets import PresetName
from gateway.topics import is_valid_filter

DEFAULT_ROLE = "default"
"""The rights of section `[rights]`: of every login without a role of its own."""
LOCAL_ROLE = "local"
"""Everything but publishing to the topics of the gateway."""
BUILT_IN_ROLES = (DEFAULT_ROLE, LOCAL_ROLE)
PLACEHOLDERS = ("{client_id}", "{username}")


def _check_patterns(patterns: list[str]) -> list[str]:
    for pattern in patterns:
        filled = pattern
        for placeholder in PLACEHOLDERS:
            filled = filled.replace(placeholder, "x")
        if "{" in filled or "}" in filled:
            raise ValueError(f"{pattern!r}: a pattern may have {' and '.join(PLACEHOLDERS)} and no other braces")
        if not is_valid_filter(filled):
            raise ValueError(f"{pattern!r} is no MQTT topic filter; write for example 'devices/{{username}}/#'")
        if filled.startswith("$"):
            raise ValueError(f"{pattern!r}: topics that begin with '$' belong to the gateway and cannot be granted")
    return patterns


class RightsConfig(BaseModel):
    """The rights of whoever has no role, and what becomes of messages nobody may send."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    publish: list[str] = ["devices/{username}/#", "devices/{client_id}/#"]
    """Patterns of topic filters that a login without a role may publish to."""
    subscribe: list[str] = ["commands/{username}/#", "commands/{client_id}/#"]
    """Patterns of topic filters that a login without a role may subscribe to, in whole or in part."""
    client_id: Literal["username", "any"] = "username"
    """When `{client_id}` counts for who has logged in: if it is the user name, or whatever it is."""
    anonymous_role: str | None = None
    """Role of clients without a login."""
    on_refused_publish: Literal["disconnect", "drop"] = "disconnect"
    """What happens to who publishes where it may not."""

    _patterns = field_validator("publish", "subscribe")(_check_patterns)


class RoleConfig(BaseModel):
    """A named set of rights: those of its preset and those listed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    publish: list[str] = []
    """Patterns of topic filters that it may publish to."""
    subscribe: list[str] = []
    """Patterns of topic filters that it may subscribe to, in whole or in part."""
    preset: PresetName | None = None
    """Adds the topics that such devices use by default."""

    _patterns = field_validator("publish", "subscribe")(_check_patterns)
