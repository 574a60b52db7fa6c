"""An outbox and the wire that it sends to: one that keeps all it is sent, and is slow if a test says so."""

from __future__ import annotations

from gateway.broker.allowance import Allowance
from gateway.broker.config import BrokerConfig
from gateway.broker.outbox import Message, Outbox
from tests.unit.broker import wire
from tests.unit.broker.wire import Delivered, delivered


class Wire:
    """Fulfils `gateway.broker.outbox.Wire`: keeps what it is sent, and owes it while the network is slow."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.owed = 0
        self.slow = False
        self.aborted = False

    def send(self, data: bytes) -> None:
        assert data
        self.sent += data
        if self.slow:
            self.owed += len(data)

    def owed_bytes(self) -> int:
        return self.owed

    def abort(self, reason: str) -> None:
        assert reason
        self.aborted = True

    def take(self) -> list[wire.Packet]:
        packets, self.sent = wire.split(bytes(self.sent)), bytearray()
        return packets

    def deliveries(self) -> list[Delivered]:
        return [delivered(packet) for packet in self.take()]

    def payloads(self) -> list[bytes]:
        return [each.payload for each in self.deliveries()]


def message(number: int, qos: int = 1, size: int = 0) -> Message:
    return Message("t", str(number).encode().ljust(size, b"."), qos, retain=False)


def box(**limits: object) -> Outbox:
    config = BrokerConfig.model_validate(limits)
    return Outbox("sub", config, Allowance(config.subscribers_bytes_max))


def attached(**limits: int) -> tuple[Outbox, Wire]:
    outbox, socket = box(**limits), Wire()
    outbox.attach(socket)
    return outbox, socket


def deliver(outbox: Outbox, *numbers: int, qos: int = 1, size: int = 0) -> None:
    for number in numbers:
        outbox.add(message(number, qos, size))
    outbox.flush()
