"""How a well-behaved device is served beside hostile ones: `python -m benchmarks.hostile`.

A gateway takes 5,000 events a second from 20 devices. A witness, a process of its own, sends PINGREQ a hundred times a
second and notes how long each answer takes, while this process does in turn all that `tests/security/test_limits.py`
does. Memory and sockets are read before each attack, at its height and up to five seconds after it.
"""

from __future__ import annotations

import json
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from benchmarks.figures import percentile
from benchmarks.frames import connect, packet, string, subscribe
from benchmarks.processes import ROOT, Server, Worker, free_port
from benchmarks.setting import RESULTS, begin, machine, write

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = """\
[gateway]
id = "bench"
data_dir = "{folder}/data"
clock_wait_s = 0

[broker]
listen = ["mqtt://127.0.0.1:{port}"]
allow_anonymous = true
connections_max = 2200

[broker.users]
pump = "{hashed}"

[rights]
anonymous_role = "local"
"""
HASH = "$argon2id$v=19$m=7168,t=5,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
RATE = 5_000
DEVICES = 20
PING_INTERVAL_S = 0.01
SETTLE_S = 5.0
P99_MS_MAX = 50.0
GROWN_MB_MAX = 20.0
GROWN_MB_MAX_OF = {"failed logins": 5.0}
MEGABYTE = 1e6
WRONG = packet(0x10, string("MQTT") + struct.pack(">BBH", 4, 0xC2, 60) + string("x") + string("pump") + string("wrong"))


class Figures(NamedTuple):
    """What one situation was like."""

    pings: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    grown_mb: float
    """At its height."""
    left_mb: float
    """After it."""
    sockets_left: int
    """More than before it, after SETTLE_S."""
    back_s: float
    """Until no more were left."""

    def missed(self, name: str) -> list[str]:
        """Goals that it did not meet."""
        grown_max = GROWN_MB_MAX_OF.get(name, GROWN_MB_MAX)
        goals = {
            f"p99 over {P99_MS_MAX:g} ms": self.p99_ms < P99_MS_MAX,
            f"more than {grown_max:g} MB": self.grown_mb <= grown_max,
            "sockets left": self.sockets_left <= 0,
        }
        return [goal for goal, is_met in goals.items() if not is_met]


