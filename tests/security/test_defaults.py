"""What a gateway does that nobody has told anything: it is closed, and what it keeps is its own."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from gateway.config.load import load
from tests.site.gateway_process import GatewayProcess
from tests.site.ports import free_port
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Gateways = Callable[..., GatewayProcess]

SHIPPED = Path(__file__).parents[2] / "config" / "gateway.toml"
GUESSES = [
    None,
    ("", ""),
    ("admin", "admin"),
    ("gateway", "gateway"),
    ("root", ""),
    ("mqtt", "mqtt"),
    ("user", "password"),
]
SILENT = "allow_anonymous = false"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path_factory.mktemp("closed"), "closed", broker=SILENT).start()
    yield process
    process.kill()


def test_the_shipped_configuration_reaches_no_further_than_this_machine_and_has_no_login(tmp_path: Path) -> None:
    shipped = load(SHIPPED, {}).broker
    assert shipped.is_local()
    assert shipped.users == {}
    bare = tmp_path / "bare.toml"
    bare.write_text(f'[gateway]\nid = "x"\ndata_dir = "{tmp_path}/data"\n', encoding="utf-8")
    unsaid = load(bare, {}).broker
    assert unsaid.is_local()
    assert not unsaid.allow_anonymous
    assert unsaid.users == {}


@pytest.mark.parametrize("guess", GUESSES, ids=str)
def test_nobody_gets_in_whom_the_operator_has_not_named(closed: GatewayProcess, guess: tuple[str, str] | None) -> None:
    login = {} if guess is None else {"username": guess[0], "password": guess[1]}
    with RawClient(closed.port) as client:
        assert client.connect("anybody", **login)[1] != 0
        assert client.is_closed()


def test_it_listens_on_what_it_is_told_and_on_nothing_else(gateway_at: Gateways) -> None:
    gateway = gateway_at(upstream_port=free_port(), websocket=True).start()
    assert gateway.process is not None
    listening = {
        (each.laddr.ip, each.laddr.port)
        for each in psutil.Process(gateway.process.pid).net_connections(kind="inet")
        if each.status in {psutil.CONN_LISTEN, psutil.CONN_NONE}
    }
    assert listening == {("127.0.0.1", gateway.port), ("127.0.0.1", gateway.ws_port)}


def test_what_it_stores_and_a_backup_can_be_read_by_its_own_user_only(gateway_at: Gateways, tmp_path: Path) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as device:
        device.join("device").publish("devices/device/t", b"private")
    backup = tmp_path / "backup"
    assert gateway.command("backup", str(backup)).returncode == 0
    for path in (*gateway.data_dir.rglob("*"), *backup.rglob("*"), gateway.data_dir, backup):
        assert not stat.S_IMODE(path.lstat().st_mode) & 0o077, path
