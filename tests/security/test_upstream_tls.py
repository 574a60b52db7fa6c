"""A gateway that forwards to a real Mosquitto through TLS: what is wrong is told, and heals without a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.site.certificates import SiteCertificates
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess
    from tests.site.mosquitto_process import MosquittoProcess


def test_a_certificate_that_the_upstream_refuses_blocks_and_a_new_one_is_used_without_a_restart(
    gateway_at: Callable[..., GatewayProcess], mosquitto_at: Callable[..., MosquittoProcess], tmp_path: Path
) -> None:
    site = SiteCertificates(tmp_path / "cloud")
    server, key = site.server(days=20)
    cloud = mosquitto_at(
        config=f"cafile {site.ca_path}\ncertfile {server}\nkeyfile {key}\nrequire_certificate true\n"
    ).start()
    ours = site.issue("hub", began_days_ago=50, days=20)
    section = f"""
        url = "mqtts://127.0.0.1:{cloud.port}"
        type = "mqtt"
        ca_file = "{site.ca_path}"
        certificate_file = "{ours[0]}"
        key_file = "{ours[1]}"
        blocked_retry_s = 0.2
        backoff_initial_s = 0.1
    """
    edge = gateway_at(config=f"[upstreams.cloud]\n{section}").start()
    with RawClient(edge.port) as device:
        device.join("dev").publish("t/1", b"x")
    wait_for(lambda: edge.upstream()["state"] == "blocked", what="the expired certificate is refused")
    assert "certificate_file" in edge.upstream()["reason"]
    shown = edge.command("status").stdout
    assert "certificate upstreams.cloud.certificate_file" in shown
    assert "expired on" in shown

    site.issue("hub")
    wait_for(edge.is_drained, what="the new certificate is used")
    found = {each["what"]: each for each in edge.status()["certificates"]}
    assert found["upstreams.cloud.certificate_file"]["problem"] is None
    assert "expires on" in found["upstreams.cloud: the server's"]["problem"]
    assert found["upstreams.cloud: the server's"]["days_left"] in {18, 19}
