"""What differs between two configurations, by key. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config.model import Config

WHILE_RUNNING = ("upstreams", "contracts", "ingest", "quarantine")
"""Sections that a running gateway takes over on SIGHUP; anything else takes a restart."""


def needs_restart(running: Config, wanted: Config) -> list[str]:
    """Every key in which the two differ, as `section.key`, that cannot be changed while the gateway runs."""
    return [key for key in _differing(running, wanted, "") if key.split(".")[0] not in WHILE_RUNNING]


def taken_over(running: Config, wanted: Config) -> Config:
    """What is in force once `running` has taken over what it can of `wanted`."""
    return running.model_copy(update={section: getattr(wanted, section) for section in WHILE_RUNNING})


def _differing(one: Any, other: Any, key: str) -> Iterator[str]:
    if one == other:
        return
    ours, theirs = _parts(one), _parts(other)
    if ours is None or theirs is None:
        yield key
        return
    for name in ours | theirs:
        yield from _differing(ours.get(name), theirs.get(name), f"{key}.{name}" if key else name)


def _parts(value: Any) -> dict[str, Any] | None:
    """The keys of a section; None if it is a value."""
    if isinstance(value, BaseModel):
        return dict(value)
    return value if isinstance(value, dict) else None
