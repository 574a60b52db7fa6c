"""Fields that were written as TOML: the pydantic model that judges them, and the JSON Schema that says the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError, core_schema

from gateway.contracts.moments import rfc3339_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import GetCoreSchemaHandler

    from gateway.contracts.config import FieldConfig

_NOTHING: Any = object()
"""Stands for a value that is not there."""


def model_of(fields: Mapping[str, FieldConfig], extra: str, name: str = "Payload") -> type[BaseModel]:
    """A pydantic model of an object with these fields, which converts nothing."""
    definitions: dict[str, Any] = {}
    for number, (key, field) in enumerate(fields.items()):
        annotation = annotation_of(field, f"{name}_{number}")
        default = ... if field.required else _NOTHING
        # A key may be any text, a name in Python may not: `class`, `model_fields`, `DS18B20-1`.
        definitions[f"field_{number}"] = (annotation, Field(default, alias=key))
    config = ConfigDict(strict=True, extra="forbid" if extra == "forbid" else "ignore", arbitrary_types_allowed=True)
    return create_model(name, __config__=config, **definitions)


def annotation_of(field: FieldConfig, name: str = "Value") -> Any:
    """The type of a value, as pydantic reads it."""
    annotation = _annotation_of(field, name)
    return annotation | None if field.nullable and annotation is not Any else annotation


def _annotation_of(field: FieldConfig, name: str) -> Any:
    match field.type:
        case "number" | "integer":
            annotation = _number_of(field)
        case "string":
            limits = Field(strict=True, min_length=field.length_min, max_length=field.length_max, pattern=field.pattern)
            annotation = _limited(str, limits, _one_of(field.enum, str))
        case "boolean":
            annotation = Annotated[bool, Field(strict=True)]
        case "bytes":
            limits = Field(strict=True, min_length=field.length_min, max_length=field.length_max)
            annotation = _limited(bytes, limits)
        case "time":
            annotation = Annotated[str, Field(strict=True), AfterValidator(_a_time)]
        case "array":
            items = Any if field.items is None else annotation_of(field.items, f"{name}_items")
            limits = Field(strict=True, min_length=field.items_min, max_length=field.items_max)
            annotation = _limited(list[items], limits)  # type: ignore[valid-type]
        case "object":
            annotation = model_of(field.fields or {}, field.extra, name)
        case "any":
            annotation = Any
    return annotation


def _number_of(field: FieldConfig) -> Any:
    least, most, above, below = field.min, field.max, field.min_exclusive, field.max_exclusive
    if field.type == "number":
        limits = Field(strict=True, allow_inf_nan=False, ge=least, le=most, gt=above, lt=below)
        return _limited(float, limits, _one_of(field.enum, float))
    limits = Field(strict=True, ge=_up(least), le=_down(most), gt=_down(above), lt=_up(below))
    return _limited(int, limits, _one_of(field.enum, int))


class _OneOf:
    """In an annotation: the value is one of these, and of the type before it."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = list(values)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.chain_schema([handler(source), core_schema.literal_schema(self._values)])


def _one_of(values: Sequence[Any] | None, kind: type) -> _OneOf | None:
    return None if values is None else _OneOf([kind(value) for value in values])


def _limited(kind: type, *parts: Any) -> Any:
    annotation: Any = kind
    for part in parts:
        if part is not None:
            annotation = Annotated[annotation, part]
    return annotation


def is_time(text: str) -> bool:
    """Whether it is a time as in RFC 3339."""
    try:
        rfc3339_ns(text)
    except ValueError:
        return False
    return True


def _a_time(text: str) -> str:
    if not is_time(text):
        raise PydanticCustomError("time_type", "no time as in RFC 3339")
    return text


def _up(limit: float | None) -> int | None:
    return None if limit is None else math.ceil(limit)


def _down(limit: float | None) -> int | None:
    return None if limit is None else math.floor(limit)


def schema_of(fields: Mapping[str, FieldConfig], extra: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of an object with these fields."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {key: value_schema_of(each) for key, each in fields.items()},
    }
    if required := [key for key, each in fields.items() if each.required]:
        schema["required"] = required
    if extra == "forbid":
        schema["additionalProperties"] = False
    return schema


_AS_STRINGS = {
    "time": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
}
"""What JSON has no type for."""
_KEYWORDS = {
    "min": "minimum",
    "max": "maximum",
    "min_exclusive": "exclusiveMinimum",
    "max_exclusive": "exclusiveMaximum",
    "length_min": "minLength",
    "length_max": "maxLength",
    "pattern": "pattern",
    "items_min": "minItems",
    "items_max": "maxItems",
    "enum": "enum",
    "unit": "x-unit",
}
"""Keys of the configuration, and what JSON Schema calls them."""


def value_schema_of(field: FieldConfig) -> dict[str, Any]:
    """JSON Schema (2020-12) of a value."""
    schema: dict[str, Any] = schema_of(field.fields or {}, field.extra) if field.type == "object" else {}
    if field.type in _AS_STRINGS:
        schema |= _AS_STRINGS[field.type]
    elif field.type not in ("any", "object"):
        schema["type"] = field.type
    for key, keyword in _KEYWORDS.items():
        if (value := getattr(field, key)) is not None and field.type != "bytes":  # of which base64 has more characters
            schema[keyword] = value
    if field.items is not None:
        schema["items"] = value_schema_of(field.items)
    if field.nullable and "type" in schema:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema | _described(field)


def _described(field: FieldConfig) -> dict[str, Any]:
    return {"description": field.description} if field.description else {}
