"""The whole configuration as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator

from gateway.broker.config import BrokerConfig
from gateway.broker.roles import BUILT_IN_ROLES, RightsConfig, RoleConfig
from gateway.contracts.config import ContractConfig
from gateway.eventlog.config import LogConfig, QuarantineConfig
from gateway.external.config import ExternalBrokerConfig
from gateway.forward.config import ReplayConfig
from gateway.health.clocksync import ClockMode
from gateway.ingest.config import IngestConfig
from gateway.upstreams.kinds import AnyUpstreamConfig

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Letters, digits, '.', '_' and '-', at most 64."""


def mode_of(broker: Any) -> str:
    """Which of the two a section `[broker]` is: `embedded` or `external`; any other text is a mistake."""
    return str(broker.get("mode", "embedded") if isinstance(broker, dict) else getattr(broker, "mode", "embedded"))


AnyBrokerConfig: TypeAlias = Annotated[
    Annotated[BrokerConfig, Tag("embedded")] | Annotated[ExternalBrokerConfig, Tag("external")],
    Discriminator(
        mode_of,
        custom_error_type="mode",
        custom_error_message='write mode = "embedded" (this gateway is the broker) or "external" (another one is)',
    ),
]
"""Section `[broker]`; `mode` tells which."""


class GatewayConfig(BaseModel):
    """Section `[gateway]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name
    """Names the source of every event."""
    data_dir: Path
    """Segments in `<data_dir>/log`, the rest in `<data_dir>/state.db`."""
    clock: ClockMode = "kernel"
    """On whose word the wall clock is right."""
    clock_wait_s: float = Field(default=60, ge=0)
    """How long forwarding waits, once, for the clock to be set, where systemd-timesyncd or chrony runs; 0: not at
    all."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    stop_timeout_s: float = Field(default=2, gt=0)
    """Time for what devices have sent to reach the disk when the gateway is told to stop."""


class Config(BaseModel):
    """Everything an operator may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gateway: GatewayConfig
    broker: AnyBrokerConfig = BrokerConfig()
    log: LogConfig = LogConfig()
    quarantine: QuarantineConfig = QuarantineConfig()
    upstreams: dict[Name, AnyUpstreamConfig] = {}
    rights: RightsConfig = RightsConfig()
    roles: dict[Name, RoleConfig] = {}
    replay: ReplayConfig = ReplayConfig()
    ingest: IngestConfig = IngestConfig()
    contracts: dict[Name, ContractConfig] = {}
    include: list[str] = []
    """Files with more contracts and roles, relative to this one."""

    @model_validator(mode="after")
    def _roles_exist(self) -> Self:
        for name in BUILT_IN_ROLES:
            if name in self.roles:
                raise ValueError(f"roles.{name}: this role is built in; give yours another name, or write [rights]")
        if isinstance(self.broker, ExternalBrokerConfig):
            return self
        wanted = {f"broker.users.{name}": user.role for name, user in self.broker.users.items()}
        for key, role in {**wanted, "rights.anonymous_role": self.rights.anonymous_role}.items():
            if role is not None and role not in {*BUILT_IN_ROLES, *self.roles}:
                raise ValueError(f"{key}: there is no role {role!r}; add a section [roles.{role}]")
        return self

    @model_validator(mode="after")
    def _nobody_logs_in_at_an_external_broker_here(self) -> Self:
        # Roles may stand here all the same: they come with files that are included for their contracts.
        if isinstance(self.broker, ExternalBrokerConfig) and "rights" in self.model_fields_set:
            raise ValueError(
                'rights: with broker.mode = "external" devices log in at that broker, which has rights of its own; '
                "remove this section"
            )
        return self
