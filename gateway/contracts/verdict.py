"""What is said about a message: nothing, that it violates a contract, or what it tells of its own time and number."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Policy: TypeAlias = Literal["quarantine", "flag", "reject"]
"""What becomes of a message that violates a contract: stored and kept back, stored and forwarded with a mark, or
acknowledged and not stored."""

VALUE_CHARACTERS_MAX = 200
"""So much of a value that was wrong is kept, written as JSON."""


class Violation(NamedTuple):
    """Why a message is not as its contract says. The first reason found; there may be more."""

    contract: str
    """Name of its section; of several versions on one topic the newest. Empty: the topic has no contract."""
    version: str
    """Of that contract; empty as above."""
    device: str
    """The level of the topic that the contract names `{device}`; empty if it names none."""
    field: str
    """Dotted way to the value, as in `position.x` or `samples.3`; empty for the payload as a whole."""
    rule: str
    """What was broken: the key of the configuration (`min`, `enum`, `required`...), `type`, `extra`, `codec`, or
    `contract` for a topic without one."""
    value: str
    """The value as JSON, cut to `VALUE_CHARACTERS_MAX`; of a payload that cannot be decoded its beginning, of a topic
    without a contract the topic; empty if there is none."""
    policy: Policy


class Stamp(NamedTuple):
    """What an accepted message says of itself, where its contract names the fields."""

    contract: str
    device: str
    """As in `Violation`."""
    sequence: int | None
    """The device's own number of the message."""
    time_ns: int | None
    """The device's own time of the message, UTC, nanoseconds since 1970."""
