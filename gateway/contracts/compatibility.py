"""Is a new version of a contract compatible with the one before? Told by comparing their JSON Schemas.

`backward`: every payload that fulfils the old one fulfils the new one, so that what old devices send is still accepted.
`forward`: every payload that fulfils the new one fulfils the old one, so that who relies on the old one can read what
new devices send. `full`: both.

What a contract does not name it does not promise: a field may be added that a version with `extra = "allow"` did not
know. What cannot be compared (`not`, `if`, `patternProperties`...) is incompatible as soon as it differs. A unit that
changes is incompatible in every direction, although every payload fulfils both.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.contracts.config import Compatibility
    from gateway.contracts.contracts import Contract

Schema = dict[str, Any]
_REFERENCES_MAX = 50
"""In a row."""
_ANY_TYPE = frozenset({"null", "boolean", "object", "array", "number", "string"})
_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")
_AT_LEAST = {"minLength": "length_min", "minItems": "items_min", "minProperties": "minProperties"}
_AT_MOST = {"maxLength": "length_max", "maxItems": "items_max", "maxProperties": "maxProperties"}
_NAMES = {
    "minimum": "min",
    "maximum": "max",
    "exclusiveMinimum": "min_exclusive",
    "exclusiveMaximum": "max_exclusive",
    **_AT_LEAST,
    **_AT_MOST,
}
_UNDERSTOOD = {
    *_NAMES, "type", "enum", "const", "properties", "required", "additionalProperties", "items", "anyOf",
}  # fmt: skip
_SAYS_NOTHING = {
    "$schema", "$id", "$ref", "$defs", "$comment", "$anchor", "definitions", "title", "description", "default",
    "examples", "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType",
}  # fmt: skip


class Break(NamedTuple):
    """One way in which a new version is not compatible with the old one."""

    direction: Literal["backward", "forward"]
    field: str
    """Dotted way to it; items of arrays are `*`."""
    rule: str
    """As the configuration or JSON Schema calls it."""
    was: object
    """In the old version; None: it was not there."""
    now: object

    def __str__(self) -> str:
        backward = self.direction == "backward"
        field = self.field or "the payload"
        if self.rule == "required":
            if backward:
                return f"{field}: is required now, and payloads of the old version lack it; write required = false"
            return f"{field}: is not required any more, and the old version needs it; keep required = true"
        if self.rule == "unit":
            return f"{field}: unit was {self.was} and is {self.now}; keep the unit, or give the field another name"
        who = (
            "the new version refuses what the old one accepted"
            if backward
            else "the old version refuses what the new one accepts"
        )
        if self.rule == "unknown":
            remedy = "keep it, with required = false" if backward else "add fields only where the old extra is allow"
            return f"{field}: is {'not known any more' if backward else 'new'}, so {who}; {remedy}"
        remedy = f"leave {self.rule} out" if self.was is None else f"keep {self.rule} = {_shown(self.was)}"
        return f"{field}: {self.rule} was {_shown(self.was)} and is {_shown(self.now)}, so {who}; {remedy}"


def breaks(old: Schema, new: Schema, compatibility: Compatibility) -> list[Break]:
    """Every way in which `new` does not keep what `compatibility` promises towards `old`."""
    found: list[Break] = []
    if compatibility in ("backward", "full"):
        narrower = _Comparison(old, new).narrower(old, new)
        found += [Break("backward", each.field, each.rule, each.wide, each.narrow) for each in narrower]
    if compatibility in ("forward", "full"):
        narrower = _Comparison(new, old).narrower(new, old)
        again = [] if compatibility == "forward" else ["unit"]  # a unit is told once
        found += [
            Break("forward", each.field, each.rule, each.narrow, each.wide)
            for each in narrower
            if each.rule not in again
        ]
    return found


def breaks_between(old: Contract, new: Contract, compatibility: Compatibility) -> list[Break]:
    """The same of two contracts, whose payloads may also be written otherwise."""
    if compatibility != "none" and old.codec != new.codec:
        return [Break("forward" if compatibility == "forward" else "backward", "", "codec", old.codec, new.codec)]
    return breaks(old.json_schema(), new.json_schema(), compatibility)


class _Narrowing(NamedTuple):
    """Something that one schema accepts and the other refuses."""

    field: str
    rule: str
    wide: Any
    narrow: Any


class _Comparison:
    """Of two schemas with the references within each."""

    def __init__(self, wide_root: Schema, narrow_root: Schema) -> None:
        self._wide_root = wide_root
        self._narrow_root = narrow_root
        self._under_way: set[str] = set()
        self._same_references = all(wide_root.get(key) == narrow_root.get(key) for key in ("$defs", "definitions"))

    def narrower(self, wide: Any, narrow: Any, field: str = "") -> Iterator[_Narrowing]:
        """What `wide` accepts and `narrow` refuses."""
        refers = any(isinstance(each, dict) and "$ref" in each for each in (wide, narrow))
        pair = json.dumps([wide, narrow], sort_keys=True) if refers else ""
        if pair in self._under_way:
            return  # what refers to itself would have no end
        self._under_way |= {pair} if refers else set()
        found = list(self._compared(_resolved(wide, self._wide_root), _resolved(narrow, self._narrow_root), field))
        self._under_way.discard(pair)
        yield from found

    def _compared(self, wide: Schema, narrow: Schema, field: str) -> Iterator[_Narrowing]:
        if not narrow or (wide == narrow and self._same_references):
            return
        if "anyOf" in wide or "anyOf" in narrow:
            yield from self._alternatives(wide, narrow, field)
            return
        refused = [each for each in _types(wide) if not _takes(_types(narrow), each)]
        if refused:
            yield _Narrowing(field, "type", _types_shown(wide), _types_shown(narrow))
            return
        yield from _values(wide, narrow, field)
        yield from _limits(_bounded_by_enum(wide), narrow, field)
        yield from self._items(wide, narrow, field)
        yield from self._properties(wide, narrow, field)

    def _alternatives(self, wide: Schema, narrow: Schema, field: str) -> Iterator[_Narrowing]:
        """Each alternative of the one has to be within an alternative of the other."""
        theirs = _alternatives_of(narrow)
        for mine in _alternatives_of(wide):
            tries = [list(self.narrower(mine, other, field)) for other in theirs]
            yield from min(tries, key=lambda found: (len(found), any(each.rule == "type" for each in found)))

    def _items(self, wide: Schema, narrow: Schema, field: str) -> Iterator[_Narrowing]:
        if "array" in _types(wide):
            inside = f"{field}.*" if field else "*"
            yield from self.narrower(wide.get("items", {}), narrow.get("items", {}), inside)

    def _properties(self, wide: Schema, narrow: Schema, field: str) -> Iterator[_Narrowing]:
        if "object" not in _types(wide):
            return
        for name in narrow.get("required", ()):
            if name not in wide.get("required", ()):
                yield _Narrowing(_below(field, name), "required", wide=False, narrow=True)
        my_extra, their_extra = wide.get("additionalProperties", True), narrow.get("additionalProperties", True)
        if their_extra is False and my_extra is not False:
            yield _Narrowing(field, "extra", "allow", "forbid")
        elif my_extra is not False:
            yield from self.narrower(my_extra, their_extra, _below(field, "*"))
        mine, theirs = wide.get("properties", {}), narrow.get("properties", {})
        for name in {**mine, **theirs}:
            my_schema, their_schema = mine.get(name, my_extra), theirs.get(name, their_extra)
            if name in mine and their_schema is False:
                yield _Narrowing(_below(field, name), "unknown", wide="named", narrow=None)
            elif not isinstance(my_schema, bool):  # what is not named is not promised
                yield from self.narrower(my_schema, their_schema, _below(field, name))


def _values(wide: Schema, narrow: Schema, field: str) -> Iterator[_Narrowing]:
    """What both say of single values, and what cannot be compared."""
    mine, theirs = _enum(wide), _enum(narrow)
    if theirs is not None and (mine is None or any(value not in theirs for value in mine)):
        yield _Narrowing(field, "enum", mine, theirs)
    my_unit, their_unit = wide.get("x-unit"), narrow.get("x-unit")
    if my_unit and their_unit and my_unit != their_unit:
        yield _Narrowing(field, "unit", my_unit, their_unit)
    for keyword, value in narrow.items():
        if keyword in _UNDERSTOOD or keyword in _SAYS_NOTHING or keyword.startswith("x-"):
            continue
        if wide.get(keyword) != value:
            yield _Narrowing(field, keyword, wide.get(keyword), value)


def _limits(wide: Schema, narrow: Schema, field: str) -> Iterator[_Narrowing]:
    for keywords, sign in ((_LOWER, 1), (_UPPER, -1)):
        mine, theirs = _bound(wide, keywords, sign), _bound(narrow, keywords, sign)
        if theirs is not None and (mine is None or mine[:2] < theirs[:2]) and _takes(_types(wide), "integer"):
            yield _Narrowing(field, _NAMES[theirs[2]], wide.get(theirs[2]), narrow[theirs[2]])
    for limits, sign in ((_AT_LEAST, 1), (_AT_MOST, -1)):
        for keyword, rule in limits.items():
            limit, other = narrow.get(keyword), wide.get(keyword)
            if limit is not None and (other is None or sign * other < sign * limit):
                yield _Narrowing(field, rule, other, limit)


def _bound(schema: Schema, keywords: tuple[str, str], sign: int) -> tuple[float, bool, str] | None:
    """The tightest of a limit and an exclusive limit, so that a greater one is tighter; and its keyword."""
    including, excluding = keywords
    bounds = []
    exclusive = schema.get(excluding)
    if (limit := schema.get(including)) is not None:
        bounds.append((sign * limit, exclusive is True, including))  # True: as draft 4 writes it
    if exclusive is not None and not isinstance(exclusive, bool):
        bounds.append((sign * exclusive, True, excluding))
    return max(bounds, default=None)


def _bounded_by_enum(schema: Schema) -> Schema:
    """With the limits that its values keep anyway."""
    values = _enum(schema)
    if values is None:
        return schema
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    lengths = [len(value) for value in values if isinstance(value, str)]
    bounded = dict(schema)
    if numbers:
        bounded |= {"minimum": min(numbers), "maximum": max(numbers)}
    if lengths:
        bounded |= {"minLength": min(lengths), "maxLength": max(lengths)}
    return bounded


def _resolved(schema: Any, root: Schema) -> Schema:
    """What a reference within the file stands for; `true` is anything, `false` nothing."""
    if not isinstance(schema, dict):
        return {} if schema else {"enum": []}
    for _ in range(_REFERENCES_MAX):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        found: Any = root
        for part in reference[1:].split("/")[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**found, **rest} if isinstance(found, dict) else rest
    return {("anyOf" if key == "oneOf" else key): value for key, value in schema.items()}


def _alternatives_of(schema: Schema) -> list[Schema]:
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return [{**rest, **each} if isinstance(each, dict) else rest for each in schema.get("anyOf", [{}])]


def _types(schema: Schema) -> frozenset[str]:
    told = schema.get("type")
    if told is not None:
        return frozenset([told] if isinstance(told, str) else told)
    values = _enum(schema)
    return _ANY_TYPE if values is None else frozenset(_type_of(value) for value in values)


def _types_shown(schema: Schema) -> object:
    types = sorted(_types(schema))
    if types == sorted(_ANY_TYPE):
        return "any"
    return types[0] if len(types) == 1 else types


def _type_of(value: object) -> str:
    names: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object"}
    return "null" if value is None else names.get(type(value), "array")


def _takes(types: frozenset[str], one: str) -> bool:
    return one in types or (one == "integer" and "number" in types)


def _enum(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _below(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _shown(value: object) -> str:
    if value is None:
        return "not there"
    return json.dumps(value, ensure_ascii=False)
