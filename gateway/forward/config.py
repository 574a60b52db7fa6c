"""What every kind of upstream can be told in the configuration; each kind adds its own keys beside its class."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway.topics import is_valid_filter


def _check_filter(topic_filter: str) -> str:
    if not is_valid_filter(topic_filter):
        raise ValueError(
            f"{topic_filter!r} is not an MQTT topic filter: '+' and '#' fill a whole level, '#' only the last one"
        )
    return topic_filter


TopicFilter = Annotated[str, AfterValidator(_check_filter)]


class UpstreamConfig(BaseModel):
    """Keys that every `[upstreams.<name>]` section knows; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(description="Kind of upstream.")
    url: str = Field(description="Where the upstream is. Credentials have keys of their own.")
    topics: list[TopicFilter] = Field(
        default=["#"],
        min_length=1,
        description="MQTT topic filters: events that match none of them are not sent to this upstream.",
    )
    envelope: Literal["raw"] = Field(
        default="raw", description="raw: topic and payload as they came, event id and time beside them."
    )
    batch_events_max: int = Field(
        default=5000, ge=1, le=65_535, description="Events that are read from the log and handed over at a time."
    )
    stall_timeout_s: float = Field(
        default=30,
        gt=0,
        description="A connection that acknowledges nothing for so long, though events are under way, is dropped.",
    )
    connect_timeout_s: float = Field(default=10, gt=0, description="Limit for connecting and logging in.")
    backoff_initial_s: float = Field(default=1, gt=0, description="Wait after the first failure; it doubles.")
    backoff_max_s: float = Field(default=120, gt=0, description="Limit of the wait between two tries.")
    blocked_retry_s: float = Field(
        default=60, gt=0, description="Wait between tries while the upstream does not permit what we send."
    )

    @model_validator(mode="after")
    def _check_backoff(self) -> UpstreamConfig:
        if self.backoff_initial_s > self.backoff_max_s:
            raise ValueError("backoff_initial_s is above backoff_max_s: lower the one or raise the other")
        return self
