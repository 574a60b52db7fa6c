"""Devices under load with a ledger: each publishes as fast as it is acknowledged, whatever happens between."""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import Self

from tests.site.ports import wait_for
from tests.site.raw_client import PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, RawClient, acknowledge, publish

_RETRY_INTERVAL_S = 0.02


class Device(threading.Thread):
    """Publishes `{"device": ..., "n": 1, 2, 3...}`; what is not acknowledged is sent again, in order.

    Args:
        name: client id, and `load/<name>` the topic.
        port: of the gateway.
        window: most messages on their way.
        qos: 1, or 2 for exactly once (MQTT 3.1.1 section 4.3.3).
        retain_every: every so many messages one is retained; 0 for none.
    """

    def __init__(self, name: str, port: int, window: int, qos: int = 1, retain_every: int = 0) -> None:
        super().__init__(name=name, daemon=True)
        self.acknowledged: list[int] = []
        """Every n that the gateway has acknowledged, by PUBACK or PUBREC."""
        self.qos = qos
        self.stopping = threading.Event()
        self._port = port
        self._window = window
        self._retain_every = retain_every
        self._next_n = 1
        self._open: deque[int] = deque()
        self._releasing: deque[int] = deque()

    def run(self) -> None:
        while not self.stopping.is_set() or self._open or self._releasing:
            try:
                with RawClient(self._port) as client:
                    if client.connect(self.name, clean=False)[1] == 0:
                        self._publish(client)
            except (OSError, AssertionError):  # refused, reset, or closed instead of a CONNACK
                self.stopping.wait(_RETRY_INTERVAL_S)

    def _publish(self, client: RawClient) -> None:
        client.send(b"".join(acknowledge(PUBREL, self._packet_id(n)) for n in self._releasing))
        client.send(b"".join(self._frame(n, duplicate=True) for n in self._open))
        while True:
            while len(self._open) < self._window and not self.stopping.is_set():
                self._open.append(self._next_n)
                self._next_n += 1  # before it is sent: what fails to be sent is in the window already
                client.send(self._frame(self._open[-1]))
            if not self._open and not self._releasing:
                return
            answer = client.read()
            if answer is None:
                return
            self._take(client, answer)

    def _take(self, client: RawClient, answer: Packet) -> None:
        if answer.kind in {PUBACK, PUBREC}:
            n = self._open.popleft()
            assert answer.packet_id == self._packet_id(n), "acknowledged out of order"
            self.acknowledged.append(n)
        if answer.kind == PUBREC:
            self._releasing.append(n)
            client.send(acknowledge(PUBREL, answer.packet_id))
        elif answer.kind == PUBCOMP:
            assert answer.packet_id == self._packet_id(self._releasing.popleft()), "completed out of order"

    def abandon(self) -> None:
        """Stop, whatever is still to be acknowledged."""
        self.stopping.set()
        self._open.clear()
        self._releasing.clear()

    def _frame(self, n: int, *, duplicate: bool = False) -> bytes:
        payload = json.dumps({"device": self.name, "n": n}).encode()
        retain = self._retain_every > 0 and n % self._retain_every == 0
        packet_id = self._packet_id(n)
        return publish(f"load/{self.name}", payload, self.qos, packet_id, retain=retain, duplicate=duplicate)

    @staticmethod
    def _packet_id(n: int) -> int:
        return (n - 1) % 65_535 + 1


class Load:
    """Some devices; a context manager. With `exact_devices` more of them at QoS 2."""

    def __init__(
        self,
        port: int,
        devices: int = 4,
        window: int = 20,
        name: str = "device",
        *,
        exact_devices: int = 0,
        retain_every: int = 0,
    ) -> None:
        self.devices = [Device(f"{name}-{n}", port, window, 1, retain_every) for n in range(devices)]
        self.devices += [Device(f"{name}-exact-{n}", port, window, 2, retain_every) for n in range(exact_devices)]

    def __enter__(self) -> Self:
        for device in self.devices:
            device.start()
        return self

    def __exit__(self, *_: object) -> None:
        for device in self.devices:
            device.abandon()

    def count(self) -> int:
        """Events acknowledged so far."""
        return sum(len(device.acknowledged) for device in self.devices)

    def wait_acknowledged(self, more: int, timeout_s: float = 30) -> None:
        goal = self.count() + more
        wait_for(lambda: self.count() >= goal, timeout_s, f"{more} more acknowledged events")

    def finish(self, timeout_s: float = 30) -> None:
        """No new events; return when every event is acknowledged."""
        for device in self.devices:
            device.stopping.set()
        for device in self.devices:
            device.join(timeout_s)
            assert not device.is_alive(), f"{device.name} still waits for acknowledgements"

    def acknowledged(self) -> list[tuple[str, int]]:
        """For `device_sims.verdict.judge`."""
        return [(device.name, n) for device in self.devices for n in list(device.acknowledged)]
