"""`gateway backup`: what it prints, and with which exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.errors import ConfigError
from tests.unit.eventlog.logs import fill, firsts, opened

if TYPE_CHECKING:
    from pathlib import Path

RUN = CliRunner()


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    async with opened(tmp_path / "data") as log:
        await fill(log, 10)
    path = tmp_path / "gateway.toml"
    path.write_text(f'[gateway]\nid = "edge"\ndata_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    return path


def test_a_backup_tells_what_it_holds(config: Path, tmp_path: Path) -> None:
    done = RUN.invoke(app, ["backup", str(tmp_path / "to"), "-c", str(config)])
    assert done.exit_code == 0
    assert "10 event(s) up to 10 in" in done.stdout
    done = RUN.invoke(app, ["backup", str(tmp_path / "more"), "--json", "-c", str(config)])
    report = json.loads(done.stdout)
    assert (report["events"], report["last_seq"], report["faults"]) == (10, 10, [])


@pytest.mark.parametrize(("where", "why"), [("taken", "is not empty"), ("data/backup", "within the data directory")])
def test_a_folder_that_does_not_do_is_wrong_usage(config: Path, tmp_path: Path, where: str, why: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    done = RUN.invoke(app, ["backup", str(tmp_path / where), "-c", str(config)], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert why in done.stderr


def test_damage_is_told_and_the_backup_counts_as_failed(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "data" / "log" / f"{firsts(tmp_path / 'data')[1]:020d}.db"
    path.write_bytes(b"lost" * 5000)
    done = RUN.invoke(app, ["backup", str(tmp_path / "to"), "-c", str(config)])
    assert done.exit_code == 1
    assert path.name in done.stderr
    assert "gateway repair" in done.stderr


def test_without_a_log_it_fails(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f'[gateway]\nid = "edge"\ndata_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    done = RUN.invoke(app, ["backup", str(tmp_path / "to"), "-c", str(config)])
    assert isinstance(done.exception, ConfigError)  # `main` prints it and exits with 1
