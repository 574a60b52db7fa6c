"""The load: devices that publish at QoS 1, and the time it takes until they are acknowledged.

A process of its own, `python -m benchmarks.load SETTINGS`: it connects, says it is ready, waits for a line, publishes
and reports. It is made to take little of the processor: every packet is encoded beforehand, a run of packets is one
slice of memory, acknowledgements are compared in bulk, and the kernel wakes it for several of them at a time.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.forwarded import forwarded_tape
from benchmarks.frames import (
    DISCONNECT,
    PAYLOAD_BYTES,
    PUBACK_BYTES,
    ProtocolError,
    connect,
    is_welcome,
    match_pubacks,
    puback_tape,
    publish_tape,
)
from benchmarks.processes import reply

WAKE_SHARE = 4  # of its window a device waits to see acknowledged before the kernel wakes the process
READ_BYTES = 65_536
MARK_S = 0.05  # between two marks


@dataclass
class Settings:
    """What is published: numbers `first` to `first + events`, dealt out to the devices in turn."""

    port: int
    first: int
    events: int
    devices: int
    window: int  # in flight of each device; with a rate there is no limit
    rate: float  # events a second of all devices, by the clock and not by the acknowledgements; 0: by the window
    stall_s: float
    payload_bytes: int = PAYLOAD_BYTES
    password: str = ""  # devices log in with it, each under its client id; empty: without a login
    forwarded: bool = False  # packets as the gateway sends them to an upstream, by MQTT 5


class Device:
    """One connection with its tape of packets."""

    def __init__(self, number: int, settings: Settings) -> None:
        numbers = range(settings.first + number, settings.first + settings.events, settings.devices)
        if settings.forwarded:
            tape, self.frame_bytes = forwarded_tape(number, numbers, settings.payload_bytes)
        else:
            tape, self.frame_bytes = publish_tape(number, numbers, settings.payload_bytes)
        self.count = len(numbers)
        self._tape, self._sent = memoryview(tape), 0
        self._pubacks, self._acked = puback_tape(self.count), 0
        self._wake = 1
        self.socket = socket.create_connection(("127.0.0.1", settings.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        version = 5 if settings.forwarded else 4
        self.socket.sendall(connect(f"bench-{number:02d}", password=settings.password, version=version))
        answer = self.socket.recv(1024)
        if not is_welcome(answer):
            raise ProtocolError(f"CONNECT was answered with {answer.hex() or 'a closed connection'}")
        self.socket.setblocking(False)

    @property
    def acked(self) -> int:
        """Packets acknowledged so far."""
        return self._acked // PUBACK_BYTES

    @property
    def done(self) -> bool:
        """Every packet of the tape is acknowledged."""
        return self._acked == len(self._pubacks)

    def send_until(self, count: int) -> None:
        """Bring the packets sent up to `count`, as far as the socket takes them now."""
        end = min(count, self.count) * self.frame_bytes
        while self._sent < end:
            try:
                self._sent += self.socket.send(self._tape[self._sent : end])
            except BlockingIOError:
                return

    def read(self) -> None:
        """Take the acknowledgements that are in."""
        try:
            received = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not received:
            raise ProtocolError(f"the broker closed the connection after {self.acked} acknowledgements")
        self._acked = match_pubacks(received, self._pubacks, self._acked)

    def wake_after(self, count: int) -> None:
        """Have the kernel report the socket readable when `count` acknowledgements are in, or all that are left."""
        count = max(1, count if self.count - self.acked >= count else 1)
        if count != self._wake:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count * PUBACK_BYTES)
            self._wake = count


def publish_by_window(devices: list[Device], settings: Settings) -> list[tuple[float, int]]:
    """Keep `window` packets of each device in flight until all are acknowledged; marks of how many were when.

    Raises:
        TimeoutError: no acknowledgement for `stall_s`.
    """
    poll = select.epoll()
    by_fd = {device.socket.fileno(): device for device in devices if device.count}
    wake = max(1, settings.window // WAKE_SHARE)
    for fd, device in by_fd.items():
        poll.register(fd, select.EPOLLIN)
        device.wake_after(wake)
        device.send_until(settings.window)
    open_devices = len(by_fd)
    marks = [(time.monotonic(), 0)]
    while open_devices:
        ready = poll.poll(settings.stall_s)
        if not ready:
            raise TimeoutError(f"no acknowledgement for {settings.stall_s:g} s")
        for fd, _ in ready:
            device = by_fd[fd]
            device.read()
            if device.done:
                poll.unregister(fd)
                open_devices -= 1
                continue
            device.send_until(device.acked + settings.window)
            device.wake_after(wake)
        now = time.monotonic()
        if now - marks[-1][0] >= MARK_S or not open_devices:
            marks.append((now, sum(device.acked for device in devices)))
    poll.close()
    return marks


def publish_by_clock(devices: list[Device], settings: Settings, began: float) -> list[float]:
    """Publish each packet when it is due; for each the seconds from then to its acknowledgement, in no order.

    A broker that falls behind does not slow the clock, and its delay counts in full.

    Raises:
        TimeoutError: no acknowledgement for `stall_s`.
    """
    numbered = {device.socket: (number, device) for number, device in enumerate(devices)}
    latencies: list[float] = []
    latest, published, total, width = began, 0, settings.events, len(devices)
    while len(latencies) < total:
        due = min(total, int((time.monotonic() - began) * settings.rate) + 1)
        for index in range(published, due):
            devices[index % width].send_until(index // width + 1)
        published = due
        wait = began + due / settings.rate - time.monotonic() if due < total else 0.1
        for ready in select.select(list(numbered), [], [], max(0.0, wait))[0]:
            number, device = numbered[ready]
            before = device.acked
            device.read()
            latest = time.monotonic()
            latencies += [
                latest - began - (index * width + number) / settings.rate for index in range(before, device.acked)
            ]
            device.send_until((published - number + width - 1) // width)
        if time.monotonic() - latest > settings.stall_s:
            raise TimeoutError(f"no acknowledgement for {settings.stall_s:g} s")
    return latencies


def run(settings: Settings) -> dict[str, Any]:
    """Publish, and say when it began and ended, and what it cost this process."""
    devices = [Device(number, settings) for number in range(settings.devices)]
    gc.disable()
    reply(ready=True)
    sys.stdin.readline()
    cpu_began, began = time.process_time(), time.monotonic()
    latencies: list[float] = []
    marks: list[tuple[float, int]] = []
    if settings.rate:
        latencies = publish_by_clock(devices, settings, began)
    else:
        marks = publish_by_window(devices, settings)
    ended, cpu_s = time.monotonic(), time.process_time() - cpu_began
    for device in devices:
        device.socket.setblocking(True)
        device.socket.sendall(DISCONNECT)
        device.socket.close()
    acked = sum(device.acked for device in devices)
    return {
        "acked": acked,
        "began": began,
        "ended": ended,
        "cpu_s": cpu_s,
        "latencies_s": latencies,
        "marks": marks,
    }


def main() -> None:
    try:
        reply(**run(Settings(**json.loads(sys.argv[1]))))
    except (OSError, ProtocolError) as error:
        reply(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
