"""From the sections of the configuration to contracts that judge. Reads the files they name; judging reads none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import SchemaValidator

from gateway.contracts.codecs import CODECS
from gateway.contracts.config import family_and_version, version_order
from gateway.contracts.contracts import Contract, Contracts
from gateway.contracts.fields import model_of, schema_of
from gateway.contracts.pydantic_shape import PydanticShape
from gateway.errors import ConfigError
from gateway.patterns import TopicPattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.contracts.config import ContractConfig
    from gateway.contracts.contracts import WithoutContract
    from gateway.contracts.shape import Shape


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


def build(configs: Mapping[str, ContractConfig], without_contract: WithoutContract = "allow") -> Contracts:
    """The contracts of a configuration.

    Raises:
        ContractError: one of them cannot be used; names it, its key and the remedy.
    """
    contracts = {name: contract_of(name, config) for name, config in configs.items()}
    _check_versions_differ(contracts)
    newest_first = sorted(contracts.values(), key=lambda contract: version_order(contract.version), reverse=True)
    return Contracts(newest_first, without_contract)


def contract_of(name: str, config: ContractConfig) -> Contract:
    """One contract.

    Raises:
        ContractError: see `build`.
    """
    _, version = family_and_version(name, config.version)
    return Contract(
        name, version, TopicPattern(config.topic), config.policy, CODECS[config.codec], _shape_of(name, config)
    )


def _shape_of(name: str, config: ContractConfig) -> Shape:
    fields = config.fields or {}
    schema: Any = model_of(fields, config.extra, name).__pydantic_core_schema__
    # What is within the schema of a model judges its fields without making an instance, which takes a third longer.
    judge = (
        SchemaValidator(schema["schema"], schema["config"]) if schema["type"] == "model" else SchemaValidator(schema)
    )
    return PydanticShape(judge, schema_of(fields, config.extra))


def _check_versions_differ(contracts: Mapping[str, Contract]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for name, contract in contracts.items():
        family, _ = family_and_version(name, None)
        other = seen.setdefault((family, contract.version), name)
        if other != name:
            raise ContractError(
                name, "version", f"is {contract.version}, as that of contracts.{other}", "Give them different versions."
            )
