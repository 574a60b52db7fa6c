"""A day of a greenhouse, a hundred times as fast, with three upstreams: one is dead until the evening, one is behind a
slow link, one refuses what comes from doors. Nothing that a sensor was promised is lost, and the books balance.

GATEWAY_DAY_S sets how many seconds of it are played; 864 are the whole day.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import mqtt5
import pytest

from device_sims.ledger import Ledger
from device_sims.verdict import Tally, identify
from tests.site.ports import wait_for
from tests.site.scripted_upstream import WELCOME, Arrival, Reset, ScriptedUpstream, accept, refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]

DAY_S = float(os.environ.get("GATEWAY_DAY_S") or 6)
SPEED = 100
SLOW = 5
"""Events a second of the slow link; the site makes a hundred times as many, on a machine that keeps up."""
DOORS_MAX = 100_000
"""Room for what the refusing server refuses in a whole day: 26,000 were, in one of 864 s."""
QUICK = "backoff_initial_s = 0.1\nbackoff_max_s = 0.5\n"

pytestmark = pytest.mark.timeout(180 + 4 * DAY_S)


def section(name: str, port: int, more: str = "") -> str:
    return f'[upstreams.{name}]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{port}"\n{QUICK}{more}\n'


class Cloud:
    """A server that keeps a tally of what came, and not all of it: a day is half a million events.

    Args:
        answer: what it says to each.
        alive: it lets somebody in once this is set.
    """

    def __init__(self, answer: Callable[[Arrival], bytes] = accept, alive: threading.Event | None = None) -> None:
        self.tally = Tally()
        self.server = ScriptedUpstream(self._take, self._welcome)
        self._answer = answer
        self._alive = alive

    def section(self, name: str, more: str = "") -> str:
        return section(name, self.server.port, more)

    def _take(self, arrival: Arrival) -> bytes:
        known = identify(arrival.payload)
        if known is not None:
            self.tally.deliver(*known)
        self.server.arrivals.clear()
        return self._answer(arrival)

    def _welcome(self, _: int) -> bytes:
        if self._alive is not None and not self._alive.is_set():
            raise Reset
        return WELCOME


def refuse_doors(arrival: Arrival) -> bytes:
    if arrival.topic.endswith("/door_contact"):
        return refuse(arrival, mqtt5.PubAckReasonCode.PAYLOAD_FORMAT_INVALID)
    return accept(arrival)


def play(gateway: GatewayProcess, ledger: Path) -> subprocess.Popen[bytes]:
    """The fleet `greenhouse`, a hundred times as fast."""
    url = f"mqtt://127.0.0.1:{gateway.port}"
    arguments = ["--url", url, "--ledger", str(ledger), "--duration", str(DAY_S), "--rate", str(SPEED), "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "device_sims", "run", "greenhouse", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def books(gateway: GatewayProcess) -> dict[str, dict[str, int]]:
    lines = gateway.command_json("status", "--books")
    assert all(line["balances"] for line in lines), lines
    return {line["upstream"]: line for line in lines}


def test_a_day_of_sensors_reaches_three_upstreams_of_which_none_is_well(gateway_at: Gateways, tmp_path: Path) -> None:
    evening = threading.Event()
    dead, slow, refusing = Cloud(alive=evening), Cloud(), Cloud(refuse_doors)
    with dead.server, slow.server, refusing.server:
        gateway = gateway_at()
        site = gateway.config_path.read_text(encoding="utf-8")
        others = dead.section("dead") + refusing.section("refusing")
        others += f"[quarantine]\nevents_max = {DOORS_MAX}\nbytes_max = {DOORS_MAX * 1024}\n"
        gateway.config_path.write_text(site + others + slow.section("slow", f"rate_events_max = {SLOW}"))
        gateway.start()
        assert gateway.command("upstreams", "pause", "refusing").returncode == 0
        fleet = play(gateway, tmp_path / "ledger")
        wait_for(lambda: gateway.upstream("refusing")["pending"] > 200, 60, "events that wait for one that is paused")
        assert gateway.command("upstreams", "resume", "refusing").returncode == 0
        assert fleet.wait(DAY_S + 90) == 0

        wait_for(lambda: gateway.is_drained("refusing"), 60 + DAY_S, "all that is not refused at the one that refuses")
        head = gateway.status()["log"]["head"]
        behind = gateway.upstream("slow")
        assert 0 < behind["forwarded"] < head
        found = books(gateway)
        assert found["dead"]["pending"] == found["dead"]["received"] == head
        assert (gateway.upstream("dead")["state"], gateway.upstream("slow")["state"]) == ("unreachable", "connected")

        evening.set()  # the dead one is alive, and the link of the slow one is at night
        gateway.config_path.write_text(site + others + slow.section("slow"))
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        for name in ("dead", "slow"):
            wait_for(lambda name=name: gateway.is_drained(name), 90 + DAY_S, f"everything at the upstream {name}")
        found = books(gateway)
        doors = found["refusing"]["quarantined"]
        assert doors > 0
        assert {name: line["forwarded"] for name, line in found.items()} == {
            "dead": head, "slow": head, "refusing": head - doors,
        }  # fmt: skip
        assert gateway.upstream("slow")["reconnects"] == gateway.upstream("refusing")["reconnects"] == 0
        assert gateway.stop() == 0
        assert books(gateway) == found
        assert gateway.command("status", "--losses").stdout == "Nothing was ever lost, dropped or refused.\n"

    with Ledger.open_readonly(tmp_path / "ledger") as ledger:
        promised = list(ledger.acknowledged())
    assert len(promised) > 100 * DAY_S
    for name, cloud in {"dead": dead, "slow": slow, "refusing": refusing}.items():
        verdict = cloud.tally.judge(promised)
        assert verdict.ok, (name, verdict.total)
    assert "Traceback" not in gateway.log()
