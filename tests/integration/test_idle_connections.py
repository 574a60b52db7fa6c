"""What a connection that does nothing costs a gateway; `python -m benchmarks.connections` measures thousands."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess

CONNECTIONS = 300
CONNECTION_BYTES_MAX = 20_000


def resident_bytes(gateway: GatewayProcess) -> int:
    assert gateway.process is not None
    lines = Path(f"/proc/{gateway.process.pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def descriptors(gateway: GatewayProcess) -> int:
    assert gateway.process is not None
    return len(list(Path(f"/proc/{gateway.process.pid}/fd").iterdir()))


@pytest.mark.parametrize("clean", [True, False])
def test_an_idle_connection_takes_less_than_20_kb_and_its_descriptor_comes_back(
    gateway_at: Callable[..., GatewayProcess], clean: bool
) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port).join("first", clean=clean) as first:
        first.subscribe(("first/commands/#", 1))
        first.publish("first/up", b"x")
    gateway.status()
    wait_for(lambda: gateway.status()["broker"]["connections"] == 0, what="the first connection closed")
    before, open_before = resident_bytes(gateway), descriptors(gateway)
    with ExitStack() as stack:
        for number in range(CONNECTIONS):
            client = stack.enter_context(RawClient(gateway.port)).join(f"idle-{number}", clean=clean)
            client.subscribe((f"idle-{number}/commands/#", 1))
        each = (resident_bytes(gateway) - before) / CONNECTIONS
        print(f"{each / 1000:.1f} KB for each connection")  # noqa: T201 - a figure to be looked at
        assert each < CONNECTION_BYTES_MAX
        assert gateway.status()["broker"]["clients"] == CONNECTIONS
    wait_for(lambda: gateway.status()["broker"]["connections"] == 0, what="the connections closed")
    assert descriptors(gateway) < open_before + CONNECTIONS // 10  # the log may have opened a file or two meanwhile
