"""Fixtures for real things: gateways and Mosquittos as processes of their own, on free ports of loopback."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.site.gateway_process import GatewayProcess
from tests.site.mosquitto_process import MosquittoProcess
from tests.site.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "gateway_at" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where every server is installed, a skipped test is a test that does not run: a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("GATEWAY_TEST_REQUIRE_SERVERS") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, and GATEWAY_TEST_REQUIRE_SERVERS=1: {report.longrepr}"


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Commands that keep their files from others set it, also those that a test runs in its own process."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def gateway_at(tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Make gateways: `gateway_at(name="edge", config="...more TOML...", **options)`; all are stopped at the end."""
    with ExitStack() as at_the_end:

        def make(name: str = "edge", config: str = "", **options: object) -> GatewayProcess:
            process = GatewayProcess(tmp_path, name, config, **options)  # type: ignore[arg-type]
            at_the_end.callback(process.kill)
            return process

        yield make


@pytest.fixture
def mosquitto_at(tmp_path: Path) -> Iterator[Callable[..., MosquittoProcess]]:
    """Make Mosquittos: `mosquitto_at(name="cloud", config="...lines...")`; skipped where it is not installed."""
    if shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip("mosquitto is not installed (Debian package mosquitto)")
    with ExitStack() as at_the_end:

        def make(name: str = "cloud", config: str = "", port: int | None = None) -> MosquittoProcess:
            process = MosquittoProcess(tmp_path, name, config, free_port() if port is None else port)
            at_the_end.callback(process.kill)
            return process

        yield make


@pytest.fixture
def mosquitto_clients() -> None:
    """Ask for this to use mosquitto_pub and mosquitto_sub."""
    if shutil.which("mosquitto_pub") is None or shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto_pub and mosquitto_sub are not installed (Debian package mosquitto-clients)")
