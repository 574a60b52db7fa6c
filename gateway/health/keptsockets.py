"""Listening sockets that outlive this process, so that a restart refuses no connection.

systemd keeps them in its file descriptor store and hands them to the next process (sd_notify(3), FDSTORE=1;
sd_listen_fds(3)). Who connects meanwhile waits in the kernel's queue. Sockets of a socket unit come the same way.
Without systemd nothing is kept and nothing happens.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from gateway.health.systemd import Notifier

_FIRST = 3
"""SD_LISTEN_FDS_START."""
_STORED = "gateway-listen"
"""Name of what we store ourselves; whatever has another one comes from a socket unit."""


class KeptSockets:
    """What was inherited, and the way to have sockets kept for the next process."""

    def __init__(self, notifier: Notifier, environment: MutableMapping[str, str] = os.environ) -> None:
        """Take over what systemd hands to this process; no process that this one starts inherits it.

        Raises:
            ConfigError: it is not a listening TCP socket.
        """
        self._notifier = notifier
        self._inherited: dict[tuple[int, Any], tuple[str, socket.socket]] = {}
        count, pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
        names = environment.pop("LISTEN_FDNAMES", "").split(":")
        if pid != str(os.getpid()) or not count.isdecimal():
            return
        for at in range(int(count)):
            name = names[at] if at < len(names) else ""
            inherited = _open(_FIRST + at, name)
            self._inherited[inherited.family, inherited.getsockname()] = name, inherited

    def claim(self, family: int, address: Any) -> socket.socket | None:
        """The inherited socket that listens on `address`; None if there is none."""
        return self._inherited.pop((family, address), (None, None))[1]

    def release(self, wanted: Iterable[object]) -> bool:
        """Close what nobody claimed, because `wanted` no longer names it; returns whether the store is empty now.

        Raises:
            ConfigError: it comes from a socket unit, which somebody has written on purpose.
        """
        strangers = [
            f"{name} ({kept.getsockname()[0]} port {kept.getsockname()[1]})"
            for name, kept in self._inherited.values()
            if name != _STORED
        ]
        if strangers:
            listen = ", ".join(str(address) for address in wanted)
            raise ConfigError(
                f"broker.listen names {listen}, and systemd hands over a socket that is none of these: "
                + ", ".join(strangers),
                "Write the same addresses into ListenStream= of the socket unit and into broker.listen.",
            )
        if not self._inherited:
            return False
        for _, kept in self._inherited.values():
            kept.close()
        self._inherited.clear()
        self._notifier.unstore(_STORED)
        return True

    def keep(self, sockets: Iterable[socket.socket]) -> None:
        """Have systemd keep these for the next process."""
        for each in sockets:
            self._notifier.store(_STORED, each)


def _open(descriptor: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        inherited = socket.socket(fileno=descriptor)
        listens = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise _useless(descriptor, name, error.strerror or str(error)) from error
    if not listens or inherited.type != socket.SOCK_STREAM or inherited.family not in {socket.AF_INET, socket.AF_INET6}:
        inherited.detach()
        raise _useless(descriptor, name, "it is no listening TCP socket")
    return inherited


def _useless(descriptor: int, name: str, why: str) -> ConfigError:
    return ConfigError(
        f"systemd hands over descriptor {descriptor} ({name or 'without a name'}), which is of no use: {why}",
        "Its socket unit needs ListenStream= with an address and a port of broker.listen, and Accept=no.",
    )
