"""Who may log in, and what changes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import argon2
import pytest

from gateway.broker.config import BrokerConfig
from gateway.broker.registry import Registry
from gateway.errors import ConfigError, LogError

if TYPE_CHECKING:
    from gateway.eventlog.devices import Device

QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASH, OTHER = QUICK.hash("right"), QUICK.hash("else")


class MemoryStore:
    """Fulfils `gateway.broker.registry.Store`; refuses like a full disk when told to."""

    def __init__(self) -> None:
        self.known: dict[str, Device] = {}
        self.is_full = False

    async def keep(self, device: Device) -> None:
        if self.is_full:
            raise LogError("the disk is full")
        self.known[device.name] = device

    async def drop(self, name: str) -> None:
        del self.known[name]


class Office:
    """A registry with a store, and the names it has told to have changed."""

    def __init__(self, devices_max: int = 10, **users: object) -> None:
        self.store = MemoryStore()
        config = BrokerConfig.model_validate({"users": users})
        self.registry = Registry(config.users, self.store, devices_max)
        self.changed: list[str] = []
        self.registry.on_change = self.changed.append

    async def obey(self, action: str, name: str = "dev", **more: object) -> Any:
        return await self.registry.obey({"command": "devices", "action": action, "name": name, **more})


@pytest.fixture
def office() -> Office:
    return Office(fixed={"password": OTHER, "role": "local"})


async def test_a_device_is_added_rotated_disabled_enabled_and_removed(office: Office) -> None:
    registry = office.registry
    assert "dev" not in registry
    await office.obey("add", secret_hash=HASH, role="reader")
    assert registry.find("dev") == (HASH, "reader", True)
    await office.obey("rotate", secret_hash=OTHER)
    assert registry.find("dev") == (OTHER, "reader", True)
    await office.obey("disable")
    assert registry.find("dev") == (OTHER, "reader", False)
    await office.obey("enable")
    assert registry.find("dev") == (OTHER, "reader", True)
    assert len(registry) == 2
    await office.obey("remove")
    assert registry.find("dev") is None
    assert "dev" not in registry
    assert office.changed == ["dev"] * 5


async def test_the_list_has_everybody_and_no_secret(office: Office) -> None:
    await office.obey("add", secret_hash=HASH)
    office.registry.connected = lambda: {"fixed": 2}
    rows = await office.obey("list", "")
    assert [(row["name"], row["source"], row["role"], row["connected"]) for row in rows] == [
        ("dev", "store", None, 0),
        ("fixed", "config", "local", 2),
    ]
    assert rows[0]["created_s"] == rows[0]["rotated_s"] > 1_700_000_000
    assert "argon2" not in json.dumps(rows)


async def test_a_rotated_device_tells_when(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.obey("add", secret_hash=HASH)
    created_ns = office.store.known["dev"].created_ns
    monkeypatch.setattr("gateway.broker.registry.time.time_ns", lambda: created_ns + 5 * 10**9)
    await office.obey("rotate", secret_hash=OTHER)
    (row, _) = office.registry.rows()
    assert (row["created_s"], row["rotated_s"]) == (created_ns // 10**9, created_ns // 10**9 + 5)


async def test_what_stands_in_the_configuration_counts_and_is_not_changed(caplog: pytest.LogCaptureFixture) -> None:
    office = Office()
    await office.obey("add", secret_hash=HASH)
    config = BrokerConfig.model_validate({"users": {"dev": OTHER}})
    registry = Registry(config.users, office.store, 10)
    assert "a device is also in [broker.users], which counts" in caplog.text
    assert registry.find("dev") == (OTHER, None, True)
    assert len(registry) == 1
    with pytest.raises(ConfigError, match=r"is in \[broker.users\]"):
        await registry.obey({"command": "devices", "action": "add", "name": "dev", "secret_hash": HASH})


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "$SYS", "-x", " x", "x ", "a\n", "\0", "x" * 129])
async def test_a_name_that_could_be_taken_for_something_else_is_refused(office: Office, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name") as caught:
        await office.obey("add", name, secret_hash=HASH)
    assert caught.value.hint
    assert office.store.known == {}


COSTLY = "$argon2id$v=19$m=1048576,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"action": "rotate", "name": "nobody", "secret_hash": HASH}, "no device 'nobody'"),
        ({"action": "disable", "name": "fixed"}, r"\[broker.users\]"),
        ({"action": "add", "name": "new"}, "not an argon2 hash"),
        ({"action": "add", "name": "new", "secret_hash": "secret"}, "not an argon2 hash"),
        ({"action": "add", "name": "new", "secret_hash": COSTLY}, "too costly"),
        ({"action": "add", "name": "dev", "secret_hash": HASH}, "already"),
        ({"action": "explode", "name": "dev"}, "cannot be done"),
        ({"action": "add", "name": 7}, "no change of a device"),
        ({"action": None, "name": "dev"}, "no change of a device"),
        ({"action": "add", "name": "new", "role": ["local"], "secret_hash": HASH}, "no change of a device"),
        ({"command": "stop"}, "no command"),
    ],
)
async def test_what_cannot_be_done_changes_nothing(office: Office, request_: dict[str, object], said: str) -> None:
    await office.obey("add", secret_hash=HASH)
    before = dict(office.store.known)
    with pytest.raises(ConfigError, match=said):
        await office.registry.obey({"command": "devices"} | request_)
    assert office.store.known == before
    assert office.changed == ["dev"]


async def test_there_are_at_most_devices_max_devices() -> None:
    office = Office(devices_max=2)
    for name in ("a", "b"):
        await office.obey("add", name, secret_hash=HASH)
    with pytest.raises(ConfigError, match="as many as may be"):
        await office.obey("add", "c", secret_hash=HASH)
    await office.obey("remove", "a")
    await office.obey("add", "c", secret_hash=HASH)


async def test_a_change_that_is_not_on_disk_does_not_count(office: Office) -> None:
    await office.obey("add", secret_hash=HASH)
    office.store.is_full = True
    with pytest.raises(LogError):
        await office.obey("disable")
    assert office.registry.find("dev") == (HASH, None, True)
    assert office.changed == ["dev"]
