"""What an operator may set about taking messages in (section `[ingest]`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from gateway.contracts.contracts import TOPICS_MAX, WithoutContract


class IngestConfig(BaseModel):
    """Section `[ingest]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    without_contract: WithoutContract = "allow"
    """What becomes of a message whose topic has no contract."""
    topics_max: int = Field(default=TOPICS_MAX, ge=1)
    """Topics whose contracts are kept at hand; beyond it the topic that came first is looked up again."""
    devices_max: int = Field(default=10_000, ge=1)
    """Devices, by contract, whose own numbers of messages are followed; of more, those silent for longest are
    forgotten."""
    repeats_messages_max: int = Field(default=5_000, ge=0)
    """The newest QoS 1 messages with a number or time of the device that a repeat (DUP) is compared with. At start so
    many events are looked through."""
    repeats_bytes_max: int = Field(default=4 * 1024 * 1024, ge=0)
    """Bytes of topics and payloads of those messages."""
