"""Payloads that a pydantic type judges, strictly: of the fields in a configuration, or of somebody's own model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from gateway.contracts.shape import Reason, told, way

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import ErrorDetails, SchemaValidator

    from gateway.contracts.shape import AtOnce

_RULES = {
    "missing": "required",
    "extra_forbidden": "extra",
    "literal_error": "enum",
    "enum": "enum",
    "greater_than_equal": "min",
    "less_than_equal": "max",
    "greater_than": "min_exclusive",
    "less_than": "max_exclusive",
    "string_too_short": "length_min",
    "string_too_long": "length_max",
    "bytes_too_short": "length_min",
    "bytes_too_long": "length_max",
    "string_pattern_mismatch": "pattern",
    "too_short": "items_min",
    "too_long": "items_max",
    "finite_number": "type",
    "int_from_float": "type",
    "value_error": "value",
}
"""What pydantic calls a rule, and what the configuration calls it. Any other that ends in `_type` or `_parsing` is
`type`."""


def rule_of(details: ErrorDetails) -> str:
    """The rule that was broken, by the name that the configuration has for it."""
    name = details["type"]
    return _RULES.get(name) or ("type" if name.endswith(("_type", "_parsing")) else name)


def integral(value: Any) -> Any:
    """`value` with every number without a fraction as int: 21.0 and 21 are one number in JSON, not in Python."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {key: integral(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [integral(inner) for inner in value]
    return value


def first_reason(error: ValidationError) -> Reason:
    """What pydantic found first."""
    return _reason_of(error.errors(include_url=False, include_context=False)[0])


def _reason_of(details: ErrorDetails) -> Reason:
    rule = rule_of(details)
    value = "" if rule == "required" else told(details["input"])
    return Reason(way(details["loc"]), rule, value)


class PydanticShape:
    """A shape that is told by a validator of pydantic's."""

    def __init__(self, validator: SchemaValidator, json_schema: dict[str, Any], *, at_once: bool = False) -> None:
        """With `at_once` the validator is one of a model's fields, all of them numbers, texts and truth values."""
        self._json_schema = json_schema
        self.at_once: AtOnce | None = cast("AtOnce", validator.validate_json) if at_once else None
        self.fulfil: Callable[[Any], object] = validator.validate_python

    def reason(self, value: Any, refusal: Exception | None = None) -> Reason | None:
        """See `Shape`."""
        if isinstance(refusal, ValidationError):
            errors = refusal.errors(include_url=False, include_context=False)
            if not any(each["type"].startswith("int_") for each in errors):  # which a number without a fraction may be
                return _reason_of(errors[0])
        try:
            self.fulfil(integral(value))
        except ValidationError as error:
            return first_reason(error)
        return None

    def json_schema(self) -> dict[str, Any]:
        """See `Shape`."""
        return self._json_schema
