"""What an operator may set about an external broker (section `[broker]` with `mode = "external"`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway import mqtt_address
from gateway.client_tls import ClientTlsConfig
from gateway.external import device
from gateway.topics import is_valid_filter

if TYPE_CHECKING:
    from gateway.mqtt_address import MqttAddress

_FOR_EVER_S = 0xFFFFFFFF
"""A session expiry of this means never (MQTT 5.0 section 3.1.2.11.2)."""


class ExternalBrokerConfig(ClientTlsConfig):
    """Which broker to take events from, as whom, and how much of it at a time."""

    mode: Literal["external"]
    """That this is about an external broker."""
    url: str
    """mqtt://host:port, or mqtts://host:port for TLS; the ports default to 1883 and 8883."""
    topics: list[str] = Field(default=["#"], min_length=1)
    """Topic filters to subscribe to."""
    device_patterns: list[str] = Field(default=[])
    """Where in a topic the device's name stands: the level `{device}` of the first pattern that matches. Without a
    match it is the second level of the topic, or the first if there is no second."""
    version: Literal["5", "3.1.1"] = "5"
    """Version of MQTT."""
    client_id: str | None = Field(default=None, min_length=1, max_length=200)
    """Name of our session at the broker; by default made of the gateway's id."""
    username: str | None = None
    """User name to log in with."""
    password_file: str | None = None
    """File with the password, read at each connect."""
    keep_alive_s: int = Field(default=30, ge=1, le=65_535)
    """Silence after which the broker is asked."""
    session_expiry_s: int = Field(default=604_800, ge=0, le=_FOR_EVER_S - 1)
    """How long the broker shall keep our session, and what it owes us, while we are away. 0 is for ever."""
    receive_max: int = Field(default=1000, ge=1, le=65_535)
    """Messages that the broker may send before we acknowledge one; only MQTT 5 tells it."""
    packet_bytes_max: int = Field(default=266_240, ge=1024, le=268_435_455)
    """Largest packet that the broker may send; with MQTT 5 it keeps larger messages to itself and forgets them."""
    connect_timeout_s: float = Field(default=10, gt=0)
    """Limit for connecting, and for each answer while logging in."""
    backoff_initial_s: float = Field(default=1, gt=0)
    """Wait after the first failure; it doubles."""
    backoff_max_s: float = Field(default=30, gt=0)
    """Limit of the wait between two tries."""
    blocked_retry_s: float = Field(default=60, gt=0)
    """Wait between tries while the broker does not let us in."""

    @field_validator("url")
    @classmethod
    def _url_can_be_read(cls, url: str) -> str:
        mqtt_address.parse(url)
        return url

    @field_validator("topics")
    @classmethod
    def _topics_are_filters(cls, topics: list[str]) -> list[str]:
        for each in topics:
            if not is_valid_filter(each):
                raise ValueError(
                    f"{each!r} is not an MQTT topic filter: '+' and '#' fill a whole level, '#' only the last one"
                )
        return list(dict.fromkeys(topics))

    @field_validator("device_patterns")
    @classmethod
    def _patterns_name_a_device(cls, patterns: list[str]) -> list[str]:
        for each in patterns:
            device.pattern(each)
        return patterns

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if self.password_file is not None and self.username is None:
            raise ValueError("a password needs a username")
        if self.backoff_initial_s > self.backoff_max_s:
            raise ValueError("backoff_initial_s is above backoff_max_s: lower the one or raise the other")
        if self.tls_keys and not self.address.tls:
            raise ValueError(f"{self.tls_keys[0]} needs an mqtts:// url")
        return self

    @property
    def address(self) -> MqttAddress:
        """`url`, read."""
        return mqtt_address.parse(self.url)

    @property
    def expiry_s(self) -> int:
        """`session_expiry_s` as MQTT 5 has it."""
        return self.session_expiry_s or _FOR_EVER_S
