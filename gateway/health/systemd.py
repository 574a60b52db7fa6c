"""Telling systemd that the gateway is ready, alive, or stopping (sd_notify(3)). Without systemd nothing happens."""

from __future__ import annotations

import os
import select
import socket
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEARD_TIMEOUT_S = 2.0


class Notifier:
    """Speaks to the socket that systemd names in the environment."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        wanted_of = environment.get("WATCHDOG_PID", str(os.getpid()))
        self.watchdog_s: float | None = None
        """systemd restarts the process when it has not heard `alive` for so long; None if it does not watch."""
        if watchdog_us.isdecimal() and int(watchdog_us) > 0 and wanted_of == str(os.getpid()):
            self.watchdog_s = int(watchdog_us) / 1e6

    def ready(self, status: str) -> None:
        """The gateway takes events in."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """The way of the data makes progress."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The gateway is on its way out."""
        self._send("STOPPING=1")

    def store(self, name: str, kept: socket.socket) -> None:
        """Have systemd hold `kept` open and hand it to the next process (FileDescriptorStoreMax= of the service)."""
        # FDPOLL=0: it is not given up for what systemd sees happen on it
        self._send(f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", kept.fileno())

    def unstore(self, name: str) -> None:
        """Have systemd close everything that it holds under `name`; done on return, unless it takes very long."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")
        self._wait_heard()

    def _wait_heard(self) -> None:
        """Return when systemd has acted on what was said before (sd_notify_barrier(3))."""
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._send("BARRIER=1", theirs)
        finally:
            os.close(theirs)
        heard = select.poll()
        heard.register(ours, 0)  # its end, when systemd closes the other one
        heard.poll(_HEARD_TIMEOUT_S * 1000)
        os.close(ours)

    def _send(self, text: str, *descriptors: int) -> None:
        if not self._address:
            return
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendmsg([text.encode()], rights, 0, self._address)  # send_fds of Python 3.11 forgets the address
            except OSError:  # systemd is restarting itself, or is not there: the next message finds it
                return
