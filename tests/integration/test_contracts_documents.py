"""`gateway contracts export` by the official validators, and `gateway contracts learn` from what devices have sent."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess

REPOSITORY = Path(__file__).parents[2]
PACKS = sorted((REPOSITORY / "config" / "packs").glob("*.toml"))
MODULES = REPOSITORY / ".asyncapi" / "node_modules"
CHECK = REPOSITORY / "tests" / "site" / "asyncapi" / "check.cjs"
UPSTREAMS = """
[upstreams.raw]
type = "mqtt"
url = "mqtts://raw.example"
topics = ["tele/#", "sensors/#"]
topic_map = { "sensors/{device}/pair" = "plants/{gateway}/{device}" }
[upstreams.binary]
type = "mqtt"
url = "mqtt://binary.example:1884"
envelope = "cloudevents"
[upstreams.structured]
type = "mqtt"
url = "mqtt://structured.example"
version = "3.1.1"
envelope = "cloudevents"
cloudevents_mode = "structured"
"""
CONTRACTS = """
[contracts.pair]
topic = "sensors/{device}/pair"
schema_file = "pair.json"
[contracts.weather]
topic = "sensors/+/weather/#"
model = "weather.py:Weather"
[contracts.level]
topic = "sensors/{device}/level"
codec = "number"
value = { min = 0, unit = "m" }
[contracts.frame]
topic = "sensors/{device}/frame"
codec = "raw"
"""
PAIR = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {"reading": {"type": "object", "properties": {"next": {"$ref": "#/$defs/reading"}}}},
    "type": "array",
    "prefixItems": [{"$ref": "#/$defs/reading"}, {"type": "number"}],
    "items": False,
}
WEATHER = """
from datetime import datetime
from pydantic import BaseModel, Field

class Wind(BaseModel):
    speed: float = Field(gt=0)
    gusts: "list[Wind]" = []

class Weather(BaseModel):
    at: datetime
    wind: Wind | None
"""


@pytest.fixture
def official_errors() -> Callable[[Path], list[str]]:
    """What the official parser says against a document."""
    node = shutil.which("node")
    if node is None or not (MODULES / "@asyncapi" / "parser").is_dir():
        pytest.skip("the AsyncAPI parser is not installed (make asyncapi; Debian packages nodejs and npm)")

    def errors(path: Path) -> list[str]:
        command = [node, str(CHECK), str(MODULES), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        told: dict[str, Any] = json.loads(done.stdout)
        assert told["operations"] or told["errors"], "no document and no error"
        return list(told["errors"])

    return errors


def every_kind(folder: Path) -> str:
    """TOML with every pack, every codec, every way to tell a payload and every envelope."""
    (folder / "pair.json").write_text(json.dumps(PAIR), encoding="utf-8")
    (folder / "weather.py").write_text(WEATHER, encoding="utf-8")
    return CONTRACTS + UPSTREAMS


def configure(gateway: GatewayProcess, packs: bool) -> None:
    text = gateway.config_path.read_text(encoding="utf-8")
    if packs:
        text = f"include = {json.dumps([str(each) for each in PACKS])}\n{text}"
    gateway.config_path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("broker", "packs"),
    [('listen = ["mqtt://127.0.0.1:1883", "ws://[::1]:8083"]', True), ('mode = "external"\nurl = "mqtt://x"', False)],
)
def test_the_official_parser_finds_no_error_in_the_document(
    gateway_at: Callable[..., GatewayProcess],
    tmp_path: Path,
    official_errors: Callable[[Path], list[str]],
    broker: str,
    packs: bool,
) -> None:
    gateway = gateway_at(broker=broker, config=every_kind(tmp_path))
    configure(gateway, packs)
    done = gateway.command("contracts", "export", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out" / "asyncapi.json")
    assert official_errors(tmp_path / "out" / "asyncapi.json") == []


def test_the_official_parser_finds_errors_where_there_are_some(
    tmp_path: Path, official_errors: Callable[[Path], list[str]]
) -> None:
    path = tmp_path / "wrong.json"
    path.write_text('{"asyncapi": "3.0.0", "info": {"title": "x"}}', encoding="utf-8")
    assert official_errors(path)


def test_a_gateway_without_contracts_has_a_document_too(
    gateway_at: Callable[..., GatewayProcess], tmp_path: Path, official_errors: Callable[[Path], list[str]]
) -> None:
    done = gateway_at().command("contracts", "export")
    (tmp_path / "asyncapi.json").write_text(done.stdout, encoding="utf-8")
    assert official_errors(tmp_path / "asyncapi.json") == []


def test_each_json_schema_is_one_by_its_metaschema(gateway_at: Callable[..., GatewayProcess], tmp_path: Path) -> None:
    gateway = gateway_at(config=every_kind(tmp_path))
    configure(gateway, packs=True)
    done = gateway.command("contracts", "export", "--format", "jsonschema", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()]
    names = {path.name.removesuffix(".schema.json") for path in paths}
    assert {"pair", "weather", "level", "frame", "tasmota-sensor"} <= names
    assert {"raw.headers", "binary.headers", "structured.cloudevent"} <= names
    for path in paths:
        jsonschema_rs.meta.validate(json.loads(path.read_text(encoding="utf-8")))
    assert json.loads(gateway.command("contracts", "export", "--format", "jsonschema").stdout)["pair"]["prefixItems"]


def test_a_wrong_format_is_wrong_usage(gateway_at: Callable[..., GatewayProcess]) -> None:
    done = gateway_at().command("contracts", "export", "--format", "xml")
    assert (done.returncode, "write asyncapi or jsonschema" in done.stderr) == (2, True)


def test_a_contract_is_learned_from_stored_events_and_accepts_them(
    gateway_at: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as client:
        client.join("probe-1")
        for n in range(30):
            payload = {"n": n, "t": 20 + n / 7, "state": "low" if n % 3 else "ok", "wifi": {"rssi": -60 - n}}
            client.publish("sensors/probe-1/climate", json.dumps(payload).encode())
        client.publish("sensors/probe-1/other", b"no JSON")
    wait_for(lambda: gateway.status()["log"]["head"] == 31, what="all of it on disk")
    done = gateway.command("contracts", "learn", "sensors/+/climate")
    assert done.returncode == 0, done.stderr
    assert "# Learned from 30 event(s) of 1 device(s) on 1 topic(s)." in done.stdout
    assert 'topic = "sensors/{device}/climate"' in done.stdout
    assert '# sequence_field = "n"' in done.stdout
    (tmp_path / "learned.toml").write_text(done.stdout, encoding="utf-8")
    lines = gateway.command("events", "--topic", "sensors/+/climate", "--json").stdout
    (tmp_path / "events.jsonl").write_text(lines, encoding="utf-8")
    text = gateway.config_path.read_text(encoding="utf-8")
    gateway.config_path.write_text(f'include = ["learned.toml"]\n{text}', encoding="utf-8")
    tried = gateway.command("contracts", "test", str(tmp_path / "events.jsonl"))
    assert (tried.returncode, tried.stdout.count("accepted by sensors-climate")) == (0, 30), tried.stdout


def test_what_cannot_be_learned_from_is_told(gateway_at: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_at().start()
    gateway.stop()
    done = gateway.command("contracts", "learn", "nothing/here")
    assert (done.returncode, "no event on 'nothing/here' has a payload to learn from" in done.stderr) == (1, True)
    assert gateway.command("contracts", "learn", "a/#/b").returncode == 2
    assert gateway.command("contracts", "learn", "a", "--codec", "xml").returncode == 2
