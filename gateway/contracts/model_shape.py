"""Payloads that a pydantic model of somebody else's judges, found by its import path or in a file.

It judges as strictly as pydantic judges JSON: text is no number, but a time, a UUID or an enumeration is told as text.
Where a field of the model says `strict=False` it has its way.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from gateway.contracts.pydantic_shape import first_reason, integral
from gateway.contracts.shape import Reason

if TYPE_CHECKING:
    from types import ModuleType

    from gateway.contracts.shape import AtOnce

EXAMPLE = 'write for example model = "site_models.weather:Temperature", or model = "models.py:Temperature"'


def find_model(path: str) -> Any:
    """The type at `<module>:<name>` or `<file>.py:<name>`.

    A module that was imported before is not read again; a file is.

    Raises:
        ValueError: there is none, or importing it fails.
    """
    place, colon, name = path.rpartition(":")
    if not colon:
        place, _, name = path.rpartition(".")
    if not place or not name:
        raise ValueError(f"{path!r} is no import path; {EXAMPLE}")
    try:
        module = _load_file(place) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:  # the code of others may raise anything
        raise ValueError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ValueError(f"{place} has no {name}")
    return found


def _load_file(place: str) -> ModuleType:
    name = f"gateway_model_{abs(hash(place))}"
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise ImportError("is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks there for what annotations name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class ModelShape:
    """A shape that is told by a pydantic model, or by any type that pydantic can validate.

    Raises:
        ValueError: pydantic can make nothing of it.
    """

    def __init__(self, model: Any) -> None:
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(model)
            # Of a model with a name that is not there, only this tells.
            self._validate = self._adapter.validator.validate_python
        except Exception as error:  # the code of others may raise anything
            raise ValueError(f"pydantic can validate no {model!r}: {type(error).__name__}: {error}") from error
        try:
            self._json_schema = self._adapter.json_schema()
        except Exception:  # noqa: BLE001 - as above
            self._json_schema = {"description": "What it is cannot be told as JSON Schema."}
        self.at_once: AtOnce | None = None

    def fulfil(self, value: Any) -> None:
        """See `Shape`. Text that stands for something else is left to `reason`, which goes by way of JSON."""
        try:
            self._validate(value, strict=True)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def reason(self, value: Any, refusal: Exception | None = None) -> Reason | None:  # noqa: ARG002 - another way
        """See `Shape`."""
        try:
            self._adapter.validator.validate_json(to_json(integral(value)), strict=True)
        except ValidationError as error:
            return first_reason(error)
        except Exception as error:  # noqa: BLE001 - as above
            return Reason("", "model", f"{type(error).__name__}: {error}")
        return None

    def json_schema(self) -> dict[str, Any]:
        """See `Shape`."""
        return self._json_schema
