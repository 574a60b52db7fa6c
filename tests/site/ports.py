"""Ports of loopback that nobody uses."""

from __future__ import annotations

import os
import random
import socket
import time
from collections import deque

_PORTS = range(20_000, 32_000)
"""Below the ports that the system gives to outgoing connections: one of those could take the port, or even connect to
itself, while the server that it belongs to is down."""
_SIDE_BY_SIDE_MAX = 16
_given: deque[int] = deque(maxlen=len(_PORTS) // _SIDE_BY_SIDE_MAX // 2)


def _candidates() -> range:
    """Those of this process; tests that run side by side in others have their own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return _PORTS[worker % _SIDE_BY_SIDE_MAX :: _SIDE_BY_SIDE_MAX]


def free_port() -> int:
    """One that was not given out lately either: whoever got it may not listen yet."""
    candidates = _candidates()
    while True:
        port = random.SystemRandom().choice(candidates)
        if port in _given:
            continue
        try:
            with socket.create_server(("127.0.0.1", port)):
                _given.append(port)
                return port
        except OSError:
            continue


def wait_until_listening(port: int, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def wait_for(condition: object, timeout_s: float = 20, what: str = "the condition") -> None:
    """Poll `condition` (a callable) until it is true; fails the test when it does not become so in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout_s} s")
        time.sleep(0.02)