class Attack:
    """What an attacker holds, and what it does again and again; `done` when it is over."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._held = ExitStack()

    def dial(self, number: int = 0) -> socket.socket:
        """A connection from one of 200 addresses, closed at the end."""
        made = socket.create_connection(("127.0.0.1", self._port), 10, (f"127.66.0.{1 + number % 200}", 0))
        return self._held.enter_context(made)

    def done(self) -> None:
        """Close everything."""
        self._held.close()


def quiet(_: Attack) -> Callable[[], None]:
    """Nobody else is there."""
    return lambda: time.sleep(0.01)


def half_open(attack: Attack) -> Callable[[], None]:
    """2,000 connections with half a CONNECT."""
    for number in range(2000):
        attack.dial(number % 10).sendall(connect("half-open")[:9])
    return lambda: time.sleep(0.01)


def failed_logins(attack: Attack) -> Callable[[], None]:
    """Failed logins from 200 addresses, as many as are answered."""
    numbers = iter(range(10**9))

    def guess() -> None:
        crowd = [attack.dial(next(numbers)) for _ in range(20)]
        for each in crowd:
            each.sendall(WRONG)
        for each in crowd:
            with suppress(OSError):
                each.recv(4)
            each.close()

    return guess


def trickling(attack: Attack) -> Callable[[], None]:
    """500 connections that send a long CONNECT byte by byte."""
    crowd = [attack.dial(number) for number in range(500)]
    rest = iter(connect("x" * 60_000))

    def trickle() -> None:
        byte = bytes([next(rest)])
        for each in crowd:
            with suppress(OSError):
                each.send(byte)
        time.sleep(0.01)

    return trickle


def retained_flood(attack: Attack) -> Callable[[], None]:
    """Retained messages on ever new topics, as fast as they are taken."""
    flooder, numbers = attack.dial(), iter(range(10**9))
    flooder.sendall(connect("flooder"))
    flooder.recv(4)

    def flood() -> None:
        frames = (packet(0x31, string(f"flood/{next(numbers)}") + b"x" * 500) for _ in range(100))
        flooder.sendall(b"".join(frames))

    return flood


def resets(attack: Attack) -> Callable[[], None]:
    """A full house, and connections that are reset at once."""
    for number in range(2200):
        attack.dial(number % 10)

    def reset() -> None:
        for _ in range(10):
            made = attack.dial()
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            made.close()
        time.sleep(0.02)

    return reset


def deaf(attack: Attack) -> Callable[[], None]:
    """Ten subscribers to everything, at QoS 0 and 1, that never read."""
    for number in range(10):
        reader = attack.dial()
        reader.sendall(connect(f"deaf-{number}") + subscribe("#", qos=number % 2))
    return lambda: time.sleep(0.01)


SITUATIONS = {
    "quiet": quiet,
    "2,000 half-open connections": half_open,
    "failed logins": failed_logins,
    "500 that trickle": trickling,
    "retained flood": retained_flood,
    "full house, resets": resets,
    "10 that never read": deaf,
    "quiet again": quiet,
}


def witness(port: int, seconds: float) -> None:
    """Ping until `seconds` have passed, and print how long each answer took."""
    made = socket.create_connection(("127.0.0.1", port), 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.sendall(connect("witness"))
    made.recv(4)
    taken, end_s = [], time.monotonic() + seconds
    while time.monotonic() < end_s:
        began_s = time.monotonic()
        made.sendall(b"\xc0\0")
        if len(made.recv(2)) != 2:
            raise ConnectionError("the gateway closed the connection of the witness")
        taken.append(time.monotonic() - began_s)
        time.sleep(PING_INTERVAL_S)
    sys.stdout.write(json.dumps(taken))


def start(folder: Path) -> Server:
    port = free_port()
    config = folder / "gateway.toml"
    config.write_text(CONFIG.format(folder=folder, port=port, hashed=HASH))
    server = Server(
        "gateway", [sys.executable, "-m", "gateway", "run", "--config", str(config)], port, folder / "gateway.log"
    )
    server.wait_until_listening()
    return server


def sockets(server: Server) -> int:
    """Those that the gateway has open."""
    count = 0
    for path in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed at this moment
            count += str(path.readlink()).startswith("socket:")
    return count


def settle(server: Server, count: int) -> float:
    """Wait for SETTLE_S; returns how long there were more than `count` sockets."""
    began_s, back_s = time.monotonic(), 0.0
    while (past_s := time.monotonic() - began_s) < SETTLE_S:
        if sockets(server) > count:
            back_s = past_s
        time.sleep(0.05)
    return back_s


def measure(server: Server, prepare: Callable[[Attack], Callable[[], None]], seconds: float) -> Figures:
    """One situation, with the load beside it."""
    memory, open_before = server.memory_bytes("VmRSS"), sockets(server)
    attack = Attack(server.port)
    settings = {
        "port": server.port, "first": 0, "events": int(RATE * (seconds + 1)), "devices": DEVICES, "window": 20,
        "rate": RATE, "stall_s": 30.0,
    }  # fmt: skip
    try:
        with Worker("benchmarks.load", settings) as load:
            load.answer(30)
            act = prepare(attack)
            load.tell(go=True)
            command = [sys.executable, "-m", "benchmarks.hostile", "--witness-port", str(server.port)]
            watching = subprocess.Popen([*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, cwd=ROOT)
            highest = memory
            while watching.poll() is None:
                with suppress(ConnectionError, TimeoutError):
                    act()
                highest = max(highest, server.memory_bytes("VmRSS"))
            told = watching.communicate()[0]
            load.answer(120)
    finally:
        attack.done()
    back_s = settle(server, open_before)
    taken = json.loads(told)
    return Figures(
        len(taken),
        percentile(taken, 0.5) * 1000,
        percentile(taken, 0.99) * 1000,
        max(taken) * 1000,
        (highest - memory) / MEGABYTE,
        (server.memory_bytes("VmRSS") - memory) / MEGABYTE,
        sockets(server) - open_before,
        back_s,
    )


def main(
    seconds: Annotated[float, typer.Option(help="How long each attack lasts.")] = 6.0,
    quick: Annotated[bool, typer.Option("--quick", help="Two seconds each.")] = False,  # noqa: FBT002 - a flag
    folder: Annotated[str | None, typer.Option(help="Where temporary folders go: the disk that is measured.")] = None,
    output: Annotated[Path, typer.Option(help="The JSON file.")] = RESULTS / "hostile.json",
    witness_port: Annotated[int, typer.Option(hidden=True, help="For the witness itself.")] = 0,
) -> None:
    """Measure every situation in turn on one gateway."""
    if witness_port:
        witness(witness_port, seconds)
        return
    context = machine(folder)
    begin(context)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        server = start(Path(inside))
        try:
            measure(server, quiet, 1.0)  # what the first load of all costs is not the attack's
            found = all_situations(server, 2.0 if quick else seconds)
        finally:
            server.stop()
    write(output, {"setting": context, "situations": {name: each._asdict() for name, each in found.items()}})


def all_situations(server: Server, seconds: float) -> dict[str, Figures]:
    """Measure and print them."""
    heads = ("pings", "p50 ms", "p99 ms", "worst", "+MB", "left", "sockets", "back s")
    typer.echo(" " * 30 + "".join(f"{head:>9}" for head in heads))
    figures = {}
    for name, prepare in SITUATIONS.items():
        found = figures[name] = measure(server, prepare, seconds)
        missed = found.missed(name)
        typer.echo(
            f"{name:30}{found.pings:9}{found.p50_ms:9.2f}{found.p99_ms:9.2f}{found.worst_ms:9.1f}"
            f"{found.grown_mb:9.1f}{found.left_mb:9.1f}{found.sockets_left:9}{found.back_s:9.2f}"
            f"  {'missed: ' + ', '.join(missed) if missed else 'goals met'}"
        )
    return figures


if __name__ == "__main__":
    typer.run(main)
