"""`edge`: a gateway that the tests of one file share; it lets everybody in and has no upstream. `cli`: the command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway.cli.main import main
from tests.site.gateway_process import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path_factory.mktemp("edge"), "edge", websocket=True).start()
    yield process
    process.kill()


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the command in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["gateway", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            return Done(int(end.code or 0), *capsys.readouterr())
        return Done(0, *capsys.readouterr())

    return run
