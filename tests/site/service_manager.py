"""What systemd does for the listening sockets of a service, as far as sd_notify(3) and sd_listen_fds(3) say it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.site.gateway_process import GatewayProcess

_LAUNCH = """
import fcntl, os, sys
given = [int(number) for number in sys.argv[1].split(",") if number]
spare = [fcntl.fcntl(number, fcntl.F_DUPFD, 64) for number in given]  # beyond the numbers in use
for at, number in enumerate(spare):
    os.dup2(number, 3 + at)
os.closerange(3 + len(spare), 256)
if given:
    os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "gateway", *sys.argv[2:]])
"""


class ServiceManager:
    """Holds what a gateway stores, and hands it to the next one; a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.settimeout(20)
        self._address = str(Path(self._folder.name) / "notify")
        self._notify.bind(self._address)
        self.stored: dict[str, list[int]] = {}
        """Descriptors by name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptors in self.stored.values():
            for descriptor in descriptors:
                os.close(descriptor)
        self._notify.close()
        self._folder.cleanup()

    def launch(self, gateway: GatewayProcess) -> None:
        """Start the process, without waiting for it."""
        given = [(name, descriptor) for name, descriptors in self.stored.items() for descriptor in descriptors]
        environment = os.environ | {"NOTIFY_SOCKET": self._address}
        if given:
            environment |= {"LISTEN_FDS": str(len(given)), "LISTEN_FDNAMES": ":".join(name for name, _ in given)}
        descriptors = [descriptor for _, descriptor in given]
        numbers = ",".join(map(str, descriptors))
        with gateway.log_path.open("ab") as log:
            gateway.process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, numbers, "run", "--config", str(gateway.config_path)],
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=descriptors,
            )

    def wait_ready(self) -> None:
        """Do what the gateway asks until it says that it is ready."""
        deadline = time.monotonic() + 20
        while True:
            assert time.monotonic() < deadline, "the gateway is not ready"
            message, descriptors, _, _ = socket.recv_fds(self._notify, 4096, 16)
            lines = dict(line.partition("=")[::2] for line in message.decode().splitlines())
            if "FDSTORE" in lines:
                self.stored.setdefault(lines["FDNAME"], []).extend(descriptors)
            elif "FDSTOREREMOVE" in lines:
                for descriptor in self.stored.pop(lines["FDNAME"], []):
                    os.close(descriptor)
            elif lines.get("BARRIER") == "1":
                os.close(descriptors[0])
            elif lines.get("READY") == "1":
                return
