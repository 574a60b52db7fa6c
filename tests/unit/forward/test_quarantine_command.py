"""What operators ask of the quarantine of a running gateway, and what they are told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from gateway.errors import ConfigError
from gateway.forward.quarantine_command import GONE, QuarantineCommands
from gateway.ingest.ingest import Ingest
from tests.unit.eventlog.logs import HandClock, fill, opened
from tests.unit.ingest.stand_in import SaidByPayload, violating


class Replays:
    """Fulfils `Replayer`; the upstream `gone` is not configured."""

    def __init__(self):
        self.begun = []

    async def begin(self, upstream, wanted):
        if upstream == "gone":
            raise ConfigError("there is no upstream gone")
        self.begun.append((upstream, wanted.first_seq, wanted.last_seq, wanted.seqs))
        return SimpleNamespace(id="r1")


@asynccontextmanager
async def site(data_dir, **changes):
    async with opened(data_dir, **changes) as log:
        replays = Replays()
        yield log, QuarantineCommands(log, Ingest(log, HandClock(), SaidByPayload()), replays), replays


async def release(commands, **asked):
    return await commands.obey({"command": "quarantine", "action": "release", **asked})


async def test_what_upstreams_refused_is_replayed_to_each_and_violations_are_judged(tmp_path):
    async with site(tmp_path) as (log, commands, replays):
        await fill(log, 5)
        commands._releasing._ingest.append(1, 1, "dev", "t", 1, False, violating())
        await log.intake.settled()
        await log.quarantine("cloud", {2: "too large", 4: "invalid"})
        await log.quarantine("archive", {2: "too large"})
        answer = await release(commands)
        assert replays.begun == [("archive", 2, 2, (2,)), ("cloud", 2, 4, (2, 4))]
        assert answer == {
            "released": 0,
            "replays": [
                {"upstream": "archive", "replay": "r1", "events": 1},
                {"upstream": "cloud", "replay": "r1", "events": 2},
            ],
            "still": 1,
            "why": [{"seq": 6, "upstream": "", "topic": "t", "why": "c 1: x: max"}],
        }
        assert (await release(commands))["replays"] == []


async def test_an_upstream_that_is_not_there_and_events_that_are_gone_are_told_and_stay(tmp_path):
    async with site(tmp_path, upstreams=(), retention_bytes_max=1) as (log, commands, replays):
        await fill(log, 30)
        await log.quarantine("gone", {30: "too large"})
        await log.quarantine("cloud", {1: "too large"})
        await log.retain()
        answer = await release(commands)
        assert replays.begun == []
        assert sorted((each["upstream"], each["why"]) for each in answer["why"]) == [
            ("cloud", GONE),
            ("gone", "there is no upstream gone"),
        ]
        assert log.quarantined.describe()["upstreams"] == {"cloud": 1, "gone": 1}


async def test_what_cannot_be_asked_is_told_with_what_is_wrong(tmp_path):
    async with site(tmp_path) as (_, commands, _):
        for asked, what in [
            ({"action": "forget"}, "no command"),
            ({"action": "release", "topic": "a/#/b"}, "not an MQTT topic filter"),
            ({"action": "purge", "first_seq": "x"}, "first_seq"),
            ({"action": "purge", "colour": "red"}, "colour"),
        ]:
            with pytest.raises(ConfigError, match=what):
                await commands.obey({"command": "quarantine", **asked})


async def test_removing_takes_what_is_not_followed_yet_and_tells_how_many(tmp_path):
    async with site(tmp_path) as (log, commands, _):
        for _ in range(3):
            commands._releasing._ingest.append(1, 1, "dev", "t", 1, False, violating())
        await log.intake.settled()
        assert await commands.obey({"action": "purge", "seqs": [1, 3, 3]}) == {"purged": 2}
        assert log.quarantined.describe()["contracts"] == {"c": 1}
