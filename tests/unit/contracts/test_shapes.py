"""JSON Schemas and pydantic models as contracts: what they accept, what they say, and what makes them unusable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cbor2
import pytest

from gateway.contracts.build import ContractError
from gateway.contracts.verdict import Stamp, Violation
from tests.unit.contracts.contracts_of import contracts_of

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "temperature": {"type": "number", "minimum": -40, "maximum": 85},
        "at": {"type": "string", "format": "date-time"},
        "count": {"type": "integer"},
        "place": {"$ref": "#/$defs/place"},
    },
    "required": ["temperature"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
}
MODEL = '''
from __future__ import annotations
from datetime import datetime
from uuid import UUID
from pydantic import BaseModel, ConfigDict, Field, field_validator

class Place(BaseModel):
    x: float

class Weather(BaseModel):
    """Of a station."""
    model_config = ConfigDict(extra="forbid")
    temperature: float = Field(ge=-40, le=85, allow_inf_nan=False)
    at: datetime | None = None
    count: int = 0
    station: UUID | None = None
    place: Place | None = None
    note: str = ""

    @field_validator("note")
    @classmethod
    def _looked_up(cls, note: str) -> str:
        return {"": "", "fine": "fine"}[note]

class Unfinished(BaseModel):
    x: NoSuchName

class Raising:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        raise KeyError("theirs")

NUMBERS = list[float]
NOTHING = object()
'''
FROM_MODEL = '[weather]\ntopic = "w/{{device}}"\nmodel = "{}/models.py:Weather"\n'
FROM_SCHEMA = '[weather]\ntopic = "w/{{device}}"\nschema_file = "{}/weather.json"\n'


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODEL, encoding="utf-8")
    (tmp_path / "weather.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("section", [FROM_SCHEMA, FROM_MODEL], ids=["schema", "model"])
@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"temperature": 21.5}, None),
        ({"temperature": 21, "at": "2026-11-23T15:00:00Z", "count": 3.0, "place": {"x": 1}}, None),
        ({"temperature": 85.5}, ("temperature", "max", "85.5")),
        ({"temperature": "21"}, ("temperature", "type", '"21"')),
        ({"temperature": True}, ("temperature", "type", "true")),
        ({"temperature": 1, "count": 1.5}, ("count", "type", "1.5")),
        ({"temperature": 1, "other": [1]}, ("other", "extra", "[1]")),
        ({"temperature": 1, "place": {}}, ("place.x", "required", "")),
        ({"temperature": 1, "place": {"x": "1"}}, ("place.x", "type", '"1"')),
        ({}, ("temperature", "required", "")),
        ([1], ("", "type", "[1]")),
    ],
)
def test_a_schema_and_a_model_say_the_same(files: Path, section: str, payload: Any, place: tuple[str, ...]) -> None:
    verdict = contracts_of(section.format(files)).judge("w/d1", json.dumps(payload).encode())
    assert (verdict[3:6] if isinstance(verdict, Violation) else verdict) == place


def test_a_format_counts_and_bytes_are_base64_to_a_schema(files: Path) -> None:
    contracts = contracts_of(FROM_SCHEMA.format(files) + 'codec = "cbor"')
    assert contracts.judge("w/d", cbor2.dumps({"temperature": 1})) is None
    for payload, place in (
        ({"temperature": 1, "at": "2026-11-31T15:00:00Z"}, ("at", "format", '"2026-11-31T15:00:00Z"')),
        ({"temperature": b"1"}, ("temperature", "type", '"31"')),
    ):
        verdict = contracts.judge("w/d", cbor2.dumps(payload))
        assert isinstance(verdict, Violation)
        assert verdict[3:6] == place


def test_a_model_takes_times_and_ids_as_text(files: Path) -> None:
    contracts = contracts_of(FROM_MODEL.format(files) + 'time_field = "at"\nsequence_field = "count"')
    text = b'{"temperature": 1, "at": "1970-01-01T00:00:01Z", "station": "c0ffee00-0000-4000-8000-000000000000"}'
    assert contracts.judge("w/d1", text) == Stamp("weather", "d1", None, 1_000_000_000)
    assert contracts.judge("w/d1", b'{"temperature": 1}') is None
    verdict = contracts.judge("w/d1", b'{"temperature": 1, "station": "c0ffee"}')
    assert isinstance(verdict, Violation)
    assert verdict.field == "station"


def test_whatever_the_code_of_a_model_raises_is_a_violation(files: Path) -> None:
    contracts = contracts_of(FROM_MODEL.format(files))
    assert contracts.judge("w/d", b'{"temperature": 1, "note": "fine"}') is None
    verdict = contracts.judge("w/d", b'{"temperature": 1, "note": "other"}')
    assert isinstance(verdict, Violation)
    assert (verdict.rule, verdict.value) == ("model", "KeyError: 'other'")


def test_any_type_that_pydantic_knows_will_do(files: Path) -> None:
    contracts = contracts_of(f'[n]\ntopic = "n"\nmodel = "{files}/models.py:NUMBERS"')
    assert contracts.judge("n", b"[1, 2.5]") is None
    assert isinstance(contracts.judge("n", b'[1, "2"]'), Violation)
    assert contracts.all[0].json_schema() == {"items": {"type": "number"}, "type": "array"}


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("weather", "'weather' is no import path; write for example model ="),
        ("no_such_package:Weather", "no_such_package cannot be imported: ModuleNotFoundError"),
        ("no_such_package.Weather", "no_such_package cannot be imported: ModuleNotFoundError"),
        ("json:Weather", "json has no Weather"),
        ("{}/models.py:Wether", "has no Wether"),
        ("{}/models.py:NOTHING", "pydantic can validate no <object"),
        ("{}/models.py:Unfinished", "is not fully defined"),
        ("{}/models.py:Raising", "KeyError: 'theirs'"),
        ("{}/none.py:Weather", "none.py cannot be imported: FileNotFoundError"),
        ("{}/broken.py:Weather", "broken.py cannot be imported: ZeroDivisionError: division by zero"),
        ("{}/wrong.py:Weather", "wrong.py cannot be imported: SyntaxError"),
    ],
)
def test_a_model_that_cannot_be_used_is_told(files: Path, model: str, told: str) -> None:
    (files / "broken.py").write_text("1 / 0", encoding="utf-8")
    (files / "wrong.py").write_text("1 +", encoding="utf-8")
    with pytest.raises(ContractError) as wrong:
        contracts_of(f'[weather]\ntopic = "w"\nmodel = "{model.format(files)}"')
    assert str(wrong.value).startswith("contracts.weather.model: ")
    assert told in str(wrong.value)
    assert wrong.value.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "other.json cannot be read: No such file or directory"),
        ("{", "other.json is not JSON"),
        ("[" * 100_000, "other.json is not JSON"),
        ("[]", "other.json has no JSON object"),
        ('{"type": "nmber"}', "at type:"),
        ('{"properties": {"a": {"minimum": "x"}}}', "at properties.a.minimum:"),
        ('{"pattern": "(?=a)b"}', "at pattern:"),
        ('{"$ref": "https://elsewhere.example/schema.json"}', "elsewhere.example"),
        ('{"$ref": "#/$defs/none"}', "none"),
    ],
)
def test_a_schema_that_cannot_be_used_is_told(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / "other.json").write_text(text, encoding="utf-8")
    with pytest.raises(ContractError) as wrong:
        contracts_of(f'[weather]\ntopic = "w"\nschema_file = "{tmp_path}/other.json"')
    assert str(wrong.value).startswith("contracts.weather.schema_file: ")
    assert told in str(wrong.value)
    assert wrong.value.hint


MEASURED = """
[c]
topic = "c"
codec = "cbor"
[c.fields]
b = { type = "bytes", nullable = true, length_max = 4 }
t = { type = "time", description = "UTC" }
"""


def test_what_json_has_no_type_for_is_told_as_text() -> None:
    contract = contracts_of(MEASURED).all[0]
    assert contract.json_schema()["properties"] == {
        "b": {"type": ["string", "null"], "contentEncoding": "base64"},
        "t": {"type": "string", "format": "date-time", "description": "UTC"},
    }
    time = "2026-11-23T15:00:00Z"
    for payload, reason in (
        ({"b": b"1234", "t": time}, None),
        ({"b": None, "t": time}, None),
        ({"b": b"12345", "t": time}, ("b", "length_max", '"3132333435"')),
        ({"b": "1234", "t": time}, ("b", "type", '"1234"')),
        ({"b": None, "t": "today"}, ("t", "type", '"today"')),
    ):
        assert contract.examine(cbor2.dumps(payload)) == reason
