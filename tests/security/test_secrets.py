"""Where a secret must not turn up: in the log at its most talkative, in what commands print, in the data directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.broker.login import hash_password
from tests.site.ports import free_port, wait_for
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess

DEVICE, UPSTREAM, GUESS = "correct-horse-device", "battery-staple-upstream", "wrong-guess-of-an-intruder"


@pytest.fixture
def talkative(gateway_at: Callable[..., GatewayProcess], tmp_path: Path) -> GatewayProcess:
    (tmp_path / "cloud-password").write_text(UPSTREAM + "\n", encoding="utf-8")
    hashed = hash_password(DEVICE)
    gateway = gateway_at(
        upstream_port=free_port(),
        upstream_options=f'username = "gateway-1"\npassword_file = "{tmp_path}/cloud-password"',
        broker=f'[broker.users]\n"alice" = "{hashed}"',
    )
    return gateway.start(env={"GATEWAY__GATEWAY__LOG_LEVEL": "debug"})


def test_no_secret_is_logged_printed_or_stored(talkative: GatewayProcess) -> None:
    with RawClient(talkative.port) as alice, RawClient(talkative.port) as mallory:
        alice.join("alice", username="alice", password=DEVICE).publish("devices/alice/t", b"x")
        assert mallory.connect("mallory", username="alice", password=GUESS)[1] != 0
    wait_for(lambda: talkative.upstream()["state"] != "connecting", what="a try to reach the upstream")
    printed = "".join(
        talkative.command(*command).stdout for command in (["status"], ["status", "--json"], ["check"], ["events"])
    )
    assert talkative.process is not None
    arguments = Path(f"/proc/{talkative.process.pid}/cmdline").read_text(encoding="utf-8")
    assert talkative.stop() == 0
    stored = b"".join(path.read_bytes() for path in talkative.data_dir.rglob("*") if path.is_file())
    assert "alice" in printed
    assert b"devices/alice/t" in stored
    for secret in (DEVICE, UPSTREAM, GUESS, "$argon2"):
        assert secret not in talkative.log()
        assert secret not in printed
        assert secret not in arguments
        assert secret.encode() not in stored
