"""A JSON Schema of any draft as one of draft 7, which is what AsyncAPI 3.0 understands. Pure.

It is said otherwise and not more strictly: what draft 7 has no words for is left out, so that everything that was valid
is valid. Sources: the release notes of the drafts 6, 7, 2019-09 and 2020-12 (json-schema.org).
"""

from __future__ import annotations

from typing import Any

_SCHEMA_MAPS = ("properties", "patternProperties", "definitions", "$defs", "dependentSchemas")
"""Keywords whose values are schemas by name."""
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = (
    "additionalProperties",
    "additionalItems",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "items",
)
_UNKNOWN = (
    *("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"),
    *("$vocabulary", "unevaluatedItems", "unevaluatedProperties", "minContains", "maxContains", "contentSchema"),
)


def as_draft07(schema: Any, root: str) -> Any:
    """`schema` in the words of draft 7; references to its own root lead to `root`, a JSON pointer such as `#/a/b`."""
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):  # draft 7 looks at nothing beside a reference
        kept = _converted({key: value for key, value in schema.items() if key not in ("$ref", *_UNKNOWN)}, root)
        if schema["$ref"] != "#" and not schema["$ref"].startswith("#/"):
            return kept  # by an anchor or an identifier, which are left out
        reference = {"$ref": root + schema["$ref"][1:].replace("/$defs/", "/definitions/")}
        return {"allOf": [reference], **kept} if kept else reference
    return _converted({key: value for key, value in schema.items() if key not in _UNKNOWN}, root)


def _converted(schema: dict[str, Any], root: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _SCHEMA_MAPS and isinstance(value, dict):
            found[key] = {name: as_draft07(inner, root) for name, inner in value.items()}
        elif key in _SCHEMA_LISTS and isinstance(value, list):
            found[key] = [as_draft07(inner, root) for inner in value]
        elif key in _SCHEMAS:
            many = isinstance(value, list)  # `items` of draft 7 and before may be a list
            found[key] = [as_draft07(inner, root) for inner in value] if many else as_draft07(value, root)
        else:
            found[key] = value
    if "$defs" in found:
        found["definitions"] = found.pop("$defs") | found.get("definitions", {})
    _rename_items(found)
    _rename_dependencies(found)
    _mend_exclusive_limits(found)
    return found


def _rename_items(schema: dict[str, Any]) -> None:
    if "prefixItems" in schema:
        if "items" in schema:
            schema["additionalItems"] = schema["items"]
        schema["items"] = schema.pop("prefixItems")


def _rename_dependencies(schema: dict[str, Any]) -> None:
    names, schemas = schema.pop("dependentRequired", {}), schema.pop("dependentSchemas", {})
    for key in {**names, **schemas}:
        needed: Any = {"required": names[key]} if key in names else True
        also = schemas.get(key, True)
        schema.setdefault("dependencies", {})[key] = {"allOf": [needed, also]} if also is not True else needed


def _mend_exclusive_limits(schema: dict[str, Any]) -> None:
    """Draft 4 has truth values where later drafts have the limit itself."""
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and limit in schema:
            schema[exclusive] = schema.pop(limit)
