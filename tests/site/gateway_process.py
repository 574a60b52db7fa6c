"""The real gateway as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from gateway import control
from gateway.eventlog.history import History
from tests.site.ports import free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.event import Event


class GatewayProcess:
    """A gateway with a configuration and a data directory below `folder`; start, stop and kill it at will.

    Args:
        folder: where its files go.
        name: of the gateway.
        config: TOML appended to the configuration.
        upstream_port: adds an upstream `cloud` (mqtt) on this port of loopback.
        upstream_options: TOML lines for that section.
        broker: TOML lines for the section [broker], `allow_anonymous = true` unless given.
        websocket: listen for WebSocket on `ws_port` as well.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        config: str = "",
        *,
        upstream_port: int | None = None,
        upstream_options: str = "",
        broker: str = "allow_anonymous = true",
        websocket: bool = False,
    ) -> None:
        self.port = free_port()
        self.ws_port = free_port() if websocket else 0
        self.data_dir = folder / name
        self.config_path = folder / f"{name}.toml"
        self.log_path = folder / f"{name}.log"
        text = f'[gateway]\nid = "{name}"\ndata_dir = "{self.data_dir}"\nclock_wait_s = 0\n'
        if "listen" not in broker and "mode" not in broker:
            listen = [f"mqtt://127.0.0.1:{self.port}"] + [f"ws://127.0.0.1:{self.ws_port}"] * websocket
            broker = f"listen = {json.dumps(listen)}\n{broker}"
        text += f"[broker]\n{broker}\n"
        if upstream_port is not None:
            text += f'[upstreams.cloud]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{upstream_port}"\n'
            text += f"backoff_initial_s = 0.1\nbackoff_max_s = 0.5\n{upstream_options}\n"
        self.config_path.write_text(text + config, encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True, env: dict[str, str] | None = None) -> GatewayProcess:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", "--config", str(self.config_path)],
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not (self.data_dir.is_dir() and control.ask_status(self.data_dir)):
            assert self.process is not None
            assert self.process.poll() is None, f"the gateway ended: {self.log()}"
            assert time.monotonic() < deadline, f"the gateway is not ready: {self.log()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL; nothing happens if it does not run."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)

    def stop(self, timeout_s: float = 10) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8") if self.log_path.exists() else ""

    def status(self) -> dict[str, Any]:
        answer = control.ask_status(self.data_dir)
        assert answer is not None, f"the gateway does not answer: {self.log()}"
        return answer

    def source(self) -> dict[str, Any]:
        """What the external broker is to it, where it has one."""
        found: dict[str, Any] = self.status()["source"]
        return found

    def wait_source(self, state: str = "connected") -> dict[str, Any]:
        """Wait until the external broker is in this state."""
        wait_for(lambda: self.source()["state"] == state, what=f"a source that is {state}, not {self.source()}")
        return self.source()

    def upstream(self, name: str = "cloud") -> dict[str, Any]:
        return next(each for each in self.status()["upstreams"] if each["name"] == name)

    def is_drained(self, name: str = "cloud") -> bool:
        return self.upstream(name)["pending"] == 0 and self.status()["log"]["pending_events"] == 0

    def events(self) -> list[Event]:
        """Every event in its log; works whether it runs or not."""
        with History(self.data_dir) as history:
            return list(history.scan(0))

    def events_on(self, topic: str, count: int = 1) -> list[Event]:
        """The events of one topic, as soon as there are `count` of them."""
        found: list[Event] = []

        def enough() -> bool:
            found[:] = [event for event in self.events() if event.topic == topic]
            return len(found) >= count

        wait_for(enough, what=f"{count} event(s) on {topic}")
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `gateway ARGUMENTS --config ...`."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments, "--config", str(self.config_path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def command_json(self, *arguments: str) -> Any:
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
