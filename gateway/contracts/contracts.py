"""Judging messages: which contract is a topic's, and does a payload fulfil it?

Promises: `judge` never raises, whatever the bytes; it converts nothing; what it keeps of topics is bounded; it knows
no clock, no disk and no event loop. Of the contracts whose pattern matches a topic those with the most special
pattern count: a level that is written out is more special than one that has a name, and that more than '#'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from gateway.contracts.shape import Reason, plain
from gateway.contracts.stamps import Unfit
from gateway.contracts.verdict import VALUE_CHARACTERS_MAX, Stamp, Violation
from gateway.topics import FilterIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.contracts.codecs import Codec
    from gateway.contracts.shape import Shape
    from gateway.contracts.stamps import Stamper
    from gateway.contracts.verdict import Policy
    from gateway.patterns import TopicPattern

WithoutContract: TypeAlias = Literal["allow", "flag", "refuse"]
TOPICS_MAX = 10_000
"""Topics whose contracts are kept at hand, about 300 bytes each, unless it is told otherwise."""
REFUSALS = (ValueError, ArithmeticError, RecursionError)
"""What decoding and judging raise for a payload that is not as it should be."""


class Contract:
    """One `[contracts.NAME]` section, ready to judge."""

    def __init__(
        self,
        name: str,
        version: str,
        pattern: TopicPattern,
        policy: Policy,
        codec: Codec,
        decode: Callable[[bytes], Any],
        shape: Shape,
        stamper: Stamper | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.pattern = pattern
        self.policy = policy
        self.codec = codec
        self.decode = decode
        self.shape = shape
        self.fulfil = shape.fulfil
        self.stamper = stamper
        self.at_once = shape.at_once if codec == "json" and stamper is None else None
        """See `AtOnce`; None as well once a payload came that it is no use for."""

    def json_schema(self) -> dict[str, Any]:
        """What a payload is, once it is decoded, as JSON Schema."""
        return self.shape.json_schema()

    def examine(
        self, payload: bytes, refusal: Exception | None = None
    ) -> Reason | tuple[int | None, int | None] | None:
        """What is wrong with a payload; what it says of number and time if it fulfils this contract, None if nothing.

        Slower than to try `decode` and `fulfil`, which refuse some payloads that are right; `refusal` is what they have
        raised, if they were called.
        """
        try:
            value = self.decode(payload)
        except REFUSALS:
            return Reason("", "codec", plain(payload[: 2 * VALUE_CHARACTERS_MAX].decode(errors="backslashreplace")))
        reason = self.shape.reason(value, refusal)
        if reason is not None:
            return reason
        if self.stamper is None:
            return None
        try:
            stamp = self.stamper.read(value)
        except Unfit as error:
            return error.reason
        return None if stamp == (None, None) else stamp


class _Bound(NamedTuple):
    """What a topic is judged by."""

    device: str
    contracts: tuple[Contract, ...]
    """Newest first; none: the topic has no contract."""


class Contracts:
    """All contracts of a gateway."""

    def __init__(
        self,
        contracts: Sequence[Contract] = (),
        without_contract: WithoutContract = "allow",
        topics_max: int = TOPICS_MAX,
    ) -> None:
        """`contracts` are in order of preference where several are on one topic: newest first.

        The contracts of `topics_max` topics are kept at hand; beyond it the topic that came first is looked up again.
        """
        self.all = tuple(contracts)
        self._without_contract = without_contract
        self._topics_max = topics_max
        self._index: FilterIndex[Contract] = FilterIndex()
        for contract in self.all:
            self._index.add(contract.pattern.filter, contract)
        self._bound: dict[str, _Bound] = {}

    def __bool__(self) -> bool:
        """Whether there is anything to judge."""
        return bool(self.all) or self._without_contract != "allow"

    @property
    def stamped(self) -> frozenset[str]:
        """Names of the contracts that name a field with the device's own number or time."""
        return frozenset(contract.name for contract in self.all if contract.stamper is not None)

    def judge(self, topic: str, payload: bytes) -> Violation | Stamp | None:
        """What is to be said about a message to the valid `topic`; None: it is accepted, and there is nothing to say.

        Where a topic has several contracts, a payload that fulfils any of them is accepted; else the first one's reason
        is told.
        """
        bound = self._bound.get(topic) or self._bind(topic)
        refusal: Exception | None = None
        for contract in bound.contracts:
            try:
                at_once = contract.at_once
                if at_once is not None:
                    if payload.count(58) == len(at_once(payload)[2]):  # as many colons as fields: no key is overlooked
                        return None
                    contract.at_once = None  # from payloads with more in them two steps are quicker
                value = contract.decode(payload)
                contract.fulfil(value)
                stamper = contract.stamper
                if stamper is None:
                    return None
                sequence, time_ns = stamper.read(value)
            except REFUSALS as error:
                refusal = error
                continue
            if sequence is None and time_ns is None:
                return None
            return Stamp(contract.name, bound.device, sequence, time_ns)
        return self._explain(bound, topic, payload, refusal if len(bound.contracts) == 1 else None)

    def stamp(self, topic: str, payload: bytes) -> Stamp | None:
        """What an accepted message says of its time and number; None if its contract names no field for them."""
        verdict = self.judge(topic, payload)
        return verdict if isinstance(verdict, Stamp) else None

    def contracts_of(self, topic: str) -> tuple[Contract, ...]:
        """What judges messages to the valid `topic`, newest first."""
        return self._look_up(topic).contracts

    def _explain(
        self, bound: _Bound, topic: str, payload: bytes, refusal: Exception | None
    ) -> Violation | Stamp | None:
        """The verdict on a payload that no contract accepted at first sight."""
        if not bound.contracts:
            if self._without_contract == "allow":
                return None
            policy: Policy = "flag" if self._without_contract == "flag" else "reject"
            return Violation("", "", "", "", "contract", plain(topic), policy)
        first: Violation | None = None
        for contract in bound.contracts:
            found = contract.examine(payload, refusal)
            if found is None:
                return None
            if not isinstance(found, Reason):
                return Stamp(contract.name, bound.device, *found)
            first = first or Violation(contract.name, contract.version, bound.device, *found, contract.policy)
        return first

    def _bind(self, topic: str) -> _Bound:
        bound = self._look_up(topic)
        if len(self._bound) >= self._topics_max:
            del self._bound[next(iter(self._bound))]
        self._bound[topic] = bound
        return bound

    def _look_up(self, topic: str) -> _Bound:
        matching = self._index.match(topic)
        if not matching:
            return _Bound("", ())
        best = min(_specialty(contract.pattern.filter) for contract in matching)
        chosen = tuple(each for each in self.all if each in matching and _specialty(each.pattern.filter) == best)
        named = (contract.pattern.match(topic) or {} for contract in chosen)
        return _Bound(next((names["device"] for names in named if "device" in names), ""), chosen)


def _specialty(topic_filter: str) -> list[int]:
    """Sorts filters that match one topic: the first is the most special."""
    return [{"+": 1, "#": 2}.get(level, 0) for level in topic_filter.split("/")]


NO_CONTRACTS = Contracts()
"""Accepts everything."""
