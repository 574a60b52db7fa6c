"""What connections cost: `python -m benchmarks.connections`, a gateway process of its own and devices that are there.

Without a rate the devices are idle, in three variants: connected, subscribed each to its own commands, and with a
persistent session beside. With `--rate-per-device` each publishes at QoS 1 by the clock, and what is acknowledged, what
is not, and how long it took is counted.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import struct
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.figures import percentile
from benchmarks.frames import DISCONNECT, ProtocolError, connect, packet, packet_id, payload, string
from benchmarks.processes import BenchmarkError, Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """\
[gateway]
id = "bench"
data_dir = "{folder}/data"
clock_wait_s = 0

[broker]
listen = ["mqtt://127.0.0.1:{port}"]
allow_anonymous = true
connections_per_address_max = 100000
"""
VARIANTS = {"connected": (True, False), "subscribed": (True, True), "persistent, subscribed": (False, True)}
"""Of each variant: clean session or not, subscribed or not."""
DESCRIPTORS_BESIDE = 100
IDLE_LOOK_S = 3.0
SETTLE_TIMEOUT_S = 30.0
STALL_S = 10.0
PUBACK_BYTES = 4


class Device:
    """One connection; `due` holds when each event under way should have left."""

    def __init__(self, number: int, port: int, *, clean_session: bool = True, subscribed: bool = False) -> None:
        name = f"device-{number:05d}"
        self.topic, self.due = f"devices/{name}/m", deque[float]()
        self.sent = 0
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ask(connect(name, clean_session=clean_session), 4)
        if subscribed:
            self._ask(packet(0x82, b"\x00\x01" + string(f"devices/{name}/commands/#") + b"\x01"), 5)

    def _ask(self, request: bytes, answer_bytes: int) -> None:
        self.socket.sendall(request)
        answer = self.socket.recv(answer_bytes)
        if len(answer) != answer_bytes or answer[-1] > 1:
            raise ProtocolError(f"the gateway answered {answer.hex() or 'by closing the connection'}")

    def publish(self, number: int, due: float) -> None:
        """Send event `number`, which should have left at `due`."""
        identifier = struct.pack(">H", packet_id(self.sent))
        self.socket.send(packet(0x32, string(self.topic) + identifier + payload(number)))
        self.sent += 1
        self.due.append(due)

    def take(self, now: float) -> list[float]:
        """Acknowledgements that are in, as seconds since their events were due."""
        received = self.socket.recv(4096)
        if not received or len(received) % PUBACK_BYTES or received[0] != 0x40:
            raise ProtocolError(f"not acknowledgements: {received[:16].hex() or 'the connection was closed'}")
        return [now - self.due.popleft() for _ in range(len(received) // PUBACK_BYTES)]

    def leave(self) -> None:
        """Disconnect."""
        self.socket.sendall(DISCONNECT)
        self.socket.close()


def start(folder: Path) -> Server:
    port = free_port()
    config = folder / "gateway.toml"
    config.write_text(CONFIG.format(folder=folder, port=port))
    command = [sys.executable, "-m", "gateway", "run", "--config", str(config)]
    server = Server("gateway", command, port, folder / "gateway.log")
    server.wait_until_listening()
    return server


def descriptors(server: Server) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def settle(server: Server, count: int) -> None:
    """Wait until the gateway has closed what its devices have closed."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while descriptors(server) > count and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(IDLE_LOOK_S)


def measure_idle(count: int, variant: str) -> dict[str, float]:
    """A fresh gateway before, with and after `count` idle connections, and once more with as many."""
    clean_session, subscribed = VARIANTS[variant]
    with tempfile.TemporaryDirectory() as folder:
        server = start(Path(folder))
        try:
            Device(0, server.port).leave()  # what the first connection of all loads is not the cost of one
            time.sleep(1)
            figures = {"before_bytes": server.memory_bytes("VmRSS"), "descriptors_before": descriptors(server)}
            for time_ in ("", "_again"):
                devices = [
                    Device(number, server.port, clean_session=clean_session, subscribed=subscribed)
                    for number in range(count)
                ]
                time.sleep(1)
                cpu_s = server.cpu_s()
                time.sleep(IDLE_LOOK_S)
                figures["idle_cpu_share" + time_] = (server.cpu_s() - cpu_s) / IDLE_LOOK_S
                figures["with_bytes" + time_] = server.memory_bytes("VmRSS")
                for device in devices:
                    device.leave()
                settle(server, int(figures["descriptors_before"]))
                figures["after_bytes" + time_] = server.memory_bytes("VmRSS")
            figures["descriptors_after"] = descriptors(server)
        except (OSError, ProtocolError) as error:
            raise BenchmarkError(f"{error}. The gateway's last words:\n{server.last_words()}") from error
        finally:
            server.stop()
    figures["connection_bytes"] = (figures["with_bytes"] - figures["before_bytes"]) / count
    return figures


