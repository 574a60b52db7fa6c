"""`gateway check` and friends on broken configurations: the exit code, the key, and what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Done
    from tests.site.gateway_process import GatewayProcess

GATEWAY = '[gateway]\nid = "x"\ndata_dir = "data"\n'
UPSTREAM = '[upstreams.cloud]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:1883"\n'

BROKEN = {
    "unknown key": (GATEWAY + "[broker]\nlissten = []\n", "broker.lissten: there is no such key", "'listen'"),
    "unknown section": (GATEWAY + "[brocker]\n", "brocker: there is no such key", "'broker'"),
    "unknown key of an upstream": (
        GATEWAY + UPSTREAM + "topic = []\n",
        "upstreams.cloud.topic: there is no such key",
        "'topics'",
    ),
    "unknown key like nothing": (GATEWAY + "[api]\n", "api: there is no such key", "known are gateway, broker"),
    "wrong type": (GATEWAY + "[broker]\nconnect_timeout_s = 'soon'\n", "broker.connect_timeout_s:", "'soon'"),
    "number out of range": (GATEWAY + "[log]\ncursor_interval_s = 0\n", "log.cursor_interval_s:", "greater than 0"),
    "no id": ('[gateway]\ndata_dir = "data"\n', "gateway.id: this key is missing", 'id = "greenhouse-7"'),
    "no data_dir": ('[gateway]\nid = "x"\n', "gateway.data_dir: this key is missing", 'data_dir = "data"'),
    "nothing at all": ("", "gateway: this key is missing", "[gateway]"),
    "id with spaces": (GATEWAY.replace('"x"', '"my gateway"'), "gateway.id:", "'my gateway'"),
    "listen without a scheme": (GATEWAY + '[broker]\nlisten = ["127.0.0.1:1883"]\n', "broker.listen", "mqtt://127"),
    "listen with a bad port": (GATEWAY + '[broker]\nlisten = ["mqtt://a:b"]\n', "broker.listen", "0 to 65535"),
    "listen as text": (GATEWAY + '[broker]\nlisten = "mqtt://127.0.0.1:1883"\n', "broker.listen", "list"),
    "listen empty": (GATEWAY + "[broker]\nlisten = []\n", "broker.listen", "at least 1"),
    "TLS without a certificate": (GATEWAY + '[broker]\nlisten = ["mqtts://0.0.0.0"]\n', "broker:", "`gateway init`"),
    "client certificates of nobody": (
        GATEWAY + '[broker.tls]\ncertificate = "a"\nkey = "b"\nclient_certificate = "required"\n',
        "broker.tls",
        "needs client_ca",
    ),
    "user without a hash": (
        GATEWAY + '[broker.users]\nalice = "secret"\n',
        "broker.users",
        "gateway devices hash alice",
    ),
    "bad topic filter": (
        GATEWAY + UPSTREAM + 'topics = ["a/#/b"]\n',
        "upstreams.cloud.topics.0",
        "'a/#/b' is not an MQTT topic filter",
    ),
    "bad topic filter of an upstream named like a key": (
        GATEWAY + UPSTREAM.replace("cloud", "url") + 'topics = ["+a"]\n',
        "upstreams.url.topics.0",
        "'+a' is not an MQTT topic filter",
    ),
    "kind of upstream": (GATEWAY + UPSTREAM.replace('"mqtt"', '"pigeon"'), "upstreams.cloud.type", "'mqtt'"),
    "no url": (GATEWAY + '[upstreams.cloud]\ntype = "mqtt"\n', "upstreams.cloud.url", "missing"),
    "url of a web site": (GATEWAY + UPSTREAM.replace("mqtt://", "https://"), "upstreams.cloud.url", "mqtt://host:port"),
    "password in the url": (
        GATEWAY + UPSTREAM.replace("127.", "me:secret@127."),
        "upstreams.cloud.url",
        "username and password_file",
    ),
    "password without a user": (GATEWAY + UPSTREAM + 'password = "x"\n', "upstreams.cloud", "needs a username"),
    "no TOML": ("[gateway]\nid = x\n", "is not TOML", "line 2"),
    "no UTF-8": ("[gateway]\nid = '\udcff'\n", "cannot be read", ""),
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(GATEWAY.replace('"data"', f'"{tmp_path}/data"'), encoding="utf-8")
    return path


@pytest.mark.parametrize(("text", "key", "advice"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_configuration_is_told_by_key_with_what_to_write(
    cli: Callable[..., Done], tmp_path: Path, text: str, key: str, advice: str
) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    done = cli("check", "--config", path)
    assert (done.code, done.out) == (1, "")
    assert str(path) in done.err
    assert key in done.err
    assert advice in done.err
    assert "Traceback" not in done.err


def test_every_wrong_key_is_told_at_once(cli: Callable[..., Done], tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text('[gateway]\nid = 7\n[broker]\nlisten = ["x"]\nusers = 3\n', encoding="utf-8")
    done = cli("check", "--config", path)
    assert done.code == 1
    for key in ("gateway.id", "gateway.data_dir", "broker.listen", "broker.users"):
        assert key in done.err


def test_a_right_configuration_is_told_to_be_right_with_what_would_run(cli: Callable[..., Done], config: Path) -> None:
    done = cli("check", "--config", config)
    assert (done.code, done.err) == (0, "")
    assert "is right" in done.out
    assert "no device can connect" in done.out
    assert "go nowhere" in done.out


@pytest.mark.parametrize(
    ("listen", "warned"),
    [
        ("mqtt://127.0.0.1, ws://[::1], mqtt://localhost", ()),
        ("mqtt://0.0.0.0", ("ANYBODY who reaches mqtt://0.0.0.0:1883", "readable on mqtt://0.0.0.0:1883")),
        ("ws://[::]:99", ("ANYBODY who reaches ws://[::]:99", "readable on ws://[::]:99")),
    ],
)
def test_a_door_that_is_open_to_the_network_is_warned_of(
    cli: Callable[..., Done], config: Path, monkeypatch: pytest.MonkeyPatch, listen: str, warned: tuple[str, ...]
) -> None:
    monkeypatch.setenv("GATEWAY__BROKER__LISTEN", listen)
    monkeypatch.setenv("GATEWAY__BROKER__ALLOW_ANONYMOUS", "true")
    done = cli("check", "--config", config)
    assert done.code == 0
    for text in ("ANYBODY who reaches mqtt://0.0.0.0:1883", "ANYBODY who reaches ws://[::]:99", "readable on"):
        assert (text in done.out) == any(text in each for each in warned)
    monkeypatch.setenv("GATEWAY__BROKER__ALLOW_ANONYMOUS", "false")
    assert "ANYBODY" not in cli("check", "--config", config).out


@pytest.mark.parametrize("command", ["check", "run", "status", "tail", "events"])
def test_a_missing_configuration_file_is_wrong_usage(cli: Callable[..., Done], tmp_path: Path, command: str) -> None:
    done = cli(command, "--config", tmp_path / "nowhere.toml")
    assert done.code == 2
    assert "nowhere.toml: there is no such file" in done.err


def test_without_any_configuration_the_places_looked_at_are_told(
    cli: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("check")
    assert done.code == 2
    assert "config/gateway.toml" in done.err
    assert "/etc/gateway/gateway.toml" in done.err


@pytest.mark.parametrize("arguments", [["frobnicate"], ["check", "--frobnicate"], ["tail", "--lines", "many"]])
def test_wrong_usage_exits_with_2(cli: Callable[..., Done], arguments: list[str]) -> None:
    assert cli(*arguments).code == 2


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("GATEWAY__BROKER__LISTEN", "mqtt://127.0.0.1:12345, ws://[::1]:12346", "mqtt://127.0.0.1:12345, ws://[::1]"),
        ("GATEWAY__BROKER__LISTEN", '["mqtt://127.0.0.1:12345"]', "mqtt://127.0.0.1:12345"),
        ("GATEWAY__GATEWAY__ID", "from-outside", "from-outside"),
        ("GATEWAY__GATEWAY__ID", "42", "42"),
        ("GATEWAY__UPSTREAMS__CLOUD__URL", "mqtt://other:1884", "cloud: mqtt mqtt://other:1884"),
        ("GATEWAY__UPSTREAMS__CLOUD__TOPICS", "a/#,b/+", "topics a/#, b/+"),
    ],
)
def test_the_environment_overrides_the_file(
    cli: Callable[..., Done], config: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    config.write_text(config.read_text(encoding="utf-8") + UPSTREAM, encoding="utf-8")
    monkeypatch.setenv(name, value)
    done = cli("check", "--config", config)
    assert done.code == 0, done.err
    assert told in done.out


def test_a_password_of_digits_from_the_environment_is_taken_as_text(
    cli: Callable[..., Done], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(config.read_text(encoding="utf-8") + UPSTREAM + 'username = "me"\n', encoding="utf-8")
    monkeypatch.setenv("GATEWAY__UPSTREAMS__CLOUD__PASSWORD", "20261123")
    assert cli("check", "--config", config).code == 0


def test_a_secret_of_the_wrong_type_is_not_printed(cli: Callable[..., Done], config: Path) -> None:
    config.write_text(config.read_text(encoding="utf-8") + UPSTREAM + "password = 20261123\n", encoding="utf-8")
    done = cli("check", "--config", config)
    assert done.code == 1
    assert "upstreams.cloud.password" in done.err
    assert "20261123" not in done.err


def test_a_wrong_override_is_told_by_its_key(
    cli: Callable[..., Done], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY__BROKER__CONNECT_TIMEOUT_S", "never")
    done = cli("check", "--config", config)
    assert done.code == 1
    assert "broker.connect_timeout_s" in done.err


def test_the_line_that_devices_hash_prints_lets_the_device_in(
    cli: Callable[..., Done], gateway_at: Callable[..., GatewayProcess]
) -> None:
    done = cli("devices", "hash", "green house", "--password", "päss word")
    assert done.code == 0
    guarded = gateway_at(broker=f"[broker.users]\n{done.out}")
    assert cli("check", "--config", guarded.config_path).code == 0
    guarded.start()
    with RawClient(guarded.port) as device:
        device.join("device", username="green house", password="päss word").ping()
