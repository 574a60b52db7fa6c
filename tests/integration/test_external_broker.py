"""A gateway whose source is a real Mosquitto, as an operator sees it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.site.external_broker import section
from tests.site.mosquitto_clients import publish
from tests.site.ports import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess
    from tests.site.mosquitto_process import MosquittoProcess

    Gateways = Callable[..., GatewayProcess]
    Mosquittos = Callable[..., MosquittoProcess]


def test_events_of_another_broker_go_on_to_an_upstream(
    gateway_at: Gateways, mosquitto_at: Mosquittos, mosquitto_clients: None
) -> None:
    site, cloud = mosquitto_at("site").start(), mosquitto_at("cloud").start()
    gateway = gateway_at(broker=section(site.port), upstream_port=cloud.port).start()
    gateway.wait_source()
    assert publish(site.port, "devices/probe-1/t", "-q", "1", "-m", "21.5").returncode == 0
    wait_for(lambda: gateway.upstream()["forwarded"] == 1, what="the event in the cloud")
    (line,) = gateway.command("events", "--json").stdout.splitlines()
    assert '"client_id": "probe-1"' in line
    shown = gateway.command("status").stdout
    assert f"source    mqtt://127.0.0.1:{site.port} as edge-source: connected" in shown
    assert "1 message(s) taken in, 0 repeat(s) not stored again, 0 reconnect(s)" in shown
    assert "broker    " not in shown
    site.kill()
    wait_for(lambda: gateway.source()["state"] == "unreachable", what="the loss is noticed")
    assert "no connection to" in gateway.wait_source("unreachable")["reason"] or gateway.source()["reason"]
    assert gateway.stop() == 0


def test_check_tells_the_source_and_what_is_not_safe(gateway_at: Gateways) -> None:
    gateway = gateway_at(broker='mode = "external"\nurl = "mqtt://broker.example"\ntopics = ["a/#"]')
    done = gateway.command("check")
    assert "source    mqtt://broker.example, topics a/#" in done.stdout
    assert "broker.url: password and messages cross the network readable" in done.stdout
    assert "source" in gateway.command_json("check")


def test_devices_are_told_where_they_log_in(gateway_at: Gateways) -> None:
    gateway = gateway_at(broker='mode = "external"\nurl = "mqtt://broker.example"')
    done = gateway.command("devices", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "devices log in at mqtt://broker.example, because broker.mode is external" in done.stderr


@pytest.mark.parametrize(
    ("broker", "wanted", "unwanted"),
    [('{"mode": "external", "url": "mqtt://x"}', "aiomqtt", "amqtt"), ("{}", "amqtt", "aiomqtt")],
)
def test_each_mode_imports_its_own_library_and_not_that_of_the_other(broker: str, wanted: str, unwanted: str) -> None:
    program = f"""
import asyncio, sys, tempfile
from pathlib import Path
from gateway.app import Gateway
from gateway import front
from gateway.clock import SystemClock
from gateway.config.model import Config

async def build():
    data_dir = Path(tempfile.mkdtemp()) / "data"
    config = Config.model_validate({{"gateway": {{"id": "edge", "data_dir": data_dir}}, "broker": {broker}}})
    gateway = Gateway(config)
    assert "amqtt" not in sys.modules and "aiomqtt" not in sys.modules
    front.build(config, gateway._log, gateway._ingest, SystemClock())
    await gateway._log.close(1)
    assert {wanted!r} in sys.modules and {unwanted!r} not in sys.modules, sorted(sys.modules)

asyncio.run(build())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
