"""What the demo runs: an edge gateway, a second gateway as its upstream, and a simulated fleet, each a real process.

The upstream's own event log is the record of what arrived, the fleet's ledger the record of what was acknowledged.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Self

from gateway import control
from gateway.errors import GatewayError
from gateway.eventlog.history import History

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.event import Event

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 10.0
_POLL_INTERVAL_S = 0.05

_CONFIG = """\
[gateway]
id = "{name}"
data_dir = "{data_dir}"
clock_wait_s = 0
[broker]
listen = ["mqtt://127.0.0.1:{port}"]
allow_anonymous = true
"""
_UPSTREAM = """\
[upstreams.cloud]
type = "mqtt"
version = "3.1.1"
url = "mqtt://127.0.0.1:{port}"
backoff_initial_s = 0.2
backoff_max_s = 1
"""


class GatewayProcess:
    """A gateway of its own configuration and data directory, started and stopped at will."""

    def __init__(self, name: str, folder: Path, port: int, upstream_port: int | None = None) -> None:
        self.name = name
        self.port = port
        self.data_dir = folder / name
        self._config = folder / f"{name}.toml"
        self._log_path = folder / f"{name}.log"
        text = _CONFIG.format(name=name, data_dir=self.data_dir, port=port)
        if upstream_port is not None:
            text += _UPSTREAM.format(port=upstream_port)
        self._config.write_text(text, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes events in.

        Raises:
            GatewayError: it ended, or did not answer in time.
        """
        with self._log_path.open("ab") as log:
            self._process = _spawn(["-m", "gateway", "run", "--config", str(self._config)], log, log)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.status() is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise GatewayError(f"the {self.name} gateway did not start", f"Its log is {self._log_path}.")
            time.sleep(_POLL_INTERVAL_S)

    def status(self) -> dict[str, Any] | None:
        """What it says of itself; None if it does not run."""
        return control.ask_status(self.data_dir) if self.data_dir.is_dir() else None

    def kill(self) -> None:
        """SIGKILL: what a power cut does to a process."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait until it has ended."""
        self._end(signal.SIGTERM)

    def history(self) -> Iterator[Event]:
        """Every event it has stored, in order."""
        with History(self.data_dir) as history:
            yield from history.scan(0)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class FleetProcess:
    """`device-sims run`, publishing to the edge gateway for a while."""

    def __init__(self, folder: Path, fleet: str) -> None:
        self.ledger = folder / "ledger.db"
        self._log_path = folder / "fleet.log"
        self._fleet = fleet
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, port: int, duration_s: float) -> None:
        """Start the devices."""
        url = f"mqtt://127.0.0.1:{port}"
        arguments = ["run", self._fleet, "--url", url, "--ledger", str(self.ledger), "--duration", str(duration_s)]
        with self._log_path.open("ab") as log:
            self._process = _spawn(["-m", "device_sims", *arguments, "--json"], subprocess.DEVNULL, log)

    def ended(self) -> bool:
        """Whether the devices have sent everything they meant to.

        Raises:
            GatewayError: the simulator failed.
        """
        if self._process is None or self._process.poll() is None:
            return False
        if self._process.returncode != 0:
            last = self._log_path.read_text(encoding="utf-8").strip()
            raise GatewayError(f"the simulated fleet failed: {last}", f"Its log is {self._log_path}.")
        return True

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Site:
    """All three processes; a context manager that leaves none of them behind."""

    def __init__(self, folder: Path, fleet: str) -> None:
        upstream_port, edge_port = _free_ports(2)
        self.upstream = GatewayProcess("upstream", folder, upstream_port)
        self.edge = GatewayProcess("edge", folder, edge_port, upstream_port)
        self.fleet = FleetProcess(folder, fleet)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.fleet.kill()
        with suppress(KeyboardInterrupt):
            self.edge.stop()
            self.upstream.stop()


def _spawn(arguments: list[str], output: int | IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start Python with a module of ours; no setting of this shell's gateway reaches it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY__")}
    return subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the demo, which stops them in order
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
