"""A gateway that the tests of one file share: it lets everybody in, has no upstream, and each test has its topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.site.gateway_process import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path_factory.mktemp("edge"), "edge", websocket=True).start()
    yield process
    process.kill()
