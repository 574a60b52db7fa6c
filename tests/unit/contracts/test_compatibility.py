"""What a new version may change, by direction, and how it is told."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from gateway.contracts.build import contract_of
from gateway.contracts.compatibility import breaks
from gateway.contracts.config import ContractConfig

HEAD = 'topic = "t"\n'


def schema(text: str) -> dict[str, Any]:
    """JSON Schema of a contract, told as in TOML: its fields by the line."""
    return contract_of("c", ContractConfig.model_validate(tomllib.loads(HEAD + text))).json_schema()


def fields(*lines: str) -> dict[str, Any]:
    return schema("[fields]\n" + "\n".join(lines))


T = 't = { type = "number", unit = "Cel", min = -40, max = 85 }'
COMPATIBLE = {
    "the same": (fields(T), fields(T), "full"),
    "a description": (fields(T), fields(T.replace("min", 'description = "x", min')), "full"),
    "a field that may be missing": (fields(T), fields(T, 'h = { type = "number", required = false }'), "full"),
    "a unit that was not told": (fields('t = "number"'), fields('t = { type = "number", unit = "Cel" }'), "full"),
    "a field less": (fields(T, 'h = "number"'), fields(T), "backward"),
    "a new field that has to be there": (fields(T), fields(T, 'h = "number"'), "forward"),
    "a wider range": (fields(T), fields(T.replace("85", "100")), "backward"),
    "a narrower range": (fields(T), fields(T.replace("-40", "0")), "forward"),
    "an integer becomes a number": (fields('t = "integer"'), fields('t = "number"'), "backward"),
    "null is allowed": (fields('t = "number"'), fields('t = { type = "number", nullable = true }'), "backward"),
    "more values": (
        fields('s = { type = "string", enum = ["a"] }'),
        fields('s = { type = "string", enum = ["a", "b"] }'),
        "backward",
    ),
    "values instead of limits that they keep": (
        fields('n = { type = "integer", min = 1, max = 5 }'),
        fields('n = { type = "integer", enum = [1, 2] }'),
        "forward",
    ),
    "extra keys are allowed": (schema('extra = "forbid"\n[fields]\n' + T), fields(T), "backward"),
    "longer arrays": (
        fields('a = { type = "array", items = "number", items_max = 3 }'), fields('a = { type = "array" }'), "backward",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPATIBLE)
def test_compatible_changes_are_let_through(name: str) -> None:
    old, new, compatibility = COMPATIBLE[name]
    assert breaks(old, new, compatibility) == []  # type: ignore[arg-type]
    if compatibility == "backward":  # what widens one way narrows the other way
        assert breaks(new, old, "forward") == []
        assert breaks(old, new, "full")
    assert breaks(old, new, "none") == []


REFUSED = "so the new version refuses what the old one accepted; "
ACCEPTED = "so the old version refuses what the new one accepts; "
ENUM_AB = 's = { type = "string", enum = ["a", "b"] }'
CLOSED = schema('extra = "forbid"\n[fields]\n' + T)
NULLABLE = fields('t = { type = "number", nullable = true }')
INCOMPATIBLE = [
    (fields(T), fields(T.replace("85", "60")), "backward", f"t: max was 85 and is 60, {REFUSED}keep max = 85"),
    (fields(T), fields(T.replace("85", "100")), "forward", f"t: max was 85 and is 100, {ACCEPTED}keep max = 85"),
    (fields('t = "number"'), fields('t = { type = "number", min_exclusive = 0 }'), "backward",
     f"t: min_exclusive was not there and is 0, {REFUSED}leave min_exclusive out"),
    (fields(T), fields('t = "string"'), "backward",
     f't: type was "number" and is "string", {REFUSED}keep type = "number"'),
    (fields(T), fields(T.replace("Cel", "[degF]")), "backward",
     "t: unit was Cel and is [degF]; keep the unit, or give the field another name"),
    (fields(T), fields(T.replace("Cel", "K")), "full",
     "t: unit was Cel and is K; keep the unit, or give the field another name"),
    (fields(T), fields(T, 'h = "number"'), "backward",
     "h: is required now, and payloads of the old version lack it; write required = false"),
    (fields(T), fields(T.replace("min", "required = false, min")), "forward",
     "t: is not required any more, and the old version needs it; keep required = true"),
    (fields(T), CLOSED, "backward", f'the payload: extra was "allow" and is "forbid", {REFUSED}keep extra = "allow"'),
    (CLOSED, schema('extra = "forbid"\n[fields]\nh = "number"\n' + T), "forward",
     f"h: is new, {ACCEPTED}add fields only where the old extra is allow"),
    (schema('extra = "forbid"\n[fields]\nh = { type = "number", required = false }\n' + T), CLOSED, "backward",
     f"h: is not known any more, {REFUSED}keep it, with required = false"),
    (fields(ENUM_AB), fields(ENUM_AB.replace(', "b"', "")), "backward",
     f's: enum was ["a", "b"] and is ["a"], {REFUSED}keep enum = ["a", "b"]'),
    (fields('p = { type = "object", fields = { x = "number" } }'),
     fields('p = { type = "object", fields = { x = "integer" } }'), "backward",
     f'p.x: type was "number" and is "integer", {REFUSED}keep type = "number"'),
    (fields('a = { type = "array", items = { type = "string", length_max = 9 } }'),
     fields('a = { type = "array", items = { type = "string", length_max = 5 } }'), "backward",
     f"a.*: length_max was 9 and is 5, {REFUSED}keep length_max = 9"),
    (fields('s = { type = "string", pattern = "^a" }'), fields('s = { type = "string", pattern = "^b" }'), "forward",
     f's: pattern was "^a" and is "^b", {ACCEPTED}keep pattern = "^a"'),
    (NULLABLE, fields('t = "number"'), "backward",
     f't: type was ["null", "number"] and is "number", {REFUSED}keep type = ["null", "number"]'),
    (schema('value = { type = "array", items_min = 1 }'), schema('value = { type = "array", items_min = 2 }'),
     "backward", f"the payload: items_min was 1 and is 2, {REFUSED}keep items_min = 1"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "compatibility", "told"), INCOMPATIBLE)
def test_an_incompatible_change_names_field_and_remedy(old: Any, new: Any, compatibility: str, told: str) -> None:
    assert [str(each) for each in breaks(old, new, compatibility)] == [told]  # type: ignore[arg-type]


REFERRING = {"properties": {"p": {"$ref": "#/$defs/p"}}, "$defs": {"p": {"type": "number", "maximum": 5}}}


def test_references_and_alternatives_are_followed() -> None:
    other = {**REFERRING, "$defs": {"p": {"type": "number", "maximum": 4}}}
    assert [each.field for each in breaks(REFERRING, other, "backward")] == ["p"]
    assert breaks(other, REFERRING, "backward") == []
    optional = {"properties": {"p": {"anyOf": [{"$ref": "#/$defs/p"}, {"type": "null"}]}}, "$defs": REFERRING["$defs"]}
    assert breaks(REFERRING, optional, "backward") == []
    assert [(each.field, each.rule) for each in breaks(optional, REFERRING, "backward")] == [("p", "type")]


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    taller = {**tree, "required": ["left"]}
    assert breaks(tree, tree, "full") == []
    assert breaks(tree, taller, "backward")[0].field == "left"


@pytest.mark.parametrize("keyword", ["not", "if", "patternProperties", "multipleOf", "uniqueItems", "contains"])
def test_what_cannot_be_compared_has_to_stay(keyword: str) -> None:
    old, new = {keyword: {"type": "string"}}, {keyword: {"type": "number"}}
    assert breaks(old, old, "full") == []
    assert {each.rule for each in breaks(old, new, "full")} == {keyword}
    assert breaks(old, {}, "backward") == []
    assert breaks({}, old, "backward")
