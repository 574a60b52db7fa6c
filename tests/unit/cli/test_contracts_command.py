"""`gateway contracts list|check|test`, called as the shell calls them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

RUN = CliRunner()
CONTRACTS = """
[contracts."temperature.v1"]
topic = "sensors/{device}/temperature"
fields = { celsius = { type = "number", unit = "Cel", max = 85 } }
[contracts."temperature.v2"]
topic = "sensors/{device}/temperature"
sequence_field = "n"
time_field = "at"
[contracts."temperature.v2".fields]
temperature = { type = "number", unit = "Cel", max = 85 }
n = { type = "integer", required = false }
at = { type = "time", required = false }
[contracts.level]
topic = "tank/level"
codec = "number"
policy = "flag"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(f'[gateway]\nid = "edge"\ndata_dir = "{tmp_path / "data"}"\n{CONTRACTS}', encoding="utf-8")
    return path


def gateway(*arguments: object) -> Result:
    return RUN.invoke(app, ["contracts", *(str(each) for each in arguments)])


def test_contracts_are_listed_and_checked_with_the_configuration(config: Path) -> None:
    listed = gateway("list", "-c", config)
    assert listed.exit_code == 0
    assert "temperature.v2  version 2  sensors/{device}/temperature  json, fields" in listed.stdout
    rows = json.loads(gateway("list", "--json", "-c", config).stdout)
    assert [row["name"] for row in rows] == ["temperature.v1", "temperature.v2", "level"]
    assert rows[2]["policy"] == "flag"
    checked = RUN.invoke(app, ["check", "-c", str(config)])
    assert "contract  level: tank/level, number, flag" in checked.stdout
    report = json.loads(RUN.invoke(app, ["check", "--json", "-c", str(config)]).stdout)
    assert report["contracts"]["level"] == "tank/level number"


