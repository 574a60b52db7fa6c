"""Fixtures for gateways with TLS listeners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.security.guarded import Guarded
from tests.site.certificates import SiteCertificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]


@pytest.fixture
def site(tmp_path: Path) -> SiteCertificates:
    return SiteCertificates(tmp_path / "certificates")


@pytest.fixture
def guarded(gateway_at: Gateways, site: SiteCertificates) -> Callable[..., Guarded]:
    """Make and start a gateway with TLS listeners."""

    def make(broker: str = "", **tls: str) -> Guarded:
        found = Guarded(gateway_at, site, broker, **tls)
        found.gateway.start()
        return found

    return make
