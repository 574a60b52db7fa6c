"""`gateway repair`: what it prints, and when it refuses."""

from __future__ import annotations

import json
import shutil
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
    """Of a log whose second segment is damaged; a whole copy of it is among the files set aside."""
    data_dir = tmp_path / "data"
    async with opened(data_dir) as log:
        await fill(log, 20)
    path = data_dir / "log" / f"{firsts(data_dir)[1]:020d}.db"
    (data_dir / "damaged").mkdir()
    shutil.copy(path, data_dir / "damaged" / "copy.db")
    path.write_bytes(b"lost" * 5000)
    (data_dir / "damaged" / "copy.db").rename(data_dir / "damaged" / f"{path.name}.20260101T000000.000000Z")
    made = tmp_path / "gateway.toml"
    made.write_text(f'[gateway]\nid = "edge"\ndata_dir = "{data_dir}"\n', encoding="utf-8")
    return made


def test_a_damaged_segment_is_mended_once(config: Path, tmp_path: Path) -> None:
    first, following = firsts(tmp_path / "data")[1:3]
    done = RUN.invoke(app, ["repair", "--json", "-c", str(config)])
    assert done.exit_code == 0
    (report,) = json.loads(done.stdout)
    assert (report["first_seq"], report["salvaged"], report["lost"]) == (first, 0, [[first, following - 1]])
    assert "Every segment is whole." in RUN.invoke(app, ["repair", "-c", str(config)]).stdout
    assert json.loads(RUN.invoke(app, ["repair", "--json", "-c", str(config)]).stdout) == []


def test_a_file_set_aside_is_put_back_by_its_name(config: Path, tmp_path: Path) -> None:
    first, following = firsts(tmp_path / "data")[1:3]
    RUN.invoke(app, ["repair", "-c", str(config)])
    name = f"damaged/{first:020d}.db.20260101T000000.000000Z"
    done = RUN.invoke(app, ["repair", name, "--json", "-c", str(config)])
    assert done.exit_code == 0
    (report,) = json.loads(done.stdout)
    assert (report["readable"], report["put_back"]) == (following - first, following - first)
    done = RUN.invoke(app, ["repair", name, "-c", str(config)])
    assert "0 put back" in done.stdout
    listed = RUN.invoke(app, ["events", "--json", "-c", str(config)]).stdout.splitlines()
    assert [json.loads(line)["seq"] for line in listed] == [*range(1, 21)]


def test_a_file_that_is_not_there_is_told(config: Path) -> None:
    done = RUN.invoke(app, ["repair", "nowhere", "-c", str(config)])
    assert isinstance(done.exception, ConfigError)  # `main` prints it and exits with 1
    assert "nowhere is not there" in str(done.exception)


async def test_beside_a_running_gateway_it_refuses(config: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "data"):
        for arguments in (["repair"], ["repair", str(next((tmp_path / "data" / "damaged").iterdir()))]):
            done = RUN.invoke(app, [*arguments, "-c", str(config)])
            assert isinstance(done.exception, ConfigError)
            assert "in use by another gateway" in str(done.exception)
