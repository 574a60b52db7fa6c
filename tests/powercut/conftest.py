"""The shim, compiled once."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.powercut.recorder import SOURCE, Recorder
from tests.site.preload import build, compiler
from tests.site.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if compiler() is None:
        pytest.skip("no C compiler is installed (Debian package gcc): the shim between gateway and disk needs one")
    return build(SOURCE, tmp_path_factory.mktemp("shim"))


@pytest.fixture
def recorder_of(shim: Path, tmp_path: Path) -> Callable[[GatewayProcess], Recorder]:
    """Put a gateway that has not started yet behind the shim: `gateway.start(env=recorder.env)`."""
    return lambda gateway: Recorder(shim, tmp_path / f"recorded-{gateway.data_dir.name}", gateway)


@pytest.fixture
def seed() -> int:
    """Repeat a run with GATEWAY_TEST_SEED; what threads and processes did between is not in it."""
    seed = int(os.environ.get("GATEWAY_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"GATEWAY_TEST_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return seed


@pytest.fixture
def cloud() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as cloud:
        yield cloud
