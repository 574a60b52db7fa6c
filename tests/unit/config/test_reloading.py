"""What a running gateway takes over of a changed configuration, and what it says of the rest."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from gateway.config.changes import needs_restart, taken_over
from gateway.config.model import Config
from gateway.config.reloading import Reloading
from gateway.errors import ConfigError
from tests.unit.eventlog.logs import until

if TYPE_CHECKING:
    from collections.abc import Callable


def config(**sections: Any) -> Config:
    gateway = {"id": "edge", "data_dir": "/data"} | sections.pop("gateway", {})
    return Config.model_validate({"gateway": gateway} | sections)


def cloud(port: int = 1) -> dict[str, object]:
    return {"cloud": {"type": "mqtt", "url": f"mqtt://here:{port}"}}


def test_what_needs_a_restart_is_named_by_key() -> None:
    running = config(upstreams=cloud(), roles={"a": {"publish": ["x"]}})
    wanted = config(
        gateway={"data_dir": "/elsewhere"},
        log={"segment_bytes_max": 65536},
        broker={"listen": ["mqtt://127.0.0.1:1884"]},
        upstreams=cloud(2),
        roles={"a": {"publish": ["y"]}, "b": {}},
    )
    assert sorted(needs_restart(running, wanted)) == [
        "broker.listen",
        "gateway.data_dir",
        "log.segment_bytes_max",
        "roles.a.publish",
        "roles.b",
    ]
    assert needs_restart(running, running) == []


def test_only_what_was_taken_over_counts_as_in_force() -> None:
    running, wanted = config(upstreams=cloud()), config(gateway={"id": "other"}, upstreams=cloud(2))
    now = taken_over(running, wanted)
    assert (now.gateway.id, now.upstreams) == ("edge", wanted.upstreams)


async def reloaded(reloading: Reloading, is_done: Callable[[], object]) -> None:
    task = asyncio.create_task(reloading.run())
    reloading.ask()
    try:
        await until(is_done)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_mistake_is_told_with_its_remedy_until_it_is_mended(caplog: pytest.LogCaptureFixture) -> None:
    applied: list[Config] = []
    found: list[Config | ConfigError] = [ConfigError("upstreams.cloud.url: no", "Write it as ..."), config()]

    def read() -> Config:
        answer = found.pop(0)
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    async def apply(wanted: Config) -> None:
        applied.append(wanted)

    reloading = Reloading(config(gateway={"id": "before"}), read, apply)
    await reloaded(reloading, lambda: reloading.error)
    assert applied == []
    assert reloading.describe() == {"error": "upstreams.cloud.url: no Write it as ...", "needs_restart": []}
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert (record.problem, record.hint) == ("upstreams.cloud.url: no", "Write it as ...")  # type: ignore[attr-defined]
    await reloaded(reloading, lambda: not reloading.error)
    assert reloading.describe() == {"error": "", "needs_restart": ["gateway.id"]}
    assert len(applied) == 1


async def test_what_a_part_cannot_take_over_is_a_mistake_as_well() -> None:
    async def apply(_: Config) -> None:
        raise ConfigError("upstreams.cloud: cannot be built")

    reloading = Reloading(config(), config, apply)
    await reloaded(reloading, lambda: reloading.error)
    assert reloading.error == "upstreams.cloud: cannot be built"


async def test_who_cannot_read_again_changes_nothing() -> None:
    async def apply(_: Config) -> None:
        pytest.fail("there is nothing to apply")

    reloading = Reloading(config(), None, apply)
    await reloaded(reloading, lambda: not reloading._asked.is_set())
    assert reloading.error == ""
