"""What an operator may set about contracts (sections `[contracts.NAME]`)."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import SchemaError, SchemaValidator, core_schema

from gateway.contracts import ucum
from gateway.contracts.codecs import Codec
from gateway.contracts.moments import TimeUnit
from gateway.contracts.verdict import Policy
from gateway.patterns import TopicPattern

if TYPE_CHECKING:
    from collections.abc import Mapping

Compatibility: TypeAlias = Literal["none", "backward", "forward", "full"]
FieldType: TypeAlias = Literal["number", "integer", "string", "boolean", "time", "bytes", "object", "array", "any"]


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("write a number, as 21 or -0.5")
    return value


def _number_or_text(value: object) -> object:
    return value if isinstance(value, str) else _number(value)


def _version(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Number: TypeAlias = Annotated[int | float, BeforeValidator(_number)]
Scalar: TypeAlias = Annotated[str | int | float, BeforeValidator(_number_or_text)]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Version: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)*$"), BeforeValidator(_version)]

_NUMBERS = ("number", "integer")
_ONLY_FOR = {
    **dict.fromkeys(("unit", "min", "max", "min_exclusive", "max_exclusive"), _NUMBERS),
    **dict.fromkeys(("length_min", "length_max"), ("string", "bytes")),
    "pattern": ("string",),
    **dict.fromkeys(("items", "items_min", "items_max"), ("array",)),
    **dict.fromkeys(("fields", "extra"), ("object",)),
    "enum": (*_NUMBERS, "string"),
}
"""Which keys make sense for which types."""
_FIRST_NOT_ABOVE_SECOND = (("min", "max"), ("length_min", "length_max"), ("items_min", "items_max"))
_WAYS = ("fields", "value", "schema_file", "model")
_TYPE_OF_CODEC = {"number": _NUMBERS, "text": ("string", "time"), "raw": ("bytes",)}
"""What such a codec makes of any payload; the first if it is not told."""
_VERSION_IN_NAME = re.compile(r"\.v([0-9]+(?:\.[0-9]+)*)$")
_VERSION_AS_TABLE = re.compile(r"v[0-9]+$")
FIRST_VERSION = "1"


class FieldConfig(BaseModel):
    """What one value must be. A type alone stands for a value of that type without limits.

    Nothing is converted: `"21"` is no number, and neither is `true`; 21.0 is an integer, because it has no fraction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: FieldType
    """`number` and `integer` are finite; `time` is a string as in RFC 3339; `bytes` are those of CBOR,
    MessagePack and `raw`; `any` is anything, also null."""
    required: bool = True
    """Whether it has to be there."""
    nullable: bool = False
    """Whether it may be null."""
    unit: str | None = None
    """Of a number, as UCUM code: `Cel`, `%`, `hPa`."""
    description: str = ""
    """For people, and for the documents that are exported."""
    min: Number | None = None
    """Smallest number."""
    max: Number | None = None
    """Largest number."""
    min_exclusive: Number | None = None
    """The number is larger than this."""
    max_exclusive: Number | None = None
    """The number is smaller than this."""
    enum: Annotated[list[Scalar], Field(min_length=1)] | None = None
    """The only values."""
    length_min: Count | None = None
    """Fewest characters of a string, or bytes."""
    length_max: Count | None = None
    """Most characters of a string, or bytes."""
    pattern: str | None = None
    """Regular expression that is found in a string; with `^` and `$` it has to match all of it."""
    items: FieldConfig | None = None
    """What each item of an array is."""
    items_min: Count | None = None
    """Fewest items of an array."""
    items_max: Count | None = None
    """Most items of an array."""
    fields: dict[str, FieldConfig] | None = None
    """What an object has."""
    extra: Literal["allow", "forbid"] = "allow"
    """Whether an object may have keys that `fields` does not name."""

    @model_validator(mode="before")
    @classmethod
    def _type_alone(cls, value: object) -> object:
        if isinstance(value, str):
            return {"type": value}
        if not isinstance(value, (dict, FieldConfig)):
            raise ValueError('write a type, as "number", or a table, as { type = "number", unit = "Cel" }')  # noqa: TRY004
        return value

    @field_validator("unit")
    @classmethod
    def _unit_is_ucum(cls, unit: str | None) -> str | None:
        if unit is not None:
            ucum.check(unit)
        return unit

    @field_validator("pattern")
    @classmethod
    def _pattern_is_one(cls, pattern: str | None) -> str | None:
        try:
            SchemaValidator(core_schema.str_schema(pattern=pattern))
        except SchemaError as error:
            why = str(error).rpartition("error: ")[2]
            raise ValueError(f"{pattern!r} is no regular expression that can be used here: {why}") from error
        return pattern

    @model_validator(mode="after")
    def _keys_fit_the_type(self) -> Self:
        for key, types in _ONLY_FOR.items():
            if key in self.model_fields_set and self.type not in types:
                raise ValueError(f"{key} is only for type {' and '.join(types)}; this is type {self.type}")
        for low, high in _FIRST_NOT_ABOVE_SECOND:
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} is above {high}: nothing could fulfil this")
        for value in self.enum or ():
            if not self._is_of_type(value):
                raise ValueError(f"enum has {value!r}, which is no {self.type}")
        return self

    def _is_of_type(self, value: Scalar) -> bool:
        if self.type == "string":
            return isinstance(value, str)
        return not isinstance(value, str) and (self.type == "number" or value == int(value))


