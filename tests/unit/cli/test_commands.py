"""Commands that need no running gateway, called as the shell calls them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway import __version__
from gateway.broker.login import _verify
from gateway.cli import status
from gateway.cli.main import app, main
from gateway.errors import ConfigError
from tests.unit.broker.site import open_log

if TYPE_CHECKING:
    from pathlib import Path

RUN = CliRunner()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'[gateway]\nid = "edge"\ndata_dir = "{tmp_path / "data"}"\n'
        '[upstreams.cloud]\ntype = "mqtt"\nurl = "mqtt://cloud.example"\n',
        encoding="utf-8",
    )
    return path


def test_check_tells_what_would_run_and_what_is_doubtful(config: Path) -> None:
    done = RUN.invoke(app, ["check", "--config", str(config)])
    assert done.exit_code == 0
    assert f"{config} is right." in done.stdout
    assert "cloud: mqtt mqtt://cloud.example, topics #" in done.stdout
    assert "no device can connect" in done.stdout
    report = json.loads(RUN.invoke(app, ["check", "--json", "-c", str(config)]).stdout)
    assert report["id"] == "edge"
    assert report["upstreams"] == {"cloud": "mqtt mqtt://cloud.example"}
    assert len(report["warnings"]) == 1


def test_check_starts_and_makes_nothing(config: Path, tmp_path: Path) -> None:
    RUN.invoke(app, ["check", "--config", str(config)])
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.toml"]


def test_a_missing_file_is_wrong_usage_and_a_wrong_one_is_a_failure(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RUN.invoke(app, ["check", "--config", "/no/such/file.toml"]).exit_code == 2
    config.write_text("[gateway]\n", encoding="utf-8")
    assert isinstance(RUN.invoke(app, ["check", "--config", str(config)]).exception, ConfigError)
    monkeypatch.setattr("sys.argv", ["gateway", "check", "--config", str(config)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"gateway: {config}: gateway.id: this key is missing")
    assert "Traceback" not in said


def test_the_version_is_told() -> None:
    assert RUN.invoke(app, ["--version"]).stdout == f"{__version__}\n"


def test_a_hash_line_can_be_put_into_the_configuration() -> None:
    done = RUN.invoke(app, ["devices", "hash", "dev-1", "--password", "right"])
    name, _, hashed = done.stdout.strip().partition(" = ")
    assert name == '"dev-1"'
    assert _verify(hashed.strip('"'), b"right")


@pytest.mark.parametrize("arguments", [["tail"], ["events"]])
async def test_stored_events_are_printed_for_people_and_for_programs(
    config: Path, tmp_path: Path, arguments: list[str]
) -> None:
    log = open_log(tmp_path / "data")
    log.intake.append(1_795_435_200_000_000_000, 1, "dev", "a/b", 1, False, b"\x1b[2Jclear")
    log.intake.append(1_795_435_200_000_000_000, 1, "other", "c", 1, False, b"second")
    await log.close(5)
    done = RUN.invoke(app, [*arguments, "--config", str(config)])
    assert done.stdout.splitlines() == [
        "         1  2026-11-23T12:00:00.000Z  dev  a/b  \\x1b[2Jclear",
        "         2  2026-11-23T12:00:00.000Z  other  c  second",
    ]
    found = RUN.invoke(app, [*arguments, "--json", "--topic", "a/+", "--device", "dev", "--config", str(config)])
    assert [json.loads(line)["payload"] for line in found.stdout.splitlines()] == ["\x1b[2Jclear"]
    assert RUN.invoke(app, [*arguments, "--topic", "a#", "--config", str(config)]).exit_code == 2


async def test_status_reads_the_files_when_nothing_runs(config: Path, tmp_path: Path) -> None:
    log = open_log(tmp_path / "data")
    log.intake.append(0, 1, "dev", "a/b", 1, False, b"x")
    await log.close(5)
    facts = json.loads(RUN.invoke(app, ["status", "--json", "--config", str(config)]).stdout)
    assert (facts["id"], facts["running"], facts["log"]["head"]) == ("edge", False, 1)
    (cloud,) = facts["upstreams"]
    assert (cloud["name"], cloud["pending"], cloud["url"]) == ("cloud", 1, "mqtt://cloud.example")
    shown = RUN.invoke(app, ["status", "--config", str(config)]).stdout
    assert "edge  not running" in shown
    assert "1 pending" in shown


def test_what_an_upstream_says_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log = {"head": 1, "oldest": 1, "segments": 1, "size_bytes": 1, "error": "log/\x1b[2J: full", "full": ""}
    cloud = {"name": "cloud", "state": "blocked", "reason": "go away \x1b]0;owned\x07[/red]", "url": "mqtt://x"}
    cloud |= {"pending": 0, "cursor": 0, "quarantined": 0}
    status._show({"id": "edge", "running": True, "uptime_s": 1, "log": log, "upstreams": [cloud]})
    said = capsys.readouterr().out
    assert "\x1b[2J" not in said
    assert "\x1b]0" not in said
    assert "go away \\x1b]0;owned\\x07[/red]" in said
