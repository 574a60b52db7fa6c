"""Mistakes in a contract are told with key and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.config import load
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = '[gateway]\nid = "edge"\ndata_dir = "data"\n[contracts.temperature]\ntopic = "sensors/{device}/temperature"\n'


def message_of(folder: Path, text: str) -> str:
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as wrong:
        load.load(path, {})
    assert wrong.value.hint
    assert str(wrong.value).startswith(f"{path}: contracts.")
    return str(wrong.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "contracts.temperature: what is a payload to be? Write fields, value, schema_file or model"),
        ('fields = { t = "number" }\nvalue = "number"', "fields and value: a payload is told in one way"),
        ('codec = "number"\nfields = { t = "number" }', 'codec "number" has no fields; write value = { ... }'),
        ('codec = "number"\nvalue = "string"', 'value: codec "number" makes type number or integer, not string'),
        ('codec = "xml"', "contracts.temperature.codec: Input should be 'json', 'number', 'text', 'cbor'"),
        ('value = "number"\nextra = "forbid"', "extra belongs to fields; a JSON Schema or a model says it itself"),
        ('fields = { t = "number" }\ntime_field = "at"', "time_field: fields has no 'at'; known are t"),
        ('fields = { o = { type = "object", fields = { n = "integer" } } }\nsequence_field = "o.m"', "no 'o.m'"),
        ('fields = { t = "number" }\ntime_unit = "min"', "time_unit: Input should be 's', 'ms', 'us' or 'ns'"),
        ('fields = { t = { type = "number", unit = "°C" } }', "fields.t.unit: '°C' is no UCUM code; write 'Cel'"),
        ('fields = { t = { type = "float" } }', "contracts.temperature.fields.t.type: Input should be 'number'"),
        ('fields = { t = { type = "number", minimum = 1 } }', "t.minimum: there is no such key; did you mean 'min'?"),
        ("fields = { t = {} }", "contracts.temperature.fields.t.type: this key is missing"),
        ("fields = { t = 5 }", 'fields.t: write a type, as "number", or a table'),
        ('fields = { t = { type = "string", min = 5 } }', "fields.t: min is only for type number and integer; this is"),
        ('fields = { t = { type = "number", min = 5, max = 4 } }', "fields.t: min is above max"),
        ('fields = { t = { type = "number", min = "x" } }', "fields.t.min: write a number, as 21 or -0.5 (it is 'x')"),
        ('fields = { t = { type = "number", max = nan } }', "fields.t.max: write a number, as 21 or -0.5 (it is nan)"),
        ('fields = { t = { type = "number", max = true } }', "fields.t.max: write a number"),
        ('fields = { t = { type = "integer", enum = [1, 2.5] } }', "fields.t: enum has 2.5, which is no integer"),
        ('fields = { t = { type = "number", enum = [true] } }', "fields.t.enum.0: write a number"),
        ('fields = { t = { type = "number", enum = [] } }', "fields.t.enum: List should have at least 1 item"),
        ('fields = { t = { type = "string", pattern = "(" } }', "fields.t.pattern: '(' is no regular expression"),
        ('fields = { t = { type = "string", pattern = "(?=x)" } }', "be used here: look-around, including"),
        ('fields = { a = { type = "array", items = { type = "nmber" } } }', "fields.a.items.type"),
        ('fields = { t = "number" }\npolicy = "drop"', "temperature.policy: Input should be 'quarantine', 'flag'"),
        ('fields = { t = "number" }\nversion = "two"', "contracts.temperature.version"),
        ('fields = { t = "number" }\nfeilds = {}', "feilds: there is no such key; did you mean 'fields'?"),
        ('v2 = { topic = "x" }', 'a name with a dot needs quotes; write [contracts."<name>.v2"]'),
    ],
)  # fmt: skip
def test_a_mistake_in_a_contract_names_its_key_and_what_to_write(tmp_path: Path, text: str, told: str) -> None:
    assert told in message_of(tmp_path, HEAD + text)


def test_a_topic_that_is_no_pattern_is_told(tmp_path: Path) -> None:
    message = message_of(tmp_path, HEAD.replace("{device}", "{device") + 'fields = { t = "number" }')
    assert "contracts.temperature.topic: 'sensors/{device/temperature'" in message
    assert "write for example" in message


def test_a_version_may_be_written_as_a_number(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(HEAD + 'fields = { t = "number" }\nversion = 2', encoding="utf-8")
    assert load.load(path, {}).contracts["temperature"].version == "2"
    path.write_text(HEAD + 'fields = { t = { type = "number", min = 9007199254740993, max = 9e15 } }', encoding="utf-8")
    assert "min is above max" in message_of(tmp_path, path.read_text(encoding="utf-8"))


def test_two_contracts_cannot_be_the_same_version(tmp_path: Path) -> None:
    fields = 'fields = { t = "number" }\n'
    message = message_of(tmp_path, HEAD + fields + '[contracts."temperature.v1"]\ntopic = "t"\n' + fields)
    assert "contracts.temperature.v1.version: is 1, as that of contracts.temperature" in message


BREAKS = """fields = { t = { type = "number", max = 5 } }
[contracts."temperature.v2"]
topic = "sensors/{device}/temperature"
compatibility = "backward"
fields = { t = { type = "number", max = 4 } }
"""


def test_a_version_that_breaks_its_promise_is_told_with_what_breaks_it(tmp_path: Path) -> None:
    message = message_of(tmp_path, HEAD + BREAKS)
    assert (
        "contracts.temperature.v2.compatibility: is 'backward' towards temperature, but t: max was 5 and is 4"
        in message
    )
    path = tmp_path / "gateway.toml"
    path.write_text((HEAD + BREAKS).replace("backward", "forward"), encoding="utf-8")
    assert len(load.load(path, {}).contracts) == 2
