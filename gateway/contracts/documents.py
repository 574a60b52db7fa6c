"""Reads payloads of any codec, for whoever looks into them: by the contracts of their topic, as JSON without any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.contracts.codecs import decoder_of
from gateway.contracts.contracts import REFUSALS, TOPICS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.contracts.contracts import Contracts


class Documents:
    """Of one set of contracts.

    Args:
        contracts: say which codec a topic has.
    """

    def __init__(self, contracts: Contracts) -> None:
        self._contracts = contracts
        self._decoders: dict[str, tuple[Callable[[bytes], Any], ...]] = {}
        self._json = decoder_of("json")

    def of(self, topic: str, payload: bytes) -> Any:
        """The value in a payload, whether it fulfils a contract or not.

        Raises:
            ValueError: it has none that its codec, or JSON, could be read as.
        """
        for decode in self._decoders.get(topic) or self._look_up(topic):
            try:
                return decode(payload)
            except REFUSALS:
                continue
        raise ValueError("no contract of the topic reads this")

    def _look_up(self, topic: str) -> tuple[Callable[[bytes], Any], ...]:
        if len(self._decoders) >= TOPICS_MAX:
            self._decoders.clear()
        found = tuple(contract.decode for contract in self._contracts.contracts_of(topic))
        decoders = self._decoders[topic] = found or (self._json,)
        return decoders
