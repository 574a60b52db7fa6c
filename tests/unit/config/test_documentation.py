"""docs/configuration.md names every key there is, with the default it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic_core import PydanticUndefined

from gateway.broker.config import BrokerConfig, TlsConfig
from gateway.broker.roles import RightsConfig, RoleConfig
from gateway.config.model import GatewayConfig
from gateway.contracts.config import ContractConfig, FieldConfig
from gateway.eventlog.config import LogConfig, QuarantineConfig
from gateway.external.config import ExternalBrokerConfig
from gateway.forward.config import ReplayConfig, UpstreamConfig
from gateway.ingest.config import IngestConfig
from gateway.upstreams.mqtt import MqttUpstreamConfig

if TYPE_CHECKING:
    from pydantic import BaseModel

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"
COMMON = set(UpstreamConfig.model_fields)
SECTIONS = {
    "[gateway]": (GatewayConfig, set()),
    "[broker]": (BrokerConfig, set()),
    "[broker] with mode = external": (ExternalBrokerConfig, set()),
    "[broker.tls]": (TlsConfig, set()),
    "[rights]": (RightsConfig, set()),
    "[roles.NAME]": (RoleConfig, set()),
    "[log]": (LogConfig, set()),
    "[quarantine]": (QuarantineConfig, set()),
    "[ingest]": (IngestConfig, set()),
    "[contracts.NAME]": (ContractConfig, set()),
    "[contracts.NAME.fields]": (FieldConfig, set()),
    "[replay]": (ReplayConfig, set()),
    "[upstreams.NAME]": (UpstreamConfig, set()),
    "[upstreams.NAME] of type mqtt": (MqttUpstreamConfig, COMMON),
}


def documented(section: str) -> dict[str, str]:
    """Keys of a section's table, and what stands as their default."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert all(len(row) == 3 and len(row[2]) > 10 for row in rows), "a key without its meaning"
    return {row[0].removeprefix("| ").strip("`"): row[1] for row in rows}


def shown(default: object) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None or default == {}:
        return "none" if default is None else "empty"
    return f"`{json.dumps(default)}`"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_with_its_default(section: str) -> None:
    model: type[BaseModel]
    model, elsewhere = SECTIONS[section]
    fields = {name: field for name, field in model.model_fields.items() if name not in elsewhere}
    assert documented(section) == {name: shown(field.default) for name, field in fields.items()}