def publish_by_clock(devices: list[Device], rate: float, seconds: float) -> Iterator[float]:
    """Have the devices publish in turn, `rate` events a second in all; yields each acknowledgement's delay."""
    poll = select.epoll()
    by_fd = {device.socket.fileno(): device for device in devices}
    for descriptor in by_fd:
        poll.register(descriptor, select.EPOLLIN)
    began = latest = time.monotonic()
    published, acknowledged, total = 0, 0, int(rate * seconds)
    while acknowledged < total and time.monotonic() - latest < STALL_S:
        due = min(total, int((time.monotonic() - began) * rate) + 1)
        for number in range(published, due):
            devices[number % len(devices)].publish(number, began + number / rate)
        published = due
        wait_s = began + published / rate - time.monotonic() if published < total else 0.1
        for descriptor, _ in poll.poll(max(0.0, wait_s), 1000):
            latest = time.monotonic()
            delays = by_fd[descriptor].take(latest)
            acknowledged += len(delays)
            yield from delays
    poll.close()


def measure_rate(count: int, rate_per_device: float, seconds: float) -> dict[str, float]:
    """`count` devices that publish for `seconds`; what is not acknowledged within 10 s of the last one is lost."""
    with tempfile.TemporaryDirectory() as folder:
        server = start(Path(folder))
        try:
            devices = [Device(number, server.port) for number in range(count)]
            cpu_s, rate = server.cpu_s(), count * rate_per_device
            delays = list(publish_by_clock(devices, rate, seconds))
            return {
                "acknowledged": len(delays),
                "lost": sum(device.sent for device in devices) - len(delays),
                "p50_s": percentile(delays, 0.5),
                "p99_s": percentile(delays, 0.99),
                "with_bytes": server.memory_bytes("VmRSS"),
                "peak_bytes": server.memory_bytes("VmHWM"),
                "cpu_s_per_event": (server.cpu_s() - cpu_s) / max(1, len(delays)),
                "cpu_share": (server.cpu_s() - cpu_s) / seconds,
            }
        except (OSError, ProtocolError) as error:
            raise BenchmarkError(f"{error}. The gateway's last words:\n{server.last_words()}") from error
        finally:
            server.stop()


def show_idle(variant: str, count: int, figures: dict[str, float]) -> None:
    mb = {name: value / 1e6 for name, value in figures.items() if "_bytes" in name}
    typer.echo(
        f"{count:,} idle connections, {variant}: {figures['connection_bytes'] / 1e3:.1f} KB each; RSS "
        f"{mb['before_bytes']:.1f} MB before, {mb['with_bytes']:.1f} with, {mb['after_bytes']:.1f} after, "
        f"{mb['with_bytes_again']:.1f} with as many again, {mb['after_bytes_again']:.1f} after these; "
        f"CPU {figures['idle_cpu_share']:.1%} of a core; "
        f"descriptors {figures['descriptors_before']:.0f} before, {figures['descriptors_after']:.0f} after"
    )


def show_rate(count: int, figures: dict[str, float]) -> None:
    typer.echo(
        f"{count:,} devices: {figures['acknowledged']:,.0f} acknowledged, {figures['lost']:,.0f} lost; "
        f"to acknowledgement p50 {figures['p50_s'] * 1e3:.1f} ms, p99 {figures['p99_s'] * 1e3:.1f} ms; "
        f"RSS {figures['with_bytes'] / 1e6:.1f} MB; CPU {figures['cpu_s_per_event'] * 1e6:.0f} us an event, "
        f"{figures['cpu_share']:.1%} of a core"
    )


def main(
    connections: Annotated[int, typer.Option(help="how many")] = 2000,
    rate_per_device: Annotated[float, typer.Option(help="events a second of each; 0: idle")] = 0,
    seconds: Annotated[float, typer.Option(help="how long they publish")] = 30,
    output: Annotated[Path | None, typer.Option("--json", help="file for the figures")] = None,
) -> None:
    """Measure what connections cost a gateway."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < connections + DESCRIPTORS_BESIDE:
        raise BenchmarkError(f"{connections} connections need as many descriptors; this session may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    figures: dict[str, dict[str, float]] = {}
    if rate_per_device:
        figures["publishing"] = measure_rate(connections, rate_per_device, seconds)
        show_rate(connections, figures["publishing"])
    else:
        for variant in VARIANTS:
            figures[variant] = measure_idle(connections, variant)
            show_idle(variant, connections, figures[variant])
    if output is not None:
        output.write_text(json.dumps({"connections": connections, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"error: {error}")
