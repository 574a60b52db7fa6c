"""Contract packs, used as config/packs/README.md says, command by command.

A login with the pack's role sends what its maker documents: that arrives at the upstream, what is spoilt is
quarantined, and what belongs to others is refused. What is sent stands in `packs/`, a file for each.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway.config.load import load
from gateway.event import ACCEPTED, QUARANTINED
from tests.site.cloud_subscriber import CloudSubscriber, durable
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess
    from tests.site.mosquitto_process import MosquittoProcess

PACKS = Path(__file__).parents[2] / "config" / "packs"
SENT = Path(__file__).parent / "packs"
NAMES = sorted(path.stem for path in PACKS.glob("*.toml"))


class Steps(NamedTuple):
    """What the README says of one pack."""

    devices_add: list[str]
    tail: list[str]

    @property
    def user(self) -> str:
        return self.devices_add[2]


def steps_of(pack: str) -> Steps:
    sections = (PACKS / "README.md").read_text(encoding="utf-8").split("\n## Connect ")
    (section,) = (each for each in sections if f'include = ["packs/{pack}.toml"]' in each and "```toml" in each[:90])
    commands = [shlex.split(found) for found in re.findall(r"`gateway ([^`]+)`", section)]
    add, tail = (next(each for each in commands if each[0] == name) for name in ("devices", "tail"))
    return Steps(add, tail)


def test_every_pack_is_tested_here_and_explained() -> None:
    assert {path.stem for path in SENT.glob("*.toml")} == set(NAMES)
    readme = (PACKS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r'(?m)^include = \["packs/(.+)\.toml"\]$', readme) == NAMES
    assert len(re.findall(r"(?m)^## Connect ", readme)) == len(NAMES)


def test_all_packs_can_be_included_together(tmp_path: Path) -> None:
    paths = json.dumps([str(PACKS / f"{name}.toml") for name in NAMES])
    path = tmp_path / "gateway.toml"
    path.write_text(f'include = {paths}\n[gateway]\nid = "edge"\ndata_dir = "data"\n', encoding="utf-8")
    config = load(path, {})
    assert set(config.roles) == set(NAMES)
    assert all(contract.policy == "quarantine" for contract in config.contracts.values())


@pytest.mark.parametrize("pack", NAMES)
def test_what_the_maker_documents_arrives_and_what_is_spoilt_is_quarantined(
    gateway_at: Callable[..., GatewayProcess], mosquitto_at: Callable[..., MosquittoProcess], tmp_path: Path, pack: str
) -> None:
    sent = tomllib.loads((SENT / f"{pack}.toml").read_text(encoding="utf-8"))
    spoilt, sends = ([(topic, payload) for topic, payload in sent[key]] for key in ("spoilt", "sends"))
    cloud = mosquitto_at(config=durable(tmp_path)).start()
    gateway = gateway_at(upstream_port=cloud.port, broker="allow_anonymous = false")
    shutil.copytree(PACKS, tmp_path / "packs")
    include = f'include = ["packs/{pack}.toml"]\n'
    gateway.config_path.write_text(include + gateway.config_path.read_text(encoding="utf-8"), encoding="utf-8")
    steps = steps_of(pack)
    assert gateway.command("check").returncode == 0
    secret = gateway.command_json(*steps.devices_add)["secret"]
    gateway.start()
    with CloudSubscriber(cloud.port) as record:
        with RawClient(gateway.port) as client:
            client.join("some-client-id", username=steps.user, password=secret)
            for topic, payload in spoilt + sends:
                client.publish(topic, payload.encode())
        wait_for(lambda: len(record.arrivals) >= len(sends), what="what is in order to arrive")
    assert [(each.topic, each.payload.decode()) for each in record.arrivals] == sends
    verdicts = [event.verdict for event in gateway.events()]
    assert verdicts == [QUARANTINED] * len(spoilt) + [ACCEPTED] * len(sends)
    assert gateway.upstream()["quarantined"] == len(spoilt)
    shown = gateway.command(*steps.tail).stdout
    assert any(f" {topic} " in shown for topic, _ in sends)
    with RawClient(gateway.port) as client:
        client.join("another-client-id", username=steps.user, password=secret)
        client.send(publish(sent["may_not"], b"1", 1, 1))
        assert client.is_closed(), "it may publish as somebody else"
