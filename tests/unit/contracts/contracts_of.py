"""Contracts from TOML, as an operator writes them."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from gateway.contracts.build import build
from gateway.contracts.config import ContractConfig

if TYPE_CHECKING:
    from gateway.contracts.contracts import Contracts, WithoutContract


def contracts_of(text: str, without_contract: WithoutContract = "allow") -> Contracts:
    """The contracts of sections `[NAME]`."""
    sections = {name: ContractConfig.model_validate(section) for name, section in tomllib.loads(text).items()}
    return build(sections, without_contract)
