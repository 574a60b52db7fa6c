"""A contract says the same however it is told, as fields, JSON Schema or pydantic model; and nothing makes it raise.

What is right is said once more here, in plain Python, and each of the three ways is held against that.
"""

from __future__ import annotations

import itertools
import json
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cbor2
import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, create_model

from gateway.contracts.build import build
from gateway.contracts.compatibility import breaks
from gateway.contracts.config import ContractConfig, FieldConfig
from gateway.contracts.verdict import Stamp, Violation

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gateway.contracts.contracts import Contracts

TOPIC = "t"
MODULE = "models_of_a_property_test"
WIDE = 2**53
NUMBERS = st.integers(-20, 20) | st.integers(-20, 20).map(float) | st.integers(-40, 40).map(lambda n: n / 2)
TEXTS = st.text("abé ", max_size=4)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.integers(-WIDE, WIDE) | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcx"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def limits(names: tuple[str, str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Both, one or none of two limits that leave room for something."""
    both = st.lists(values, min_size=2, max_size=2).map(sorted).map(lambda pair: dict(zip(names, pair, strict=True)))
    return st.just({}) | both | st.builds(lambda name, value: {name: value}, st.sampled_from(names), values)


BOUNDS = limits(("min", "max"), NUMBERS) | limits(("min_exclusive", "max_exclusive"), NUMBERS)
LENGTHS = limits(("length_min", "length_max"), st.integers(0, 4))
ITEMS = limits(("items_min", "items_max"), st.integers(0, 3))
WHETHER = st.fixed_dictionaries({}, optional={"required": st.booleans(), "nullable": st.booleans()})


def of_type(name: str, *parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts, WHETHER).map(
        lambda found: {"type": name, **dict(itertools.chain(*map(dict.items, found)))}
    )


