"""Devices under load with a ledger: each publishes at QoS 1 as fast as it is acknowledged, whatever happens between."""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import Self

from tests.site.ports import wait_for
from tests.site.raw_client import PUBACK, RawClient, publish

_RETRY_INTERVAL_S = 0.02


class Device(threading.Thread):
    """Publishes `{"device": ..., "n": 1, 2, 3...}`; what is not acknowledged is sent again, in order."""

    def __init__(self, name: str, port: int, window: int) -> None:
        super().__init__(name=name, daemon=True)
        self.acknowledged: list[int] = []
        """Every n that the gateway has acknowledged."""
        self.stopping = threading.Event()
        self._port = port
        self._window = window
        self._next_n = 1
        self._open: deque[int] = deque()

    def run(self) -> None:
        while not self.stopping.is_set() or self._open:
            try:
                with RawClient(self._port) as client:
                    if client.connect(self.name, clean=False)[1] == 0:
                        self._publish(client)
            except (OSError, AssertionError):  # refused, reset, or closed instead of a CONNACK
                self.stopping.wait(_RETRY_INTERVAL_S)

    def _publish(self, client: RawClient) -> None:
        client.send(b"".join(self._frame(n, duplicate=True) for n in self._open))
        while True:
            while len(self._open) < self._window and not self.stopping.is_set():
                self._open.append(self._next_n)
                client.send(self._frame(self._next_n))
                self._next_n += 1
            if not self._open:
                return
            answer = client.read()
            if answer is None:
                return
            if answer.kind == PUBACK:
                n = self._open.popleft()
                assert answer.packet_id == self._packet_id(n), "acknowledged out of order"
                self.acknowledged.append(n)

    def _frame(self, n: int, *, duplicate: bool = False) -> bytes:
        payload = json.dumps({"device": self.name, "n": n}).encode()
        return publish(f"load/{self.name}", payload, 1, self._packet_id(n), duplicate=duplicate)

    @staticmethod
    def _packet_id(n: int) -> int:
        return (n - 1) % 65_535 + 1


class Load:
    """Some devices; a context manager."""

    def __init__(self, port: int, devices: int = 4, window: int = 20, name: str = "device") -> None:
        self.devices = [Device(f"{name}-{n}", port, window) for n in range(devices)]

    def __enter__(self) -> Self:
        for device in self.devices:
            device.start()
        return self

    def __exit__(self, *_: object) -> None:
        for device in self.devices:
            device.stopping.set()
            device._open.clear()

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
