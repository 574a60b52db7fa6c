"""From the sections of the configuration to contracts that judge. Reads the files they name; judging reads none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

from gateway.contracts.codecs import decoder_of
from gateway.contracts.compatibility import breaks_between
from gateway.contracts.config import family_and_version, value_of_codec, version_order
from gateway.contracts.contracts import TOPICS_MAX, Contract, Contracts
from gateway.contracts.fields import annotation_of, model_of, schema_of, value_schema_of
from gateway.contracts.model_shape import ModelShape, find_model
from gateway.contracts.pydantic_shape import PydanticShape
from gateway.contracts.stamps import Stamper
from gateway.errors import ConfigError
from gateway.patterns import TopicPattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.contracts.config import ContractConfig, FieldConfig
    from gateway.contracts.contracts import WithoutContract
    from gateway.contracts.shape import Shape


_FLAT = ("number", "integer", "string", "boolean")
"""Types of which JSON and a decoded value say the same to pydantic, and that have no keys within."""


class ContractError(ConfigError):
    """A contract cannot be used.

    Args:
        contract: its name; whoever knows the file of its section can say it.
        key: below its section; empty for all of it.
        message: what is wrong with it.
        hint: what to do next.
    """

    def __init__(self, contract: str, key: str, message: str, hint: str) -> None:
        super().__init__(f"contracts.{contract}{'.' if key else ''}{key}: {message}", hint)
        self.contract = contract


def build(
    configs: Mapping[str, ContractConfig], without_contract: WithoutContract = "allow", topics_max: int = TOPICS_MAX
) -> Contracts:
    """The contracts of a configuration; see `Contracts` for the other two.

    Raises:
        ContractError: one of them cannot be used; names it, its key and the remedy.
    """
    contracts = {name: contract_of(name, config) for name, config in configs.items()}
    _check_versions_differ(contracts)
    newest_first = sorted(contracts.values(), key=lambda contract: version_order(contract.version), reverse=True)
    _check_promises(configs, newest_first)
    return Contracts(newest_first, without_contract, topics_max)


def contract_of(name: str, config: ContractConfig) -> Contract:
    """One contract.

    Raises:
        ContractError: see `build`.
    """
    stamper = None
    if config.time_field is not None or config.sequence_field is not None:
        stamper = Stamper(config.time_field, config.time_unit, config.sequence_field)
    return Contract(
        name,
        family_and_version(name, config.version)[1],
        TopicPattern(config.topic),
        config.policy,
        config.codec,
        decoder_of(config.codec),
        _shape_of(name, config),
        stamper,
    )


def _shape_of(name: str, config: ContractConfig) -> Shape:
    if config.fields is not None:
        return _shape_of_fields(config.fields, config.extra)
    if config.schema_file is not None:
        from gateway.contracts.schema_shape import SchemaShape, read_schema  # noqa: PLC0415 - 6 MB, only for who needs it

        try:
            return SchemaShape(read_schema(config.schema_file))
        except ValueError as error:
            raise ContractError(name, "schema_file", str(error), "Mend the JSON Schema.") from error
    if config.model is not None:
        try:
            return ModelShape(find_model(config.model))
        except ValueError as error:
            raise ContractError(
                name, "model", str(error), "Install it where the gateway is, or name its folder in PYTHONPATH."
            ) from error
    value = config.value or value_of_codec(config.codec)
    judge = SchemaValidator(TypeAdapter(annotation_of(value)).core_schema)
    return PydanticShape(judge, value_schema_of(value))


def _shape_of_fields(fields: Mapping[str, FieldConfig], extra: str) -> Shape:
    schema: Any = model_of(fields, extra).__pydantic_core_schema__
    # What is within the schema of a model judges its fields without making an instance, which takes a third longer.
    judge = SchemaValidator(schema["schema"], schema["config"])
    flat = all(field.type in _FLAT for field in fields.values())
    return PydanticShape(judge, schema_of(fields, extra), at_once=flat)


def _check_versions_differ(contracts: Mapping[str, Contract]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for name, contract in contracts.items():
        family, _ = family_and_version(name, None)
        other = seen.setdefault((family, contract.version), name)
        if other != name:
            raise ContractError(
                name, "version", f"is {contract.version}, as that of contracts.{other}", "Give them different versions."
            )


def _check_promises(configs: Mapping[str, ContractConfig], newest_first: Sequence[Contract]) -> None:
    """Each version keeps what it promises towards the one before, as far as that is in the same configuration."""
    newer: dict[str, Contract] = {}
    for contract in newest_first:
        family, _ = family_and_version(contract.name, None)
        newest, newer[family] = newer.get(family), contract
        if newest is None:
            continue
        compatibility = configs[newest.name].compatibility
        broken = breaks_between(contract, newest, compatibility)
        if broken:
            raise ContractError(
                newest.name,
                "compatibility",
                f"is {compatibility!r} towards {contract.name}, but {'; '.join(str(each) for each in broken)}",
                'Or write compatibility = "none", and tell who reads these events.',
            )
