"""A recorded run of a gateway, and the power cuts made from it."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, NamedTuple

from tests.powercut.images import DROP_ALL, POWER_CUT
from tests.powercut.ledger import Ledger, Message
from tests.powercut.trace import Kind
from tests.powercut.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from tests.powercut.images import Disk
    from tests.powercut.recorder import Recorder
    from tests.powercut.trace import Record
    from tests.site.gateway_process import GatewayProcess
    from tests.site.scripted_upstream import ScriptedUpstream


class Story(NamedTuple):
    """A recorded run."""

    records: list[Record]
    ledger: Ledger
    disk: Disk
    before: Collection[Message] = ()
    """What was in the log when it began, and the upstream had not taken."""
    removes: bool = False
    """Whether retention was on."""


class Count(NamedTuple):
    """What was found in all images together."""

    images: int
    opened_with_loss: int
    lost_most: int
    problems: list[str]


def tell(recorder: Recorder, gateway: GatewayProcess, cloud: ScriptedUpstream, seed: int) -> Story:
    records = recorder.records()
    return Story(records, Ledger(records, gateway.port, cloud.port), recorder.disk(seed))


def moments(records: Sequence[Record], chance: random.Random, count: int) -> list[int]:
    """Positions at which the disk or what was told has just changed, in order."""
    moving = [at for at, record in enumerate(records, 1) if record.kind is not Kind.RECEIVED]
    return sorted(chance.sample(moving, min(count, len(moving))))


async def cut(story: Story, seed: int, folder: Path, images: int) -> Count:
    """Make images and judge them; each third is of a disk that wrote nothing it did not have to."""
    chance = random.Random(seed)
    losses, problems = [], []
    for number, position in enumerate(moments(story.records, chance, images)):
        story.disk.feed(story.records[story.disk.position : position])
        image = folder / f"image-{position}"
        story.disk.image(image, DROP_ALL if number % 3 == 0 else POWER_CUT, random.Random(f"{seed}/{position}"))
        verdict = await judge(image, story.ledger, position, story.before, removes=story.removes)
        losses.append(len(verdict.lost))
        problems += [f"position {position}: {problem}" for problem in verdict.problems]
        shutil.rmtree(image)
    count = Count(len(losses), sum(map(bool, losses)), max(losses), problems)
    print(count._replace(problems=problems[:5]))  # noqa: T201 - pytest shows it when the test fails
    return count
