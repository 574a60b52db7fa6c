"""What every kind of upstream can be told in the configuration; each kind adds its own keys beside its class."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from gateway.eventlog import points
from gateway.forward.hours import Hours
from gateway.forward.topic_map import TopicMap
from gateway.topics import is_valid_filter


def _check_filter(topic_filter: str) -> str:
    if not is_valid_filter(topic_filter):
        raise ValueError(
            f"{topic_filter!r} is not an MQTT topic filter: '+' and '#' fill a whole level, '#' only the last one"
        )
    return topic_filter


def _check_rules(rules: dict[str, str]) -> dict[str, str]:
    TopicMap(rules)  # raises for what is wrong with them
    return rules


def _check_start(start: str) -> str:
    points.parse(start)  # likewise
    return start


TopicFilter = Annotated[str, AfterValidator(_check_filter)]
TopicRules = Annotated[dict[str, str], AfterValidator(_check_rules)]


Start = Annotated[str, AfterValidator(_check_start)]

PRIORITIES_MAX = 8
"""Of one upstream: each is a connection."""


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
    topic_map: TopicRules = Field(
        default={},
        description="Topics of this upstream, by patterns of those here. The first pattern that matches counts, in the "
        "order they are written; without one the topic stays.",
    )
    envelope: Literal["raw", "cloudevents"] = Field(
        default="raw",
        description="raw: topic and payload as they came, event id and time beside them. cloudevents: CloudEvents 1.0.",
    )
    cloudevents_mode: Literal["binary", "structured"] | None = Field(
        default=None,
        description="binary: the payload as it came and the attributes beside it, the default where the protocol has "
        "room for them. structured: both in one JSON document.",
    )
    catch_up: Literal["in_order", "live_first"] = Field(
        default="in_order",
        description="After an outage of more than batch_events_max events. in_order: everything in its order. "
        "live_first: new events at once, and the backlog beside them, marked as historical.",
    )
    backlog_rate_max: int = Field(
        default=0, ge=0, description="Events a second of the backlog, with live_first; 0 is no limit."
    )
    priorities: list[TopicFilter] = Field(
        default=[],
        max_length=PRIORITIES_MAX,
        description="MQTT topic filters of events that go before all others, the first filter's first, each over a "
        "connection of its own.",
    )
    time_to_live_s: float = Field(
        default=0, ge=0, description="Events older than that when their turn comes are not sent; 0 is no limit."
    )
    start: Start = Field(
        default="beginning",
        description="Where a new upstream begins: beginning (the oldest event there is), now, a seq, or a time as in "
        "2026-11-23T15:00 (UTC, unless it names its zone). Without meaning once the upstream has a cursor.",
    )
    batch_events_max: int = Field(
        default=5000, ge=1, le=65_535, description="Events that are read from the log and handed over at a time."
    )
    batch_bytes_max: int = Field(
        default=4 * 1024 * 1024,
        ge=1024,
        description="Bytes of topics and payloads that are handed over at a time, one event of any size excepted.",
    )
    rate_events_max: float = Field(
        default=0,
        ge=0,
        description="Events a second, for metered links; on average, with one second's worth at once. 0 is no limit.",
    )
    rate_bytes_max: float = Field(
        default=0,
        ge=0,
        description="Bytes of topics and payloads a second, likewise; protocol and TLS come on top. 0 is no limit.",
    )
    active_hours: list[str] = Field(
        default=[],
        description='Spans of the day as in ["22:00-06:00"], in local time of the machine. Outside of them the '
        "upstream is not connected, and its events wait. Empty: always. They do not count while the clock is not set.",
    )
    stall_timeout_s: float = Field(
        default=30,
        gt=0,
        description="A connection that acknowledges nothing for so long, though events are under way, is dropped.",
    )
    connect_timeout_s: float = Field(default=10, gt=0, description="Limit for connecting and logging in.")
    backoff_initial_s: float = Field(default=1, gt=0, description="Wait after the first failure; it doubles.")
    backoff_max_s: float = Field(default=30, gt=0, description="Limit of the wait between two tries.")
    blocked_retry_s: float = Field(
        default=60, gt=0, description="Wait between tries while the upstream does not permit what we send."
    )

    @field_validator("active_hours")
    @classmethod
    def _check_hours(cls, spans: list[str]) -> list[str]:
        Hours(spans)
        return spans

    @model_validator(mode="after")
    def _check_mode(self) -> UpstreamConfig:
        if self.cloudevents_mode is not None and self.envelope != "cloudevents":
            raise ValueError('cloudevents_mode is for CloudEvents only: write envelope = "cloudevents", or remove it')
        return self

    @model_validator(mode="after")
    def _check_catch_up(self) -> UpstreamConfig:
        if self.backlog_rate_max and self.catch_up != "live_first":
            raise ValueError('backlog_rate_max is for catch_up = "live_first" only: write that too, or remove it')
        if len(set(self.priorities)) < len(self.priorities):
            raise ValueError("priorities has a topic filter twice: remove the later one, which no event reaches")
        return self

    @model_validator(mode="after")
    def _check_backoff(self) -> UpstreamConfig:
        if self.backoff_initial_s > self.backoff_max_s:
            raise ValueError("backoff_initial_s is above backoff_max_s: lower the one or raise the other")
        return self


class ReplayConfig(BaseModel):
    """Section `[replay]`: limits of sending events again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    under_way_max: int = Field(default=4, ge=1, le=1000)
    """Replays that run or are paused; each has a connection of its own."""
    ended_max: int = Field(default=100, ge=0, le=10_000)
    """Replays that have ended and are kept to be looked at; beyond it the oldest go."""
