"""What an MQTT client says of itself and what the server answers, whatever the version of the protocol. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.errors import DeliveryError
    from gateway.event import Event
    from gateway.mqtt_reasons import Poison

INCOMING_BYTES_MAX = 64 * 1024
"""A server has nothing to say to a client without subscriptions that would be longer."""
INFLIGHT_MAX = 65_535
"""There are no more packet ids."""
PACKET_BYTES_MAX = 268_435_460
"""The largest packet there is (section 2.1.4)."""
CONNACK, PUBACK, PINGRESP, DISCONNECT = 0x20, 0x40, 0xD0, 0xE0
"""First bytes of the packets a server sends to such a client (MQTT 5.0 and 3.1.1, section 2.1)."""
DISCONNECT_PACKET = b"\xe0\x00"
PINGREQ_PACKET = b"\xc0\x00"


@dataclass(frozen=True, slots=True)
class Login:
    """What CONNECT carries."""

    client_id: str
    keep_alive_s: int
    username: str | None = None
    password: bytes | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """What may be sent: what we want of it, or what CONNACK grants."""

    inflight_max: int = INFLIGHT_MAX
    """Publishes the server takes without having acknowledged them (Receive Maximum)."""
    packet_bytes_max: int = PACKET_BYTES_MAX
    """Largest packet the server takes."""
    retain: bool = True
    """Whether the server takes retained messages."""
    keep_alive_s: int | None = None
    """Longest silence; None: as we wish, 0: any."""

    def within(self, granted: Session) -> Session:
        """These limits, narrowed to what a server has granted."""
        return Session(
            inflight_max=min(self.inflight_max, granted.inflight_max),
            packet_bytes_max=min(self.packet_bytes_max, granted.packet_bytes_max),
            retain=self.retain and granted.retain,
            keep_alive_s=self.keep_alive_s if granted.keep_alive_s is None else granted.keep_alive_s,
        )


class Answer(NamedTuple):
    """A PUBACK."""

    packet_id: int
    refusal: DeliveryError | Poison | None
    """None: the server has the message."""


class Publish(Protocol):
    """Makes PUBLISH packets at QoS 1 of a run of events."""

    def __call__(self, events: Sequence[Event], packet_id: int, *, retain: bool, bytes_max: int) -> list[bytes]:
        """One of each event, or of the leading ones that make `bytes_max`: the last one may go beyond it.

        Args:
            events: to be sent, at least one.
            packet_id: of the first; the others follow on it, and none may be above `INFLIGHT_MAX`.
            retain: whether the RETAIN flag of an event is passed on.
            bytes_max: when to stop.

        Raises:
            ValueError: of one of them no packet can be made, or not of all; whoever asks for one at a time learns
                of which.
        """
        ...


class Dialect(Protocol):
    """One version of the protocol, as far as a publisher needs it. Malformed packets raise `ValueError`."""

    def connect(self, login: Login) -> bytes:
        """CONNECT with a clean start."""
        ...

    def session(self, connack: bytes) -> Session | DeliveryError:
        """What the body of a CONNACK says."""
        ...

    @property
    def publish(self) -> Publish:
        """Makes PUBLISH packets."""
        ...

    def answer(self, puback: bytes) -> Answer:
        """What the body of a PUBACK says."""
        ...

    def farewell(self, disconnect: bytes) -> DeliveryError | Poison:
        """What the body of a DISCONNECT from the server says."""
        ...
