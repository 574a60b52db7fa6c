"""Devices that send all they can, whether anybody keeps up or not."""

from __future__ import annotations

import select
import socket
import threading
from typing import Self

from tests.site.raw_client import PINGRESP, RawClient, packet, publish

_CHUNK_BYTES = 256 * 1024
_IO_TIMEOUT_S = 60.0
_PING_ANSWER = packet(PINGRESP << 4)


class _Device(threading.Thread):
    def __init__(self, name: str, port: int, frame: bytes, total_bytes: int, answer_bytes: int) -> None:
        super().__init__(name=name, daemon=True)
        self._port, self._frame = port, frame
        self._answer_bytes = answer_bytes
        self._left = max(1, total_bytes // len(frame))
        self.stopping = threading.Event()
        self.sent = 0
        self.client: RawClient | None = None

    def run(self) -> None:
        received = 0
        each = max(1, _CHUNK_BYTES // len(self._frame))
        with RawClient(self._port).join(self.name) as self.client:
            self.client.socket.settimeout(_IO_TIMEOUT_S)
            try:
                while self._left > self.sent and not self.stopping.is_set():
                    count = min(each, self._left - self.sent)
                    self.client.send(self._frame * count)
                    self.sent += count
                    while select.select([self.client.socket], [], [], 0)[0]:
                        received += len(self.client.socket.recv(_CHUNK_BYTES))
                if not self.stopping.is_set():
                    self.client.send(packet(0xC0))
                    due = self.sent * self._answer_bytes + len(_PING_ANSWER)  # in which order they come is not told
                    while received < due:
                        received += len(self.client.socket.recv(_CHUNK_BYTES))
            except OSError:
                if not self.stopping.is_set():
                    raise


class Flood:
    """Some devices that publish without a pause and look at no answer, `total_bytes` in all; a context manager.

    Each sends one packet again and again: what it costs is the gateway's affair alone.
    """

    def __init__(
        self, port: int, topic: str, payload: bytes, total_bytes: int, *, devices: int = 1, qos: int = 0
    ) -> None:
        frame = publish(topic, payload, qos, 1)
        self._devices = [_Device(f"flood-{n}", port, frame, total_bytes // devices, 4 * qos) for n in range(devices)]

    def __enter__(self) -> Self:
        for device in self._devices:
            device.start()
        return self

    def __exit__(self, *_: object) -> None:
        for device in self._devices:
            device.stopping.set()
            if device.client is not None and device.is_alive():
                device.client.socket.shutdown(socket.SHUT_RDWR)
        for device in self._devices:
            device.join(_IO_TIMEOUT_S)

    @property
    def is_over(self) -> bool:
        """Whether all was sent and taken in."""
        return not any(device.is_alive() for device in self._devices)

    @property
    def sent(self) -> int:
        """Events handed to the network so far."""
        return sum(device.sent for device in self._devices)