def test_without_contracts_the_list_says_where_to_read(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(f'[gateway]\nid = "edge"\ndata_dir = "{tmp_path}"\n[ingest]\nwithout_contract = "refuse"\n')
    assert "docs/contracts.md" in gateway("list", "-c", path).stdout
    assert "so every message is refused" in RUN.invoke(app, ["check", "-c", str(path)]).stdout


def test_a_unit_that_is_mostly_meant_for_another_is_warned_of(config: Path) -> None:
    inside = (
        'fields = { o = { type = "object", fields = { a = { type = "array", items = { type = "number", unit = "C" }}}}}'
    )
    config.write_text(config.read_text() + f'[contracts.charge]\ntopic = "charge"\n{inside}\n', encoding="utf-8")
    done = RUN.invoke(app, ["check", "-c", str(config)])
    assert "contracts.charge.fields.o.fields.a.items.unit: 'C' is coulomb; degrees Celsius are 'Cel'" in done.stdout


# --- test ---


def test_payloads_are_judged_line_by_line(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "payloads.jsonl"
    lines = [
        '{"topic": "sensors/d1/temperature", "payload": "{\\"celsius\\": 21}"}',
        '{"topic": "sensors/d1/temperature", "payload": {"temperature": 21, "n": 7, "at": "1970-01-01T00:00:01Z"}}',
        "",
        '{"topic": "sensors/d1/temperature", "payload": {"temperature": 90}}',
        '{"topic": "tank/level", "payload": 3.5}',
        '{"topic": "tank/level", "payload": "full"}',
        '{"topic": "tank/level", "payload_base64": "/w=="}',
        '{"topic": "elsewhere", "payload": "x"}',
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    done = gateway("test", file, "-c", config)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "line 1  sensors/d1/temperature  accepted by temperature.v1",
        "line 2  sensors/d1/temperature  accepted by temperature.v2, number 7, time 1970-01-01T00:00:01.000000000Z",
        "line 4  sensors/d1/temperature  violates temperature.v2, version 2: temperature: max (it is 90)",
        "line 5  tank/level  accepted by level",
        "line 6  tank/level  violates level, version 1: the payload: codec (it is full)",
        "line 7  tank/level  violates level, version 1: the payload: codec (it is \\xff)",
        "line 8  elsewhere  has no contract",
    ]
    assert "7 payload(s), 3 of them not as they should be" in done.stderr
    told = [json.loads(line) for line in gateway("test", file, "--json", "-c", config).stdout.splitlines()]
    assert told[0]["contract"] == "temperature.v1"
    assert (told[1]["accepted"], told[1]["sequence"]) == (True, 7)
    assert (told[2]["field"], told[2]["rule"], told[2]["value"], told[2]["line"]) == ("temperature", "max", "90", 4)


def test_lines_may_be_payloads_of_one_topic_or_for_one_contract(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "payloads.txt"
    file.write_text('{"temperature": 1}\r\n{"celsius": 1}\n', encoding="utf-8")
    assert gateway("test", file, "--topic", "sensors/d1/temperature", "-c", config).exit_code == 0
    done = gateway("test", file, "--contract", "temperature.v1", "-c", config)
    assert done.exit_code == 1
    assert "line 1    violates temperature.v1, version 1: celsius: required" in done.stdout
    assert "line 2    accepted by temperature.v1" in done.stdout


def test_payloads_come_from_standard_input_too(config: Path) -> None:
    done = RUN.invoke(app, ["contracts", "test", "-", "-t", "tank/level", "-c", str(config)], input="21.5\n")
    assert done.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.jsonl"], "there is no such file"),
        (["FILE"], "line 1 is not"),
        (["FILE", "--contract", "level.v9"], "there is no such contract"),
        (["FILE", "--topic", "a/#"], "is no topic"),
    ],
)
def test_wrong_usage_is_told(config: Path, tmp_path: Path, arguments: list[str], told: str) -> None:
    file = tmp_path / "payloads.txt"
    file.write_text("21.5\n", encoding="utf-8")
    done = gateway("test", *(file if each == "FILE" else each for each in arguments), "-c", config)
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", "").split())


def test_topics_without_a_contract_are_told_as_configured(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text() + '[ingest]\nwithout_contract = "refuse"\n', encoding="utf-8")
    file = tmp_path / "payloads.txt"
    file.write_text("21.5\n", encoding="utf-8")
    done = gateway("test", file, "-t", "else/where", "-c", config)
    assert (done.exit_code, done.stdout) == (1, "line 1  else/where  has no contract, and is refused\n")


# --- check ---

OLD = """
[contracts.level]
topic = "t"
compatibility = "forward"
[contracts.level.fields]
level = { type = "number", max = 5 }
"""


@pytest.fixture
def versions(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text(OLD, encoding="utf-8")
    new.write_text(OLD.replace("max = 5", "max = 4"), encoding="utf-8")
    return old, new


def test_versions_in_two_files_are_compared_as_declared_or_as_asked(versions: tuple[Path, Path]) -> None:
    done = gateway("check", *versions)
    assert (done.exit_code, done.stdout) == (0, "compatible\n")
    done = gateway("check", *versions, "--compatibility", "backward")
    assert done.exit_code == 1
    assert done.stdout == (
        "level: level: max was 5 and is 4, so the new version refuses what the old one accepted; keep max = 5\n"
    )
    told = json.loads(gateway("check", *versions, "--compatibility", "full", "--json").stdout)
    assert [(each["contract"], each["field"], each["rule"], each["was"], each["now"]) for each in told] == [
        ("level", "level", "max", 5, 4)
    ]


def test_json_schemas_are_compared_too(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text('{"properties": {"a": {"type": "number"}}}', encoding="utf-8")
    new.write_text('{"properties": {"a": {"type": "number"}}, "required": ["a"]}', encoding="utf-8")
    done = gateway("check", old, new)
    assert (done.exit_code, done.stdout) == (
        1,
        "new.json: a: is required now, and payloads of the old version lack it; write required = false\n",
    )
    assert gateway("check", new, old).exit_code == 0
    new.write_text("{", encoding="utf-8")
    assert isinstance(gateway("check", old, new).exception, ConfigError)


def test_files_that_cannot_be_compared_are_told(versions: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = versions
    assert gateway("check", old, tmp_path / "none.toml").exit_code == 2
    assert gateway("check", old, new, "--compatibility", "sideways").exit_code == 2
    new.write_text(OLD.replace("level]", "height]").replace("level.fields", "height.fields"), encoding="utf-8")
    wrong = gateway("check", old, new).exception
    assert isinstance(wrong, ConfigError)
    assert "have no contract in common" in str(wrong)
    new.write_text(OLD.replace("number", "nmber"), encoding="utf-8")
    wrong = gateway("check", old, new).exception
    assert isinstance(wrong, ConfigError)
    assert str(wrong).startswith(f"{new}: contracts.level.fields.level.type: ")


def test_a_payload_that_is_written_otherwise_is_incompatible(versions: tuple[Path, Path]) -> None:
    old, new = versions
    new.write_text(
        OLD.replace("[contracts.level.fields]", 'codec = "cbor"\n[contracts.level.fields]'), encoding="utf-8"
    )
    done = gateway("check", old, new)
    assert done.exit_code == 1
    assert 'the payload: codec was "json" and is "cbor"' in done.stdout
