"""`gateway status --books` and `--losses` where no gateway runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.eventlog.losses import DAMAGED, Span, record
from gateway.eventlog.state import path_of
from tests.unit.eventlog.logs import fill, opened

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

NOW_NS = 1_795_435_200_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    upstream = '[upstreams.cloud]\ntype = "mqtt"\nurl = "mqtt://cloud.example"\n'
    path.write_text(f'[gateway]\nid = "edge"\ndata_dir = "{tmp_path / "data"}"\n{upstream}', encoding="utf-8")
    return path


def status(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["status", "--config", str(config), *arguments])


async def test_books_that_balance_are_shown_with_those_of_an_upstream_that_is_gone(
    config: Path, tmp_path: Path
) -> None:
    async with opened(tmp_path / "data", ["cloud", "old"]) as log:
        await fill(log, 5)
        log.advance("cloud", 3, forwarded=2, filtered=1)
    done = status(config, "--books")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "cloud, since event 1",
        "  5 received = 2 forwarded + 2 pending + 0 quarantined + 1 filtered + 0 dropped",
        "old (no longer configured: retention does not wait for it), since event 1",
        "  5 received = 0 forwarded + 5 pending + 0 quarantined + 0 filtered + 0 dropped",
    ]
    cloud, old = json.loads(status(config, "--books", "--json").stdout)
    assert (cloud["received"], cloud["balances"], old["configured"]) == (5, True, False)


async def test_books_that_do_not_balance_exit_with_1_and_say_by_how_much(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as log:
        await fill(log, 1)
        log.advance("cloud", 1)  # a forwarder that forgot to count
    done = status(config, "--books")
    assert done.exit_code == 1
    assert "does not balance: 1 event(s) that nobody accounts for" in done.stdout
    assert json.loads(status(config, "--books", "--json").stdout)[0]["difference"] == 1


async def test_the_loss_ledger_is_shown(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "data"):
        pass
    assert status(config, "--losses").stdout == "Nothing was ever lost, dropped or refused.\n"
    record(path_of(tmp_path / "data"), [Span(3, 9)], DAMAGED, "a \x1b[2J page", NOW_NS)
    assert status(config, "--losses").stdout == (
        "2026-11-23T12:00:00Z  damaged  7  every upstream: events 3 to 9 (a \\x1b[2J page)\n"
    )
    (row,) = json.loads(status(config, "--losses", "--json").stdout)
    assert (row["upstream"], row["events"], row["cause"]) == (None, 7, "damaged")
