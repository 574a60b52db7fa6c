"""A real Mosquitto as a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.site.ports import wait_until_listening

if TYPE_CHECKING:
    from pathlib import Path


class MosquittoProcess:
    """A Mosquitto on loopback. `config` is appended to a listener that lets everybody in."""

    def __init__(self, folder: Path, name: str, config: str, port: int) -> None:
        self.port = port
        self.log_path = folder / f"{name}.mosquitto.log"
        self._config_path = folder / f"{name}.mosquitto.conf"
        if "allow_anonymous" not in config:
            config = f"allow_anonymous true\n{config}"
        self._config_path.write_text(
            f"listener {port} 127.0.0.1\nuser root\nmax_queued_messages 0\n{config}\n", encoding="utf-8"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> MosquittoProcess:
        binary = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
        assert binary is not None
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen([binary, "-v", "-c", str(self._config_path)], stdout=log, stderr=log)
        wait_until_listening(self.port)
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
