"""What contracts tell an upstream of an event: type, time of the device, how its payload is written. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.contracts.config import family_and_version
from gateway.contracts.contracts import NO_CONTRACTS
from gateway.contracts.shape import Reason

if TYPE_CHECKING:
    from gateway.contracts.contracts import Contract, Contracts

DEFAULT_TYPE = "gateway.message"
"""Of events from topics without a contract."""
_MEDIA_TYPES = {"cbor": "application/cbor", "msgpack": "application/vnd.msgpack"}
"""By codec; what any other writes is seen from the payload. Sources: RFC 8949, IANA's registry of media types."""
_TIME_NS_MAX = 253_402_300_800 * 10**9
"""The year 10000, which RFC 3339 cannot write."""
_TOPICS_CACHED_MAX = 10_000
"""Topics of which the types are remembered; beyond it all are forgotten at once, which costs little and is bounded."""


class InForce(Protocol):
    """Knows the contracts that are in force now; they may be replaced at any time, as a whole."""

    @property
    def contracts(self) -> Contracts:
        """All of them."""
        ...


class _Never:
    """Knows of no contracts."""

    contracts = NO_CONTRACTS


class Description(NamedTuple):
    """Of one event."""

    type: str
    time_ns: int | None
    """The device's own time, UTC, nanoseconds since 1970; None if there is none."""
    media_type: str = ""
    """Of a payload that fulfils its contract, where it cannot be seen; else empty."""


class _Topic(NamedTuple):
    """What all events of a topic have in common."""

    contracts: tuple[Contract, ...]
    """Newest first."""
    types: dict[str, Description]
    """By name of the contract, without a time."""
    has_stamps: bool
    """Whether a contract names a field with the device's own time or number."""


_NOTHING = Description(DEFAULT_TYPE, None)


class Descriptions:
    """Describes events by the contracts of their topics.

    Args:
        in_force: tells the contracts.
    """

    def __init__(self, in_force: InForce | None = None) -> None:
        self._in_force: InForce = in_force or _Never()
        self._contracts = self._in_force.contracts
        self._topics: dict[str, _Topic] = {}

    def of(self, topic: str, payload: bytes) -> Description:
        """What is said of an event.

        Where several contracts are on its topic, its type is that of the newest one that it fulfils; of an event that
        fulfils none, which was let pass with a mark or came before the contract, it is that of the newest.
        """
        if self._in_force.contracts is not self._contracts:
            self._contracts = self._in_force.contracts
            self._topics.clear()
        known = self._topics.get(topic) or self._look_at(topic)
        if not known.contracts:
            return _NOTHING
        if known.has_stamps and (stamp := self._contracts.stamp(topic, payload)) is not None:
            time_ns = stamp.time_ns
            if time_ns is None or not 0 <= time_ns < _TIME_NS_MAX:
                return known.types[stamp.contract]
            return known.types[stamp.contract]._replace(time_ns=time_ns)
        newest = known.contracts[0]
        if len(known.contracts) == 1:
            return known.types[newest.name]
        fulfilled = (each for each in known.contracts if not isinstance(each.examine(payload), Reason))
        return known.types[next(fulfilled, newest).name]

    def _look_at(self, topic: str) -> _Topic:
        if len(self._topics) >= _TOPICS_CACHED_MAX:
            self._topics.clear()
        contracts = self._contracts.contracts_of(topic)
        types = {each.name: Description(type_of(each), None, _MEDIA_TYPES.get(each.codec, "")) for each in contracts}
        has_stamps = any(each.stamper is not None for each in contracts)
        known = self._topics[topic] = _Topic(contracts, types, has_stamps)
        return known


def type_of(contract: Contract) -> str:
    """The type of events that fulfil a contract."""
    family, _ = family_and_version(contract.name, contract.version)
    return f"{family}.v{contract.version}"
