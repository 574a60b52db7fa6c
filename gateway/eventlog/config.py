"""What an operator may set about the event log (section `[log]`)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_MIB = 1024 * 1024


class QuarantineConfig(BaseModel):
    """How much the quarantine may hold (section `[quarantine]`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events_max: int = Field(default=10_000, ge=1)
    """Events in quarantine, those of all contracts and upstreams together."""
    bytes_max: int = Field(default=16 * _MIB, ge=1024)
    """The same limit in bytes: topic, payload and properties of each, and 400 more."""
    policy: Literal["drop_oldest", "refuse"] = "drop_oldest"
    """What becomes of more. drop_oldest: the oldest go, those that were released first. refuse: it keeps what it has,
    and further ones get no place in it. Either is booked in the loss ledger, the event itself is acknowledged and stays
    in the log as long as retention keeps it, and nothing waits for room."""


class LogConfig(BaseModel):
    """Limits and intervals of the event log; durability is not among them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segment_bytes_max: int = Field(default=64 * _MIB, ge=64 * 1024)
    """A segment that has grown to this size is sealed and the next one begun."""
    batch_events_max: int = Field(default=2_000, ge=1)
    """Most events in one transaction; together with `batch_bytes_max` it bounds one commit's time."""
    batch_bytes_max: int = Field(default=4 * _MIB, ge=1024)
    """Most bytes of topics and payloads in one transaction, one event of any size excepted."""
    commit_interval_ms: float = Field(default=1, ge=0, le=1000)
    """Shortest time between the beginnings of two commits. More makes acknowledgements later and writes fewer; never
    less durable."""
    commit_gather_ms: float = Field(default=5, ge=0, le=1000)
    """How long after a commit the next one waits for more events, so that not each few have a commit
    of their own. It waits no longer when everybody whom the last commit acknowledged has sent again: a device that
    waits for its acknowledgement is not held up, and none is after a rest of that length."""
    pending_bytes_max: int = Field(default=2 * _MIB, ge=4096)
    """Bytes of events waiting for a commit; beyond it, devices are no longer read from."""
    recent_bytes_max: int = Field(default=4 * _MIB, ge=0)
    """Bytes of the newest committed events kept in memory for forwarders that are level with the log."""
    reserve_bytes: int = Field(default=_MIB, ge=0)
    """Room kept on the disk for cursors and the rest of `state.db` when it is full. No event is stored without it;
    0 keeps none."""
    cursor_interval_s: float = Field(default=0.5, gt=0)
    """How often moved cursors are made durable; after a crash an upstream sees at most this much again."""
    retention_policy: Literal["drop_oldest", "refuse_new"] = "drop_oldest"
    """What becomes of events beyond a limit that some upstream does not have yet. drop_oldest: whole segments go, and
    what is dropped is booked in the loss ledger first. refuse_new: they stay; while they take more than
    `retention_bytes_max`, devices are not read from, so nothing is acknowledged."""
    retention_bytes_max: int = Field(default=4 * 1024 * _MIB, ge=0)
    """Whole segments, oldest first, are removed while the log is larger than this; the one being written stays. 0 is no
    limit."""
    retention_age_s: float = Field(default=0, ge=0)
    """Whole segments older than this are removed, under refuse_new only once every upstream has them. 0 is no limit."""
    retention_interval_s: float = Field(default=10, gt=0)
    """How often retention looks."""
    retained_messages_max: int = Field(default=10_000, ge=1)
    """Retained messages; beyond it a message is stored and delivered, but not retained. One client may have half."""
    retained_bytes_max: int = Field(default=16 * 1024 * 1024, ge=1024)
    """The same limit in bytes, of which a retained message takes 400 beside its topic and payload."""
    card_endurance_tb: float | None = Field(default=None, gt=0)
    """Terabytes the card or disk may be written in its life, as its maker says (TBW); `gateway status` then tells how
    many years that is at the present pace."""
    retry_interval_s: float = Field(default=1, gt=0)
    """After a write that the disk refused: time until the next attempt. Nothing is acknowledged meanwhile."""
