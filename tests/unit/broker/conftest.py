"""Brokers that are taken down when the test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.broker.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.broker.rights import Rights


@pytest.fixture
async def site_at(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Site]]]:
    """Make sites: `await site_at(log={...}, broker={...})`; one at a time on one data directory."""
    made: list[Site] = []

    async def make(log: dict[str, object] | None = None, rights: Rights | None = None, **broker: object) -> Site:
        site = Site(tmp_path, log or {}, broker, rights)
        made.append(site)
        await site.broker.open()
        return site

    yield make
    for site in made:
        await site.close()


@pytest.fixture
async def site(site_at: Callable[..., Awaitable[Site]]) -> Site:
    return await site_at()
