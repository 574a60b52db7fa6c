"""A device that stays connected and counts: whatever it was told, it was told on the one connection it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.site.raw_client import PINGRESP, PUBACK, packet, publish

if TYPE_CHECKING:
    from tests.site.raw_client import RawClient

PAYLOAD_BYTES = 1000


class Publisher:
    """Publishes at QoS 1 on `<name>/t`; every payload is told apart by name and number."""

    def __init__(self, client: RawClient, name: str = "device", payload_bytes: int = PAYLOAD_BYTES) -> None:
        self.client = client.join(name)
        self.name = name
        self.sent = 0
        self.acknowledged = 0
        """The first so many of those sent are acknowledged."""
        self._payload_bytes = payload_bytes

    def payload(self, n: int) -> bytes:
        return f"{self.name} {n} ".encode().ljust(self._payload_bytes, b".")

    def send(self) -> None:
        self.sent += 1
        self.client.send(publish(f"{self.name}/t", self.payload(self.sent), 1, self.sent))

    def ping(self) -> None:
        """Everything that was to be told before is told when this returns: the connection lives."""
        self.client.send(packet(0xC0))
        while self.take() != PINGRESP:
            pass

    def wait_acknowledged(self) -> None:
        while self.acknowledged < self.sent:
            self.take()

    def take(self) -> int:
        """Read one packet; its kind."""
        got = self.client.read()
        assert got is not None, "the connection was closed"
        if got.kind == PUBACK:
            self.acknowledged += 1
            assert got.packet_id == self.acknowledged, "acknowledged out of order"
        return got.kind
