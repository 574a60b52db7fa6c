"""`gateway init`: what it makes lets devices in through TLS and nobody else, and nothing is overwritten."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.certificates import read_file
from gateway.cli import init, site_ca
from gateway.config import load
from tests.site.ports import free_port
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "init", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("etc") / "gateway"
    done = run(folder, "--address", "127.0.0.1", "--name", "gw.example")
    assert (done.returncode, done.stderr) == (0, "")
    assert "gateway devices add NAME" in done.stdout
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_secrets_are_for_nobody_else(made: Path) -> None:
    assert sorted(contents(made)) == ["ca.crt", "ca/ca.key", "gateway.toml", "server.crt", "server.key"]
    modes = {name: (made / name).stat().st_mode & 0o777 for name in contents(made)}
    assert modes["ca/ca.key"] == 0o600
    assert (made / "ca").stat().st_mode & 0o077 == 0
    assert modes["server.key"] & 0o007 == 0
    assert modes["gateway.toml"] & 0o007 == 0


def test_the_configuration_has_no_password_no_anonymous_access_and_no_plain_door_to_the_network(made: Path) -> None:
    config = load.load(made / "gateway.toml", {})
    assert not config.broker.allow_anonymous
    assert config.broker.users == {}
    assert all(address.has_tls or address.is_loopback for address in config.broker.addresses())
    assert any(address.has_tls and not address.is_loopback for address in config.broker.addresses())
    assert "password =" not in (made / "gateway.toml").read_text(encoding="utf-8")


def test_a_gateway_runs_with_it_and_lets_in_only_who_has_a_login(
    made: Path, gateway_at: Callable[..., GatewayProcess]
) -> None:
    edge = gateway_at()
    edge.config_path, edge.data_dir = made / "gateway.toml", made / "data"
    port = free_port()
    edge.start(env={"GATEWAY__BROKER__LISTEN": f"mqtts://127.0.0.1:{port}"})
    trusting = ssl.create_default_context(cafile=str(made / "ca.crt"))
    with RawClient(port, trusting) as stranger:
        assert stranger.connect("stranger")[1] == 5
    with RawClient(port, trusting) as stranger:
        assert stranger.connect("stranger", username="admin", password="admin")[1] in {4, 5}


def test_nothing_is_overwritten(made: Path) -> None:
    before = contents(made)
    done = run(made)
    assert (done.returncode, done.stdout) == (1, "")
    assert "exists; nothing was changed" in done.stderr
    assert contents(made) == before


@pytest.mark.parametrize("name", ["gateway.toml", "server.key", "ca.crt", "ca/ca.key"])
def test_one_file_that_exists_is_enough_for_nothing_to_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine", encoding="ascii")
    assert run(tmp_path).returncode == 1
    assert contents(tmp_path) == {name: b"mine"}


def test_what_was_made_goes_again_when_not_all_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder", encoding="ascii")
    done = run(tmp_path / "new", "--ca", tmp_path / "file" / "ca")
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert contents(tmp_path) == {"file": b"in the way of a folder"}


def test_a_renewed_certificate_has_the_same_key_and_names_and_is_signed_by_the_authority_wherever_its_key_is(
    tmp_path: Path,
) -> None:
    folder, safe = tmp_path / "gateway", tmp_path / "safe"
    assert run(folder, "--address", "127.0.0.1", "--days", 10).returncode == 0
    before = contents(folder)
    (folder / "ca").rename(safe)
    done = run(folder, "--renew")
    assert done.returncode == 1
    assert "--ca" in done.stderr
    done = run(folder, "--renew", "--ca", safe, "--name", "new.example")
    assert (done.returncode, done.stderr) == (0, "")
    after = contents(folder)
    assert {name for name in after if after[name] != before[name]} == {"server.crt"}
    host, names = site_ca.names_in(before["server.crt"])
    assert site_ca.names_in(after["server.crt"]) == (host, [*names, "new.example"])
    assert read_file(folder / "server.crt", "x")[0].until_s > read_file_of(before["server.crt"], tmp_path).until_s
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    assert (folder / "server.crt").stat().st_mode & 0o777 == 0o644


def read_file_of(content: bytes, folder: Path) -> object:
    path = folder / "before.crt"
    path.write_bytes(content)
    return read_file(path, "x")[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--name", "two words"), "no host name"),
        (("--name", ""), "no host name"),
        (("--address", "gateway.local"), "no IP address"),
        (("--renew",), "there is no such file"),
    ],
)
def test_wrong_arguments_are_told_and_nothing_is_made(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert contents(tmp_path) == {}


def test_the_key_of_another_authority_renews_nothing(tmp_path: Path) -> None:
    assert run(tmp_path / "a").returncode == 0
    assert run(tmp_path / "b").returncode == 0
    before = contents(tmp_path / "a")
    done = run(tmp_path / "a", "--renew", "--ca", tmp_path / "b" / "ca")
    assert done.returncode == 1
    assert "authority's key is not the one" in done.stderr
    assert contents(tmp_path / "a") == before


def test_a_clock_that_cannot_be_right_makes_no_certificate(
    cli_error: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "BUILT", init.BUILT.replace(year=9000))
    assert "the clock of this machine shows" in cli_error(tmp_path)
    assert contents(tmp_path) == {}


@pytest.fixture
def cli_error() -> Callable[..., str]:
    def run_here(folder: Path) -> str:
        with pytest.raises(init.ConfigError) as caught:
            init.init(folder)
        return str(caught.value)

    return run_here


def test_openssl_finds_the_chain_right(made: Path) -> None:
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "gw.example"]
    try:
        done = subprocess.run(
            [*command, "-CAfile", made / "ca.crt", made / "server.crt"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed (Debian package openssl)")
    assert done.returncode == 0, done.stderr
    assert os.access(made / "server.key", os.R_OK)