def sections(name: str, inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return inner.map(lambda value: {name: value})


EXTRA = st.sampled_from([{}, {"extra": "forbid"}])
FIELD = st.recursive(
    of_type("number", BOUNDS) | of_type("integer", BOUNDS) | of_type("boolean") | of_type("any")
    | of_type("string", LENGTHS) | of_type("string", st.just({"enum": ["a", "b"]}))
    | of_type("string", st.sampled_from([{"pattern": "^a"}, {"pattern": "b"}])),
    lambda inner: of_type("array", ITEMS, sections("items", inner))
    | of_type("object", EXTRA, sections("fields", st.dictionaries(st.sampled_from("ab"), inner, max_size=2))),
    max_leaves=4,
)  # fmt: skip
CONTRACT = st.tuples(st.dictionaries(st.sampled_from("abc"), FIELD, min_size=1, max_size=3), EXTRA)


def a_value_of(field: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Mostly what the field is about."""
    match field["type"]:
        case "array":
            likely: st.SearchStrategy[Any] = st.lists(a_value_of(field["items"]), max_size=3)
        case "object":
            likely = an_object_of(field["fields"])
        case "string":
            likely = TEXTS
        case "boolean":
            likely = st.booleans()
        case "any":
            likely = ANYTHING
        case _:
            likely = NUMBERS
    return st.one_of(likely, likely, likely, ANYTHING)


def an_object_of(fields: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    named = {name: a_value_of(field) for name, field in fields.items()}
    whole, part = st.fixed_dictionaries(named), st.fixed_dictionaries({}, optional={**named, "x": ANYTHING})
    return whole | part


# --- what is right ---


def fulfils(value: Any, field: FieldConfig) -> bool:
    if field.type == "any" or (value is None and field.nullable):
        return True
    return RIGHT[field.type](value, field)


def is_right_array(value: Any, field: FieldConfig) -> bool:
    return (
        isinstance(value, list)
        and within(len(value), field.items_min, field.items_max)
        and (field.items is None or all(fulfils(item, field.items) for item in value))
    )


def is_right_string(value: Any, field: FieldConfig) -> bool:
    return (
        isinstance(value, str)
        and within(len(value), field.length_min, field.length_max)
        and (field.enum is None or value in field.enum)
        and (field.pattern is None or (value.startswith("a") if field.pattern == "^a" else "b" in value))
    )


def is_right_number(value: Any, field: FieldConfig) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and within(value, field.min, field.max)
        and (field.min_exclusive is None or value > field.min_exclusive)
        and (field.max_exclusive is None or value < field.max_exclusive)
        and (field.type == "number" or value == int(value))
    )


RIGHT = {
    "object": lambda value, field: isinstance(value, dict) and fulfils_all(value, field.fields or {}, field.extra),
    "array": is_right_array,
    "string": is_right_string,
    "boolean": lambda value, _: isinstance(value, bool),
    "number": is_right_number,
    "integer": is_right_number,
}


def fulfils_all(value: dict[str, Any], fields: dict[str, FieldConfig], extra: str) -> bool:
    there = all(fulfils(value[name], field) if name in value else not field.required for name, field in fields.items())
    return there and (extra == "allow" or value.keys() <= fields.keys())


def within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


# --- as somebody would write it with pydantic ---


def a_model(fields: dict[str, FieldConfig], extra: str) -> Any:
    annotations: dict[str, Any] = {
        name: (an_annotation(field), ... if field.required else None) for name, field in fields.items()
    }
    config = ConfigDict(extra="forbid" if extra == "forbid" else "ignore")
    return create_model("Payload", __config__=config, **annotations)


def an_annotation(field: FieldConfig) -> Any:
    match field.type:
        case "number" | "integer":
            kind: Any = float if field.type == "number" else int
            bounds = {"ge": field.min, "le": field.max, "gt": field.min_exclusive, "lt": field.max_exclusive}
            if kind is int:  # which pydantic has no fractional limits for
                bounds = {"ge": up(field.min), "le": down(field.max), "gt": down(field.min_exclusive)}
                bounds["lt"] = up(field.max_exclusive)
            annotation: Any = Annotated[kind, Field(**bounds)]
        case "string" if field.enum is not None:
            annotation = Literal[tuple(field.enum)]
        case "string":
            limits_ = {"min_length": field.length_min, "max_length": field.length_max, "pattern": field.pattern}
            annotation = Annotated[str, Field(**limits_)]
        case "boolean":
            annotation = bool
        case "array":
            items = Any if field.items is None else an_annotation(field.items)
            annotation = Annotated[list[items], Field(min_length=field.items_min, max_length=field.items_max)]
        case "object":
            annotation = a_model(field.fields or {}, field.extra)
        case _:
            return Any
    return annotation | None if field.nullable else annotation


def up(limit: float | None) -> float | None:
    return None if limit is None else -(-limit // 1)


def down(limit: float | None) -> float | None:
    return None if limit is None else limit // 1


# --- the three ways ---


def told_three_ways(config: ContractConfig, folder: Path) -> dict[str, Contracts]:
    by_fields = build({"c": config})
    module = ModuleType(MODULE)
    module.Payload = a_model(config.fields or {}, config.extra)  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    schema_file = folder / "schema.json"
    schema_file.write_text(json.dumps(by_fields.all[0].json_schema()))
    by_schema = ContractConfig(topic=TOPIC, schema_file=schema_file)
    by_model = ContractConfig(topic=TOPIC, model=f"{MODULE}:Payload")
    return {"fields": by_fields, "schema": build({"c": by_schema}), "model": build({"c": by_model})}


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_fields_a_schema_and_a_model_agree_with_what_is_right(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    fields, extra = data.draw(CONTRACT)
    config = ContractConfig.model_validate({"topic": TOPIC, "fields": fields, **extra})
    ways = told_three_ways(config, tmp_path_factory.getbasetemp())
    for payload in data.draw(st.lists(an_object_of(fields) | ANYTHING, min_size=4, max_size=8)):
        right = isinstance(payload, dict) and fulfils_all(payload, config.fields or {}, config.extra)
        text = json.dumps(payload).encode()
        verdicts = {name: contracts.judge(TOPIC, text) for name, contracts in ways.items()}
        assert {name: verdict is None for name, verdict in verdicts.items()} == dict.fromkeys(ways, right)


@settings(deadline=None, max_examples=100)
@given(CONTRACT, st.lists(ANYTHING | st.binary(max_size=20), max_size=8), st.binary(max_size=40))
def test_whatever_comes_in_there_is_a_verdict(
    contract: tuple[dict[str, Any], dict[str, str]], payloads: list[Any], noise: bytes
) -> None:
    fields, extra = contract
    for codec, encode in (("json", as_json), ("cbor", cbor2.dumps), ("msgpack", msgpack.packb)):
        section = {"topic": TOPIC, "codec": codec, "fields": fields, "time_field": next(iter(fields)), **extra}
        contracts = build({"c": ContractConfig.model_validate(section)})
        for payload in payloads:
            for body in (encode(payload), encode({"a": payload, "b": payload}) + noise, noise):
                assert isinstance(contracts.judge(TOPIC, body), Violation | Stamp | None)


def as_json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


@settings(deadline=None, max_examples=60)
@given(CONTRACT)
def test_a_schema_is_compatible_with_itself_and_may_be_widened(contract: tuple[dict[str, Any], dict[str, str]]) -> None:
    fields, extra = contract
    config = ContractConfig.model_validate({"topic": TOPIC, "fields": fields, **extra})
    schema = build({"c": config}).all[0].json_schema()
    assert breaks(schema, json.loads(json.dumps(schema)), "full") == []
    optional = {name: {**field, "required": False} for name, field in fields.items()}
    wider = build({"c": ContractConfig.model_validate({"topic": TOPIC, "fields": optional})}).all[0].json_schema()
    assert breaks(schema, wider, "backward") == []


def a_change_of(field: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The field, with a key less, or a number of it a little up or down, or not required any more."""
    numbers = [name for name, value in field.items() if isinstance(value, (int, float)) and not isinstance(value, bool)]
    removable = [name for name in field if name not in ("type", "items", "fields")]
    changes = [field, {**field, "required": False}, {**field, "nullable": True}]
    changes += [{key: value for key, value in field.items() if key != name} for name in removable]
    changes += [{**field, name: max(0, field[name] + step)} for name in numbers for step in (-1, 1)]
    return st.sampled_from(changes)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_what_fulfilled_an_old_version_fulfils_a_compatible_new_one(data: st.DataObject) -> None:
    old_fields, extra = data.draw(CONTRACT)
    new_fields = {name: data.draw(a_change_of(field)) for name, field in old_fields.items()}
    try:
        old, new = (
            build({"c": ContractConfig.model_validate({"topic": TOPIC, "fields": fields, **extra})})
            for fields in (old_fields, new_fields)
        )
    except ValueError:  # a limit has crossed the other
        return
    backward = not breaks(old.all[0].json_schema(), new.all[0].json_schema(), "backward")
    forward = not breaks(old.all[0].json_schema(), new.all[0].json_schema(), "forward")
    for payload in data.draw(st.lists(an_object_of(old_fields), min_size=6, max_size=10)):
        text = json.dumps(payload).encode()
        was, now = old.judge(TOPIC, text) is None, new.judge(TOPIC, text) is None
        assert now or not (was and backward)
        assert was or not (now and forward)
