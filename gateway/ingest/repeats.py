"""Messages that may come again: stored, but their acknowledgement may not have reached the device. Pure.

MQTT marks a repeated QoS 1 message (DUP), but does not say which one it repeats; only its bytes do. If its contract
names a field with the device's number or time of a message, equal bytes are the same message. Without such a field two
true readings may be equal, and to drop one of them would lose an event, so such messages are not remembered here.
"""

from __future__ import annotations

from collections import OrderedDict


class Repeats:
    """The last messages of that kind, by whom they are from, their topic and payload; the oldest goes first.

    Args:
        messages_max: so many are remembered.
        bytes_max: of their payloads and topics.
    """

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self.limit(messages_max, bytes_max)
        self._known: OrderedDict[tuple[str, str, bytes], int] = OrderedDict()
        self._bytes = 0
        self.suppressed = 0
        """Messages that were not stored a second time."""

    def limit(self, messages_max: int, bytes_max: int) -> None:
        """Remember so many from the next one on."""
        self.messages_max = messages_max
        self._bytes_max = bytes_max

    def add(self, client_id: str, topic: str, payload: bytes, seq: int = 0) -> None:
        """A message was taken in as event `seq`."""
        key = client_id, topic, payload
        if key in self._known:
            self._known[key] = seq
            self._known.move_to_end(key)
            return
        self._known[key] = seq
        self._bytes += len(topic) + len(payload)
        while len(self._known) > self.messages_max or self._bytes > self._bytes_max:
            (_, old_topic, old_payload), _ = self._known.popitem(last=False)
            self._bytes -= len(old_topic) + len(old_payload)

    def seq_of(self, client_id: str, topic: str, payload: bytes) -> int | None:
        """The event that such a message was taken in as last; None: there was none, as far as is remembered."""
        return self._known.get((client_id, topic, payload))

    def is_known(self, client_id: str, topic: str, payload: bytes) -> bool:
        """Whether a message that is marked as a repeat is one that was taken in; counted if so."""
        known = (client_id, topic, payload) in self._known
        self.suppressed += known
        return known
