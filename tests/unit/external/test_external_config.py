"""Section [broker] of an external broker: every mistake is told with its key and what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.config import load
from gateway.errors import ConfigError
from gateway.external.config import ExternalBrokerConfig

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.model import Config

GATEWAY = '[gateway]\nid = "edge"\ndata_dir = "data"\n'
OTHER = "it is one of another kind or mode"
EXTERNAL = '[broker]\nmode = "external"\nurl = "mqtt://site.example"\n'


def read(folder: Path, text: str, environment: dict[str, str] | None = None) -> Config:
    path = folder / "gateway.toml"
    path.write_text(GATEWAY + text, encoding="utf-8")
    return load.load(path, environment or {})


def external(folder: Path, lines: str = "", environment: dict[str, str] | None = None) -> ExternalBrokerConfig:
    broker = read(folder, EXTERNAL + lines, environment).broker
    assert isinstance(broker, ExternalBrokerConfig)
    return broker


def test_a_url_is_enough(tmp_path: Path) -> None:
    broker = external(tmp_path)
    assert (broker.address.host, broker.address.port, broker.address.tls) == ("site.example", 1883, False)
    assert (broker.topics, broker.version, broker.expiry_s) == (["#"], "5", 604_800)


def test_0_keeps_the_session_for_ever(tmp_path: Path) -> None:
    assert external(tmp_path, "session_expiry_s = 0").expiry_s == 0xFFFFFFFF


def test_a_topic_counts_once(tmp_path: Path) -> None:
    assert external(tmp_path, 'topics = ["a/#", "b", "a/#"]').topics == ["a/#", "b"]


def test_lists_come_from_the_environment_too(tmp_path: Path) -> None:
    environment = {
        "GATEWAY__BROKER__TOPICS": "a/#, b",
        "GATEWAY__BROKER__DEVICE_PATTERNS": "a/{device}/#",
        "GATEWAY__BROKER__URL": "mqtts://other.example:1",
    }
    broker = external(tmp_path, environment=environment)
    assert (broker.topics, broker.device_patterns, broker.address.port) == (["a/#", "b"], ["a/{device}/#"], 1)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('topics = ["a/#/b"]', "broker.topics: 'a/#/b' is not an MQTT topic filter"),
        ("topics = []", "broker.topics: "),
        ('device_patterns = ["a/#"]', "broker.device_patterns: 'a/#' must have one named level, {device}"),
        ('password_file = "secret"', "broker: a password needs a username"),
        ('ca_file = "ca.pem"', "broker: ca_file needs an mqtts:// url"),
        ("backoff_initial_s = 50", "broker: backoff_initial_s is above backoff_max_s"),
        ("receive_max = 0", "broker.receive_max: "),
        ('password = "x"', "broker.password: there is no such key"),
        (
            'listen = ["mqtt://127.0.0.1:1883"]',
            "broker.listen: there is no such key; it is one of another kind or mode",
        ),
        ("allow_anonymous = true", f"broker.allow_anonymous: there is no such key; {OTHER}"),
        ('[broker.users]\na = "b"', f"broker.users: there is no such key; {OTHER}"),
        ('[broker.tls]\ncertificate = "b"', f"broker.tls: there is no such key; {OTHER}"),
        ("[rights]\npublish = []", 'rights: with broker.mode = "external" devices log in at that broker'),
    ],
)
def test_what_makes_no_sense_is_an_error(tmp_path: Path, lines: str, told: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        external(tmp_path, lines)
    assert told in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[broker]\nmode = "extern"', 'broker: write mode = "embedded"'),
        ('[broker]\nmode = "external"', "broker.url: this key is missing"),
        ('[broker]\nurl = "mqtt://x"', f"broker.url: there is no such key; {OTHER}"),
        ('[broker]\nmode = "external"\nurl = "http://x"', "broker.url: 'http://x' is no MQTT address"),
        ('[broker]\nmode = "external"\nurl = "mqtt://a:secret@x"', "credentials do not belong into the URL"),
    ],
)
def test_a_wrong_mode_or_url_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, text)
    assert told in str(wrong.value)
    assert "secret" not in str(wrong.value)


def test_roles_of_included_files_are_no_mistake(tmp_path: Path) -> None:
    assert read(tmp_path, EXTERNAL + '[roles.plug]\npublish = ["tele/#"]').roles["plug"].publish == ["tele/#"]
