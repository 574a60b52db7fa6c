"""Who may log in: the users of the configuration and the stored devices, and every change of the latter.

A change is on disk before it counts, and counts at once: whoever is connected under a login that is no longer good is
told to `on_change`. Under equal names the configuration wins.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import argon2

from gateway.errors import ConfigError
from gateway.eventlog.devices import Device

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.broker.config import UserConfig

NAME_CHARACTERS_MAX = 128
_UNFIT = re.compile(r"[+#/\x00-\x1f\x7f]|^[$-]|^\s|\s$|^$")
"""A name that fills no pattern of rights, or that nobody can type."""
_COST_MAX = {"time_cost": 10, "memory_cost": 64 * 1024, "parallelism": 4}
"""Of a hash that is stored: what one login may cost."""
_MIB_IN_KIB = 1024

logger = logging.getLogger(__name__)
security = logging.getLogger("gateway.security")


class Credential(NamedTuple):
    """What somebody logs in with."""

    secret_hash: str
    role: str | None
    enabled: bool = True


class Store(Protocol):
    """Where devices are kept; see `gateway.eventlog.devices.Devices`."""

    known: dict[str, Device]

    def keep(self, device: Device) -> Awaitable[None]:
        """Store a device or its change."""
        ...

    def drop(self, name: str) -> Awaitable[None]:
        """Forget a device."""
        ...


class Registry:
    """Finds logins, and changes those that are stored.

    Args:
        users: of the configuration.
        store: of the devices; None: there are no others.
        devices_max: how many may be stored.
    """

    def __init__(self, users: Mapping[str, UserConfig], store: Store | None = None, devices_max: int = 0) -> None:
        self._users = {name: Credential(user.password, user.role) for name, user in users.items()}
        self._store = store
        self._devices_max = devices_max
        self._changing = asyncio.Lock()
        self.on_change: Callable[[str], None] = lambda _: None
        """Called with a name whose login is no longer what it was."""
        self.connected: Callable[[], Mapping[str, int]] | None = None
        """Tells how many connections each user name has; None where nothing can be connected."""
        for name in sorted(self._users.keys() & self._stored.keys()):
            logger.warning("a device is also in [broker.users], which counts", extra={"device": name})

    @property
    def _stored(self) -> Mapping[str, Device]:
        return self._store.known if self._store is not None else {}

    def __len__(self) -> int:
        return len(self._users.keys() | self._stored.keys())

    def __contains__(self, name: str) -> bool:
        return name in self._users or name in self._stored

    def find(self, name: str) -> Credential | None:
        """The login of this name."""
        found = self._users.get(name)
        if found is None and (device := self._stored.get(name)) is not None:
            return Credential(device.secret_hash, device.role, device.enabled)
        return found

    def rows(self) -> list[dict[str, object]]:
        """Everybody, by name; plain JSON values, times in seconds since 1970."""
        rows: list[dict[str, object]] = []
        connected = self.connected() if self.connected is not None else None
        for name in sorted(self._users.keys() | self._stored.keys()):
            user, device = self._users.get(name), self._stored.get(name)
            shown = user or Credential("", device and device.role, bool(device and device.enabled))
            rows.append(
                {
                    "name": name,
                    "source": "store" if user is None else "config",
                    "enabled": shown.enabled,
                    "role": shown.role,
                    "created_s": None if user or not device else device.created_ns // 10**9,
                    "rotated_s": None if user or not device else device.rotated_ns // 10**9,
                    "connected": None if connected is None else connected.get(name, 0),
                }
            )
        return rows

    async def obey(self, request: Mapping[str, Any]) -> object:
        """Carry out what `gateway devices` asks for: `{"command": "devices", "action": ..., "name": ..., ...}`.

        Returns `rows()` for `list`, else the name.

        Raises:
            ConfigError: it cannot be done, and nothing has changed.
            LogError: the disk refused, and nothing has changed.
        """
        asked = {key: request.get(key) for key in ("command", "action", "name", "secret_hash", "role")}
        if asked.pop("command") != "devices":
            raise ConfigError("this is no command that the gateway knows")
        action, name, secret_hash, role = asked.values()
        if action == "list":
            return self.rows()
        if not (isinstance(action, str) and isinstance(name, str) and isinstance(role, str | None)):
            raise ConfigError("this is no change of a device")
        await self.carry_out(action, name, str(secret_hash or ""), role)
        return {"name": name}

    async def carry_out(self, action: str, name: str, secret_hash: str = "", role: str | None = None) -> None:
        """Change a stored device: `add`, `rotate`, `disable`, `enable` or `remove`; durable when it returns.

        Raises:
            ConfigError: it cannot be done, and nothing has changed.
            LogError: the disk refused, and nothing has changed.
        """
        async with self._changing:
            if action == "add":
                device = self._new(name, secret_hash, role)
            else:
                device = self._changed(action, self._known(name), secret_hash)
            await self._apply(action, device)
        self.on_change(name)
        security.info(
            "a device was changed",
            extra={"event": f"device {action}", "user": name, "role": device.role, "by": "gateway devices"},
        )

    async def _apply(self, action: str, device: Device) -> None:
        if self._store is None:
            raise ConfigError("there is no store of devices")
        await (self._store.drop(device.name) if action == "remove" else self._store.keep(device))

    def _new(self, name: str, secret_hash: str, role: str | None) -> Device:
        check_name(name)
        if name in self._users:
            raise _in_config(name)
        if name in self._stored:
            raise ConfigError(f"there is a device {name!r} already", f"For a new secret: gateway devices rotate {name}")
        if len(self._stored) >= self._devices_max:
            raise ConfigError(
                f"there are {len(self._stored)} devices, as many as may be",
                "Remove some (gateway devices remove NAME), or raise broker.devices_max.",
            )
        now_ns = time.time_ns()
        return Device(name, _checked(secret_hash), role, enabled=True, created_ns=now_ns, rotated_ns=now_ns)

    def _known(self, name: str) -> Device:
        if name in self._users and name not in self._stored:
            raise _in_config(name)
        device = self._stored.get(name)
        if device is None:
            raise ConfigError(f"there is no device {name!r}", "See: gateway devices list")
        return device

    def _changed(self, action: str, device: Device, secret_hash: str) -> Device:
        match action:
            case "rotate":
                return device._replace(secret_hash=_checked(secret_hash), rotated_ns=time.time_ns())
            case "disable" | "enable":
                return device._replace(enabled=action == "enable")
            case "remove":
                return device
        raise ConfigError(f"{action!r} cannot be done to a device")


def check_name(name: str) -> None:
    """Make sure that a device can have this name.

    Raises:
        ConfigError: it cannot.
    """
    if len(name) > NAME_CHARACTERS_MAX or _UNFIT.search(name):
        raise ConfigError(
            f"{name[:NAME_CHARACTERS_MAX]!r} cannot be the name of a device",
            f"Take 1 to {NAME_CHARACTERS_MAX} characters without '+', '#', '/' and control characters, and without"
            " '$', '-' or a blank in front.",
        )


def _in_config(name: str) -> ConfigError:
    return ConfigError(f"{name!r} is in [broker.users] of the configuration", "Change it there and start again.")


def _checked(secret_hash: str) -> str:
    """A hash that a login can afford to check."""
    try:
        found = argon2.extract_parameters(secret_hash)
    except argon2.exceptions.InvalidHashError as error:
        raise ConfigError("this is not an argon2 hash") from error
    if any(getattr(found, what) > most for what, most in _COST_MAX.items()):
        most_mib = _COST_MAX["memory_cost"] // _MIB_IN_KIB
        raise ConfigError(
            f"this hash is too costly to check: at most {most_mib} MiB and {_COST_MAX['time_cost']} passes"
        )
    return secret_hash
