"""What counts events: a subscriber of a real broker, or an upstream of ours that swallows all.

A process of its own, `python -m benchmarks.receiver SETTINGS`. Commands on stdin: `listen` opens the sink's port,
`expect` names ranges of events; it answers `armed`, with `announce` `first` when the first of them is in, and
`counted` when all are or nothing new has come for `stall_s`. `stamps` asks for the time of each arrival; then bytes
are read as they come, otherwise a few milliseconds' worth at a time, which costs less.

With `local_qos` in SETTINGS it is a local subscriber of everything at the system under test instead. It says `ready`
when its subscription has been answered, and acknowledges what comes at QoS 1.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import sys
import time

from benchmarks.arrivals import Arrivals
from benchmarks.frames import DELIVERED_BYTES, ProtocolError, connect, pubacks_for, subscribe
from benchmarks.processes import reply
from benchmarks.sink import Sink

PAUSE_S = 0.002
READ_BYTES = 1 << 20
CLIENT_ID = "bench-receiver"
SESSION = connect(CLIENT_ID, clean_session=False) + subscribe("devices/#")


class Subscriber:
    """A session at a real broker; it connects whenever the broker is there and it is not connected."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self.connected_at: float | None = None

    def sockets(self) -> list[socket.socket]:
        """What to wait on; empty while the broker is down."""
        if self._socket is None:
            try:
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=5)
            except ConnectionRefusedError:
                return []
            self._socket.sendall(SESSION)
            self.connected_at = time.monotonic()
        return [self._socket]

    def read(self, ready: socket.socket) -> bytes:
        """Bytes in which events may be."""
        data = ready.recv(READ_BYTES)
        if not data:
            raise ProtocolError("the upstream broker closed the receiver's connection")
        return data


class LocalSubscriber(Subscriber):
    """A subscriber of everything that is there before the events are."""

    def __init__(self, port: int, qos: int) -> None:
        """Connect and subscribe.

        Raises:
            ProtocolError: the broker did not take the connection or the subscription.
        """
        super().__init__(port)
        self._qos, self._carry = qos, b""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(connect(f"bench-local-{qos}") + subscribe("#", qos=qos))
        answer = b""
        while len(answer) < len(self._granted) and (data := self._socket.recv(len(self._granted) - len(answer))):
            answer += data
        if answer != self._granted:
            raise ProtocolError(f"the local subscription was answered with {answer.hex() or 'a closed connection'}")

    @property
    def _granted(self) -> bytes:
        return b"\x20\x02\x00\x00" + b"\x90\x03\x00\x01" + bytes([self._qos])

    def read(self, ready: socket.socket) -> bytes:
        """Bytes in which events may be; what came at QoS 1 is acknowledged."""
        data = super().read(ready)
        if self._qos:
            text = self._carry + data
            self._carry = text[1 - DELIVERED_BYTES :]
            ready.sendall(pubacks_for(text))
        return data


class Receiver:
    """The loop: commands, bytes, the end of a phase."""

    def __init__(self, source: Subscriber | Sink, *, stall_s: float) -> None:
        self._source, self._stall_s = source, stall_s
        self._arrivals: Arrivals | None = None
        self._armed_at = 0.0
        self._cpu_began = 0.0
        self._commands = b""
        self._announce = False

    def run(self) -> None:
        """Until stdin closes."""
        stdin = sys.stdin.fileno()
        while True:
            sockets = self._source.sockets() if self._arrivals or isinstance(self._source, Sink) else []
            waiting = self._arrivals is not None and not sockets
            ready = select.select([stdin, *sockets], [], [], PAUSE_S if waiting else 0.1)[0]
            if stdin in ready and not self._take_commands(os.read(stdin, 65_536)):
                return
            now = time.monotonic()
            for one in ready:
                if isinstance(one, socket.socket):
                    of = one.fileno()
                    self._take(self._source.read(one), now, of)
            self._finish_phase(now)
            if self._arrivals and self._arrivals.stamps is None and isinstance(self._source, Subscriber):
                time.sleep(PAUSE_S)

    def _take(self, data: bytes, now: float, of: int) -> None:
        if self._arrivals and data:
            self._arrivals.feed(data, now, of)
            if self._announce and self._arrivals.latest() is not None:
                self._announce = False
                reply(first=True)

    def _take_commands(self, data: bytes) -> bool:
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "listen" in command and isinstance(self._source, Sink):
                self._source.listen()
            if "expect" in command:
                self._arrivals = Arrivals(command["expect"], keep_stamps=command.get("stamps", False))
                self._announce = command.get("announce", False)
                self._armed_at, self._cpu_began = time.monotonic(), time.process_time()
                reply(armed=True)
        return bool(data)

    def _finish_phase(self, now: float) -> None:
        arrivals = self._arrivals
        if arrivals is None:
            return
        stalled = now - max(arrivals.latest() or 0.0, self._armed_at) > self._stall_s
        if arrivals.complete() or stalled:
            cpu_s = time.process_time() - self._cpu_began
            up_at = self._source.connected_at
            reply(counted=arrivals.report(), cpu_s=cpu_s, up_at=up_at)
            self._arrivals = None


def main() -> None:
    settings = json.loads(sys.argv[1])
    port = settings["port"]
    gc.disable()
    source: Subscriber | Sink
    try:
        if settings.get("local_qos") is None:
            source = Sink(port) if settings["sink"] else Subscriber(port)
        else:
            source = LocalSubscriber(port, settings["local_qos"])
            reply(ready=True)
        Receiver(source, stall_s=settings["stall_s"]).run()
    except (OSError, ProtocolError) as error:
        reply(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
