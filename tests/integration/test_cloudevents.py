"""From a device to a cloud that reads CloudEvents: types by contract, the device's own time, marks, mapped topics."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.site.cloud_subscriber import CloudSubscriber, durable
from tests.site.cloudevents_reader import read_binary
from tests.site.external_broker import section
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess
    from tests.site.mosquitto_process import MosquittoProcess

UPSTREAM = """
envelope = "cloudevents"
topic_map = { "sensors/{device}/temperature" = "{gateway}/{device}/t" }
"""
CONTRACTS = """
[contracts."temperature.v2"]
topic = "sensors/{device}/temperature"
policy = "flag"
time_field = "at"
fields = { celsius = { type = "number", unit = "Cel" }, at = { type = "time", required = false } }
"""


def test_a_cloud_is_told_type_own_time_and_verdict(
    gateway_at: Callable[..., GatewayProcess], mosquitto_at: Callable[..., MosquittoProcess], tmp_path: Path
) -> None:
    cloud = mosquitto_at(config=durable(tmp_path)).start()
    gateway = gateway_at(upstream_port=cloud.port, upstream_options=UPSTREAM, config=CONTRACTS).start()
    with CloudSubscriber(cloud.port) as record:
        with RawClient(gateway.port) as device:
            device.join("s1")
            device.publish("sensors/s1/temperature", b'{"celsius": 21.5, "at": "2026-01-02T03:04:05.678+01:00"}')
            device.publish("sensors/s1/temperature", b'{"celsius": 21.5}')
            device.publish("sensors/s1/temperature", b'{"celsius": "warm"}')
            device.publish("elsewhere", b"x")
        wait_for(lambda: len(record.arrivals) == 4, what="all events")
    assert [each.topic for each in record.arrivals] == ["edge/s1/t"] * 3 + ["elsewhere"]
    events = [read_binary(each.properties.items(), None, each.payload) for each in record.arrivals]
    assert [event.get_type() for event in events] == ["temperature.v2"] * 3 + ["gateway.message"]
    assert [event.get_extension("verdict") for event in events] == [None, None, "flagged", None]
    assert [event.get_extension("topic") for event in events] == ["sensors/s1/temperature"] * 3 + ["elsewhere"]
    assert {event.get_subject() for event in events} == {"s1"}
    times = [(each.properties["time"], each.properties["recordedtime"]) for each in record.arrivals]
    assert times[0][0] == "2026-01-02T02:04:05.678000Z"
    assert times[0][0] != times[0][1]
    assert all(time == recorded for time, recorded in times[1:])


@pytest.mark.parametrize("envelope", ["raw", "cloudevents"])
def test_the_trace_of_a_device_goes_on_to_the_cloud(
    gateway_at: Callable[..., GatewayProcess],
    mosquitto_at: Callable[..., MosquittoProcess],
    mosquitto_clients: None,
    tmp_path: Path,
    envelope: str,
) -> None:
    site, cloud = mosquitto_at("site").start(), mosquitto_at("cloud", config=durable(tmp_path)).start()
    options = f'envelope = "{envelope}"'
    gateway = gateway_at(broker=section(site.port), upstream_port=cloud.port, upstream_options=options).start()
    gateway.wait_source()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    user = ["-D", "PUBLISH", "user-property"]
    properties = [*user, "traceparent", trace, *user, "id", "forged", "-D", "PUBLISH", "content-type", "text/csv"]
    to = ["-V", "mqttv5", "-h", "127.0.0.1", "-p", str(site.port), "-q", "1", "-t", "devices/probe-1/t", "-m", "1;2"]
    with CloudSubscriber(cloud.port) as record:
        subprocess.run(["mosquitto_pub", *to, *properties], check=True, timeout=30)
        wait_for(lambda: len(record.arrivals) == 1, what="the event")
    (arrival,) = record.arrivals
    assert arrival.properties["traceparent"] == trace
    assert arrival.properties["id"] != "forged"
    assert arrival.payload == b"1;2"
    if envelope == "cloudevents":
        event = read_binary(arrival.properties.items(), "text/csv", arrival.payload)
        assert event.get_extension("traceparent") == trace
        assert event.get_subject() == "probe-1"
