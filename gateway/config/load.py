"""From a TOML file and the environment to a `Config`.

`GATEWAY__<SECTION>__<KEY>` overrides a value of the file. It is text that becomes a number or a truth value where the
key wants one, so a password may be all digits; a list is comma-separated or in TOML (`["a", "b"]`).
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gateway.config.include import Sources, read_toml
from gateway.config.model import Config
from gateway.contracts.build import ContractError, build
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from gateway.contracts.config import ContractConfig

DEFAULT_PATHS = (Path("config/gateway.toml"), Path("/etc/gateway/gateway.toml"))
_PREFIX = "GATEWAY__"
_RIGHTS = {"publish", "subscribe"}
_CREDENTIALS = re.compile(r"//[^/\s]*@")
"""In a URL; what is wrong with it is told without them."""


def find(path: Path | None) -> Path:
    """The configuration file to use: the one named, else the first of `DEFAULT_PATHS` that exists.

    Raises:
        ConfigError: there is none.
    """
    if path is not None:
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file", "Name an existing one with --config FILE.")
        return path
    for candidate in DEFAULT_PATHS:
        if candidate.is_file():
            return candidate
    places = " nor ".join(str(candidate) for candidate in DEFAULT_PATHS)
    raise ConfigError(f"no configuration: neither {places} exists", "Name one with --config FILE.")


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read, override and check a configuration.

    Raises:
        ConfigError: names every key that is wrong, what is wrong, and what to write.
    """
    values = read_toml(path)
    if (listed := environment.get(f"{_PREFIX}INCLUDE")) is not None:
        values["include"] = _value(listed, as_list=True)
    sources = Sources(path)
    sources.include(values)
    _override(values, environment)
    return _checked(values, sources)


def load_contracts(path: Path) -> dict[str, ContractConfig]:
    """The contracts of a file that need be no whole configuration, as one that is included, and of those it includes.

    Raises:
        ConfigError: as `load`.
    """
    values = read_toml(path)
    sources = Sources(path)
    sources.include(values)
    of_nobody = {"id": "contracts", "data_dir": "."}
    return _checked({"gateway": of_nobody, "contracts": values.get("contracts", {})}, sources).contracts


def _checked(values: dict[str, Any], sources: Sources) -> Config:
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain_all(error, sources), "See docs/configuration.md for every key.") from error
    try:
        build(config.contracts)
    except ContractError as error:
        raise ConfigError(f"{sources.file_of('contracts', error.contract)}: {error}", error.hint) from error
    return config


def _explain_all(error: ValidationError, sources: Sources) -> str:
    """Every mistake, by file."""
    by_file: dict[Path, list[str]] = {}
    for details in error.errors():
        section, name, *_ = (*details["loc"], "", "")
        by_file.setdefault(sources.file_of(section, name), []).append(_explain(details))
    text = "; ".join(f"{file}: {'; '.join(mistakes)}" for file, mistakes in by_file.items())
    return _CREDENTIALS.sub("//***@", text)


def _override(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, text in sorted(environment.items()):
        if not name.startswith(_PREFIX):
            continue
        *sections, key = name[len(_PREFIX) :].lower().split("__")
        at = values
        for section in sections:
            at = at.setdefault(_existing(at, section), {})
            if not isinstance(at, dict):
                raise ConfigError(f"{name}: {section} is not a section", "Remove it from the environment.")
        at[_existing(at, key)] = _value(text, as_list=_is_list(sections, key))


def _existing(at: dict[str, Any], name: str) -> str:
    """The environment has no lower case and no dashes; names in the file may."""
    for known in at:
        if known.lower().replace("-", "_") == name:
            return known
    return name


def _value(text: str, *, as_list: bool) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if not isinstance(value, (str, list, dict)):
        value = text
    if as_list and not isinstance(value, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    return value


def _is_list(sections: list[str], key: str) -> bool:
    lists = {
        "broker": {"listen", "topics", "device_patterns"},
        "upstreams": {"topics", "active_hours"},
        "rights": _RIGHTS,
        "roles": _RIGHTS,
    }
    return (not sections and key == "include") or (bool(sections) and key in lists.get(sections[0], ()))


def _explain(details: ErrorDetails) -> str:
    location = [str(part) for part in details["loc"]]
    if location[:1] == ["upstreams"] and len(location) > 3 and location[2] not in _keys_beside(location[:3]):
        del location[2]  # the kind of upstream, which pydantic adds to the way when there are several
    if location[:1] == ["broker"]:
        del location[1:2]  # its mode, likewise
    key = ".".join(location)
    if details["type"] == "extra_forbidden":
        return f"{key}: there is no such key{_nearest(location)}"
    if details["type"] == "missing":
        return f"{key}: this key is missing{_example(key)}"
    message = details["msg"].removeprefix("Value error, ")
    given = details["input"]
    if isinstance(given, (str, int, float, bool)) and str(given) not in message and not _is_secret(location):
        message += f" (it is {given!r})"
    return f"{key}: {message}" if key else message  # without one it is about several sections


def _example(key: str) -> str:
    examples = {"gateway": "[gateway]", "gateway.id": 'id = "greenhouse-7"', "gateway.data_dir": 'data_dir = "data"'}
    return f"; write for example: {examples[key]}" if key in examples else ""


def _is_secret(location: list[str]) -> bool:
    return location[-1] == "password" or location[:2] == ["broker", "users"]


def _nearest(location: list[str]) -> str:
    known = _keys_beside(location)
    if not known:
        return ""
    if location[-1] in known:
        return "; it is one of another kind or mode"
    near = difflib.get_close_matches(location[-1], known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _keys_beside(location: list[str]) -> list[str]:
    """Every key that the section of this one knows."""
    annotations: list[Any] = [Config]
    for part in location[:-1]:
        annotations = [below for annotation in annotations for below in _below(annotation, part)]
    models = [model for annotation in annotations for model in _models_in(annotation)]
    return list(dict.fromkeys(key for model in models for key in model.model_fields))


def _below(annotation: Any, part: str) -> list[Any]:
    if _is_model(annotation):
        field = annotation.model_fields.get(part)
        return [] if field is None else [field.annotation]
    if get_origin(annotation) is dict:  # `part` is a name of the operator's choice
        return [get_args(annotation)[1]]
    return [below for inner in get_args(annotation) for below in _below(inner, part)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if _is_model(annotation):
        return [annotation]
    if get_origin(annotation) is dict:
        return []
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
