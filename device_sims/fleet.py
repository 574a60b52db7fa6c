"""Fleet files: which devices there are and how they behave.

A fleet is one TOML file. Unknown keys and impossible values are errors that name the key, what is wrong with it
and what to write; nothing is guessed or ignored.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from device_sims.errors import UsageError
from device_sims.profiles import PROFILES

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]


class Group(BaseModel):
    """Devices of one kind that behave alike."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    count: int = Field(ge=1, le=9999, strict=True)
    profile: str
    rate_hz: float = Field(gt=0, le=1000, allow_inf_nan=False, strict=True)
    jitter: float = Field(default=0.1, ge=0, le=1, strict=True)
    qos: int = Field(default=1, ge=0, le=2, strict=True)
    inflight_max: int = Field(default=10, ge=1, le=1000, strict=True)
    buffer_events_max: int = Field(default=1000, ge=1, le=1_000_000, strict=True)
    retain: bool = Field(default=False, strict=True)

    @field_validator("profile")
    @classmethod
    def _is_known(cls, profile: str) -> str:
        if profile not in PROFILES:
            raise ValueError(f"there is no profile {profile!r}; write one of {', '.join(sorted(PROFILES))}")
        return profile


class Heading(BaseModel):
    """What holds for the whole fleet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    seed: int = Field(default=1, ge=-(2**63), lt=2**63, strict=True)
    topic: str = "devices/{device}/{profile}"

    @field_validator("topic")
    @classmethod
    def _is_a_topic(cls, topic: str) -> str:
        example = "write something like devices/{device}/{profile}"
        if "{device}" not in topic:
            raise ValueError(f"the topic does not contain {{device}}, so devices would share it; {example}")
        rest = topic.replace("{device}", "").replace("{profile}", "")
        if any(forbidden in rest for forbidden in "{}+#\0") or topic.startswith("$") or len(topic) > 200:
            raise ValueError(f"only {{device}} and {{profile}} are filled in, and + # are not for topics; {example}")
        return topic


class Fleet(BaseModel):
    """A fleet file as read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fleet: Heading
    groups: tuple[Group, ...]

    @model_validator(mode="after")
    def _has_distinct_groups(self) -> Self:
        if not self.groups:
            raise ValueError("a fleet without devices; add a [[groups]] table")
        names = [group.name for group in self.groups]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two groups are named {name!r}, so their devices would be too; rename one")
        return self

    @property
    def device_count(self) -> int:
        """How many devices the fleet has."""
        return sum(group.count for group in self.groups)

    @property
    def events_hz(self) -> float:
        """How many events the fleet generates in a second."""
        return sum(group.count * group.rate_hz for group in self.groups)

    def devices(self) -> Iterator["DeviceSpec"]:
        """Every device, group by group."""
        for group in self.groups:
            for index in range(group.count):
                device = f"{group.name}-{index + 1:04d}"
                topic = self.fleet.topic.replace("{device}", device).replace("{profile}", group.profile)
                yield DeviceSpec(device, index, topic, group)

    def adjusted(self, *, rate_factor: float = 1.0, qos: int | None = None) -> "Fleet":
        """The same fleet with every rate multiplied and, if given, every QoS replaced.

        Raises:
            UsageError: a rate would leave its limits.
        """
        change: dict[str, Any] = {} if qos is None else {"qos": qos}
        try:
            groups = [
                Group.model_validate(group.model_dump() | {"rate_hz": group.rate_hz * rate_factor} | change)
                for group in self.groups
            ]
        except ValidationError as error:
            raise UsageError(
                f"--rate {rate_factor:g} takes a device out of its limits", hint="a device sends 0 < rate_hz <= 1000"
            ) from error
        return self.model_copy(update={"groups": tuple(groups)})


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device of a fleet."""

    device: str
    index: int
    topic: str
    group: Group


def load_fleet(path: Path) -> Fleet:
    """The fleet in the file at `path`.

    Raises:
        UsageError: the file is missing, is not TOML, or says something impossible.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the fleet file {path}: {error.strerror}", hint="check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}", hint="mend the line it names") from error
    try:
        return Fleet.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path} is not a fleet:\n{_described(error)}", hint="mend the keys named above") from error


def _described(error: ValidationError) -> str:
    """One line for each finding: the key, what is wrong, and what to write."""
    return "\n".join(f"  {_key(found['loc'])}: {_complaint(found)}" for found in error.errors(include_url=False))


def _key(location: tuple[int | str, ...]) -> str:
    """`groups[0].rate_hz` for `("groups", 0, "rate_hz")`."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return key.removeprefix(".") or "the file"


def _complaint(found: Any) -> str:
    kind, location = found["type"], found["loc"]
    if kind == "extra_forbidden":
        model = Group if location[0] == "groups" else Heading if len(location) > 1 else Fleet
        return f"unknown key; write one of {', '.join(model.model_fields)}"
    if kind == "missing":
        return "is missing; add it"
    message = str(found["msg"]).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        message = "write 1 to 32 letters, digits, - or _, beginning with a letter or digit"
    return message if kind == "value_error" else f"{message} (found {found['input']!r})"