class ContractConfig(BaseModel):
    """Section `[contracts.NAME]`: which topics, and what their payloads must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str
    """Pattern of its topics: an MQTT filter whose levels may have names, `sensors/{device}/temperature`."""
    description: str = ""
    """For people, and for the documents that are exported."""
    codec: Codec = "json"
    """How a payload is written."""
    fields: dict[str, FieldConfig] | None = None
    """What the object in the payload has."""
    extra: Literal["allow", "forbid"] = "allow"
    """Whether it may have keys that `fields` does not name."""
    value: FieldConfig | None = None
    """Instead of `fields`: what the payload is, where it is no object."""
    schema_file: Path | None = None
    """Instead of `fields`: a file with a JSON Schema. Relative to the file that names it."""
    model: str | None = None
    """Instead of `fields`: a pydantic model, as `package.module:Name`, or `file.py:Name` relative to this file."""
    version: Version | None = None
    """Of several contracts on one topic; without it the number in a name that ends in `.v<number>`, else 1."""
    compatibility: Compatibility = "none"
    """What is promised towards the version before. `backward`: a payload that fulfilled that one fulfils this one.
    `forward`: the other way round."""
    policy: Policy = "quarantine"
    """What becomes of a message that violates it."""
    time_field: str | None = None
    """Dotted way to the device's own time, RFC 3339 or a number since 1970."""
    time_unit: TimeUnit = "s"
    """What such a number counts."""
    sequence_field: str | None = None
    """Dotted way to the device's own number of the message."""

    @model_validator(mode="before")
    @classmethod
    def _no_table_within(cls, value: object) -> object:
        for key, inner in value.items() if isinstance(value, dict) else ():
            if _VERSION_AS_TABLE.match(key) and isinstance(inner, dict):
                raise ValueError(f'a name with a dot needs quotes; write [contracts."<name>.{key}"]')
        return value

    @model_validator(mode="before")
    @classmethod
    def _codec_tells_the_type(cls, section: object) -> object:
        if not isinstance(section, dict) or not isinstance(section.get("value"), dict):
            return section
        types = _TYPE_OF_CODEC.get(str(section.get("codec")))
        return section if types is None else {**section, "value": {"type": types[0], **section["value"]}}

    @field_validator("topic")
    @classmethod
    def _topic_is_a_pattern(cls, topic: str) -> str:
        TopicPattern(topic)
        return topic

    @model_validator(mode="after")
    def _is_bound_in_one_way(self) -> Self:
        ways = [way for way in _WAYS if getattr(self, way) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)}: a payload is told in one way; remove all but one")
        if not ways and self.codec not in _TYPE_OF_CODEC:
            raise ValueError("what is a payload to be? Write fields, value, schema_file or model")
        if self.fields is not None and self.codec in _TYPE_OF_CODEC:
            raise ValueError(f'codec "{self.codec}" has no fields; write value = {{ ... }} instead')
        if "extra" in self.model_fields_set and self.fields is None:
            raise ValueError("extra belongs to fields; a JSON Schema or a model says it itself")
        types = _TYPE_OF_CODEC.get(self.codec)
        if types is not None and self.value is not None and self.value.type not in types:
            raise ValueError(f'value: codec "{self.codec}" makes type {" or ".join(types)}, not {self.value.type}')
        return self

    @model_validator(mode="after")
    def _stamps_are_fields(self) -> Self:
        for key in ("time_field", "sequence_field"):
            way = getattr(self, key)
            if way is not None and self.fields is not None and not _leads_somewhere(self.fields, way.split(".")):
                known = ", ".join(self.fields)
                raise ValueError(f"{key}: fields has no {way!r}; known are {known}")
        return self


def _leads_somewhere(fields: Mapping[str, FieldConfig], way: list[str]) -> bool:
    """Whether a dotted way ends at a field, or below one whose inside is not told."""
    field = fields.get(way[0])
    if field is None or len(way) == 1:
        return field is not None
    return field.fields is None or _leads_somewhere(field.fields, way[1:])


def value_of_codec(codec: Codec) -> FieldConfig:
    """What any payload of codec `number`, `text` or `raw` is."""
    return FieldConfig.model_validate(_TYPE_OF_CODEC[codec][0])


def family_and_version(name: str, version: str | None) -> tuple[str, str]:
    """Name of a contract without its version, and the version: `temperature.v2` is version 2 of `temperature`."""
    found = _VERSION_IN_NAME.search(name)
    family = name[: found.start()] if found else name
    return family, version or (found[1] if found else FIRST_VERSION)


def version_order(version: str) -> tuple[int, ...]:
    """To sort versions by: 1.10 is newer than 1.9."""
    return tuple(int(part) for part in version.split("."))
