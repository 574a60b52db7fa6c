"""The two systems that are compared, and the upstreams they forward to: configuration, start and stop of each."""

from __future__ import annotations

import getpass
import shutil
import socket
import sys
from pathlib import Path

from benchmarks.frames import DISCONNECT
from benchmarks.processes import BenchmarkError, Server, Worker, free_port
from benchmarks.receiver import SESSION

GATEWAY = """\
[gateway]
id = "bench"
data_dir = "{folder}/data"
clock_wait_s = 0

[broker]
listen = ["mqtt://127.0.0.1:{port}"]
subscriber_queue_events_max = 100000000
subscriber_queue_bytes_max = 10000000000
subscriber_inflight_max = 65535
subscribers_bytes_max = 10000000000
{broker}

[log]
{log}

[upstreams.bench]
type = "mqtt"
url = "mqtt://127.0.0.1:{upstream_port}"
backoff_initial_s = 0.2
backoff_max_s = 1
version = "{mqtt_version}"
{sections}
"""

MOSQUITTO = """\
user {user}
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
log_type error
log_type warning
"""

BRIDGE = """\
persistence false
connection bench
address 127.0.0.1:{upstream_port}
bridge_protocol_version mqttv311
topic # out 1
cleansession false
restart_timeout 1
notifications false
try_private false
"""

# The receiver's session is stored before the run, so that the upstream knows its subscription from the moment its
# port opens: otherwise the events that come before the receiver has connected again would be counted as lost.
UPSTREAM = """\
persistence true
persistence_location {folder}/
autosave_interval 0
queue_qos0_messages true
sys_interval 1
"""


def mosquitto_path() -> str | None:
    """Where Mosquitto is installed; system folders are often not on the path of a user."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def start_gateway(
    folder: Path,
    upstream_port: int,
    mqtt_version: str = "5",
    *,
    log: dict[str, float] | None = None,
    env: dict[str, str] | None = None,
    broker: str = "allow_anonymous = true",
    sections: str = "",
) -> Server:
    """The gateway of this virtual environment, with its data in `folder`.

    `log` are settings of that section, `broker` lines of that one, `sections` come behind all others.
    """
    script = Path(sys.executable).with_name("gateway")
    if not script.exists():
        raise BenchmarkError(f"no console script {script.name} beside {sys.executable}: pip install -e .")
    port = free_port()
    config = folder / "gateway.toml"
    section = "\n".join(f"{key} = {value}" for key, value in (log or {}).items())
    config.write_text(
        GATEWAY.format(
            folder=folder,
            port=port,
            upstream_port=upstream_port,
            mqtt_version=mqtt_version,
            log=section,
            broker=broker,
            sections=sections,
        )
    )
    return Server("gateway", [str(script), "run", "--config", str(config)], port, folder / "gateway.log", env)


def start_mosquitto(folder: Path, upstream_port: int, mqtt_version: str = "5") -> Server:
    """Mosquitto with a bridge to the upstream, always by MQTT 3.1.1."""
    del mqtt_version
    port = free_port()
    extra = BRIDGE.format(upstream_port=upstream_port)
    return _mosquitto("mosquitto", folder / "bridge", port, extra)


def _mosquitto(name: str, folder: Path, port: int, extra: str) -> Server:
    folder.mkdir(exist_ok=True)
    config = folder / "mosquitto.conf"
    config.write_text(MOSQUITTO.format(user=getpass.getuser(), port=port) + extra)
    return Server(name, [mosquitto_path() or "mosquitto", "-c", str(config)], port, folder / "mosquitto.log")


SYSTEMS = {"gateway": start_gateway, "mosquitto": start_mosquitto}


class MosquittoUpstream:
    """A real broker as upstream, down until it is started."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder / "upstream"
        self._server: Server | None = self._run()
        try:
            self._server.wait_until_listening()
            self._store_session()
        finally:
            self._server.stop()
            self._server = None

    def start(self, receiver: Worker) -> None:
        """Open the port; the receiver connects by itself."""
        del receiver
        self._server = self._run()

    def wait_until_listening(self) -> None:
        """Return when the port takes connections.

        Raises:
            BenchmarkError: it did not come, or is not there.
        """
        if self._server is None:
            raise BenchmarkError("the upstream was not started")
        self._server.wait_until_listening()

    def cpu_s(self) -> float | None:
        """Processor time since it was started."""
        return self._server.cpu_s() if self._server else None

    def stop(self) -> None:
        """Kill it: what it holds is of no use to anyone."""
        if self._server:
            self._server.stop(gently=False)

    def _run(self) -> Server:
        extra = UPSTREAM.format(folder=self._folder)
        return _mosquitto("upstream", self._folder, self.port, extra)

    def _store_session(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as peer:
            peer.sendall(SESSION)
            answer = b""
            while len(answer) < 9 and (data := peer.recv(9)):
                answer += data
            if answer[:1] != b"\x20" or answer[4:5] != b"\x90":
                raise BenchmarkError(f"the upstream answered a subscription with {answer.hex()}")
            peer.sendall(DISCONNECT)


class SinkUpstream:
    """The receiver itself as upstream, for machines without Mosquitto."""

    def __init__(self) -> None:
        self.port = free_port()

    def start(self, receiver: Worker) -> None:
        """Open the port, in the receiver's process."""
        receiver.tell(listen=True)

    def cpu_s(self) -> float | None:
        """None: it is the receiver's."""
        return None

    def stop(self) -> None:
        """Nothing: the port closes when the receiver ends."""
