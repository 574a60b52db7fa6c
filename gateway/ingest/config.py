"""What an operator may set about taking messages in (section `[ingest]`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from gateway.contracts.contracts import WithoutContract


class IngestConfig(BaseModel):
    """Section `[ingest]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    without_contract: WithoutContract = "allow"
    """What becomes of a message whose topic has no contract."""
