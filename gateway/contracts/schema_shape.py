"""Payloads that a JSON Schema judges, from a file. References are followed within the file only."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from gateway.contracts.fields import is_time
from gateway.contracts.shape import Reason, found_at, plain, told, way

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.contracts.shape import AtOnce

RULES = {
    "required": "required",
    "additionalProperties": "extra",
    "unevaluatedProperties": "extra",
    "minimum": "min",
    "maximum": "max",
    "exclusiveMinimum": "min_exclusive",
    "exclusiveMaximum": "max_exclusive",
    "minLength": "length_min",
    "maxLength": "length_max",
    "minItems": "items_min",
    "maxItems": "items_max",
    "constant": "enum",
}
"""Keywords of JSON Schema, and what the configuration calls the same rule; the others keep their name."""


def read_schema(path: Path) -> dict[str, Any]:
    """The JSON Schema in a file.

    Raises:
        ValueError: it cannot be read, or is no JSON object.
    """
    try:
        schema = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise ValueError(f"{path} has no JSON object")  # noqa: TRY004 - it is the file that is wrong
    return schema


class SchemaShape:
    """A shape that is told by a JSON Schema, of any draft from 4 to 2020-12; `format` counts.

    Raises:
        ValueError: it is none, or refers to another file.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self.at_once: AtOnce | None = None
        try:
            self._validator = jsonschema_rs.validator_for(
                schema,
                offline=True,
                validate_formats=True,
                formats={"date-time": is_time},  # one notion of time for all three ways
                pattern_options=jsonschema_rs.RegexOptions(),  # no pattern takes longer than the text is long
            )
        except jsonschema_rs.ValidationError as error:
            place = way(error.instance_path)
            raise ValueError(f"{f'at {place}: ' if place else ''}{error.message}") from error
        self.fulfil: Callable[[Any], object] = self._validator.validate

    def reason(self, value: Any, refusal: Exception | None = None) -> Reason | None:  # noqa: ARG002 - another way
        """See `Shape`."""
        try:
            self._validator.validate(_in_json(value))
        except jsonschema_rs.ValidationError as error:
            return _reason_of(error, value)
        except (ValueError, ArithmeticError) as error:
            return Reason("", "type", plain(str(error)))
        return None

    def json_schema(self) -> dict[str, Any]:
        """See `Shape`."""
        return self._schema


def _reason_of(error: jsonschema_rs.ValidationError, value: Any) -> Reason:
    keyword, parts = error.kind.name, list(error.instance_path)
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.Required(property=name):
            return Reason(way([*parts, name]), "required")
        case (
            jsonschema_rs.ValidationErrorKind.AdditionalProperties(unexpected=[name, *_])
            | jsonschema_rs.ValidationErrorKind.UnevaluatedProperties(unexpected=[name, *_])
        ):
            parts.append(name)
        case _:
            pass
    return Reason(way(parts), RULES.get(keyword, keyword), told(found_at(value, parts)))


def _in_json(value: Any) -> Any:
    """As JSON would have it: bytes as base64url text (RFC 8949, section 6.1)."""
    if isinstance(value, bytes):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    if isinstance(value, dict):
        return {key: _in_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_json(inner) for inner in value]
    return value
