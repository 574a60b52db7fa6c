"""From a file and the environment to a configuration; every mistake is told with its key and what to write."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.config.load import find
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Config

REPOSITORY = Path(__file__).parents[3]
MINIMAL = """
[gateway]
id = "edge"
data_dir = "data"
"""
CLOUD = """
[upstreams.My-Cloud]
type = "mqtt"
url = "mqtt://cloud.example"
"""


def read(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Config:
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return load.load(path, environment or {})


def message_of(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as wrong:
        read(folder, text, environment)
    assert wrong.value.hint
    return str(wrong.value)


def test_the_configuration_in_the_repository_loads() -> None:
    config = load.load(REPOSITORY / "config" / "gateway.toml", {})
    assert config.gateway.id == "gateway-1"
    assert [address.host for address in config.broker.addresses()] == ["127.0.0.1"]
    assert config.upstreams == {}


def test_its_example_of_an_upstream_loads_when_it_is_uncommented(tmp_path: Path) -> None:
    text = (REPOSITORY / "config" / "gateway.toml").read_text(encoding="utf-8")
    example = text[text.index("# [upstreams.cloud]") :]
    config = read(tmp_path, text + re.sub(r"(?m)^# ?", "", example))
    assert config.upstreams["cloud"].topics == ["#"]


def test_two_keys_are_enough_and_the_rest_has_safe_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL)
    assert config.gateway.data_dir == Path("data")
    assert config.broker.listen == ["mqtt://127.0.0.1:1883"]
    assert config.broker.allow_anonymous is False
    assert config.broker.users == {}


def test_a_topic_map_keeps_the_order_it_is_written_in(tmp_path: Path) -> None:
    rules = '[upstreams.My-Cloud.topic_map]\n"s/{device}/t" = "{gateway}/{device}"\n"#" = "rest/{topic}"\n'
    config = read(tmp_path, MINIMAL + CLOUD + rules)
    assert list(config.upstreams["My-Cloud"].topic_map.items()) == [
        ("s/{device}/t", "{gateway}/{device}"),
        ("#", "rest/{topic}"),
    ]


def test_a_wrong_topic_map_names_its_key_and_what_is_known(tmp_path: Path) -> None:
    told = message_of(tmp_path, MINIMAL + CLOUD + 'topic_map = { "s/{device}/t" = "x/{devcie}" }')
    assert "upstreams.My-Cloud.topic_map: 'x/{devcie}': nothing is named {devcie} here; known are: {device}" in told


# --- which file ---


def test_the_named_file_is_used_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with pytest.raises(ConfigError, match=r"mine\.toml: there is no such file"):
        find(path)
    with pytest.raises(ConfigError, match="there is no such file"):
        find(tmp_path)
    path.touch()
    assert find(path) == path


def test_without_a_name_the_folder_comes_before_etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, etc = tmp_path / "config" / "gateway.toml", tmp_path / "etc.toml"
    monkeypatch.setattr(load, "DEFAULT_PATHS", (here, etc))
    with pytest.raises(ConfigError, match=r"no configuration: neither .* nor .* exists") as wrong:
        find(None)
    assert "--config" in wrong.value.hint
    etc.touch()
    assert find(None) == etc
    here.parent.mkdir()
    here.touch()
    assert find(None) == here


# --- the environment ---


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    environment = {
        "GATEWAY__GATEWAY__ID": "other",
        "GATEWAY__GATEWAY__DATA_DIR": "/srv/data",
        "GATEWAY__BROKER__ALLOW_ANONYMOUS": "true",
        "GATEWAY__BROKER__LISTEN": "mqtt://0.0.0.0:1883, ws://0.0.0.0:8083",
        "GATEWAY__BROKER__CONNECT_TIMEOUT_S": "2.5",
        "GATEWAY__LOG__RETENTION_BYTES_MAX": "0",
        "GATEWAY__UPSTREAMS__MY_CLOUD__TOPICS": '["a/#", "b"]',
        "GATEWAY__UPSTREAMS__MY_CLOUD__URL": "mqtts://else.example",
        "GATEWAY_OTHER": "is not ours",
        "HOME": "/home/pi",
    }
    config = read(tmp_path, MINIMAL + CLOUD, environment)
    assert (config.gateway.id, config.gateway.data_dir) == ("other", Path("/srv/data"))
    assert config.broker.allow_anonymous is True
    assert config.broker.listen == ["mqtt://0.0.0.0:1883", "ws://0.0.0.0:8083"]
    assert (config.broker.connect_timeout_s, config.log.retention_bytes_max) == (2.5, 0)
    assert [*config.upstreams] == ["My-Cloud"]
    assert config.upstreams["My-Cloud"].topics == ["a/#", "b"]
    assert config.upstreams["My-Cloud"].url == "mqtts://else.example"


def test_the_environment_alone_can_name_an_upstream(tmp_path: Path) -> None:
    environment = {
        "GATEWAY__UPSTREAMS__CLOUD__TYPE": "mqtt",
        "GATEWAY__UPSTREAMS__CLOUD__URL": "mqtt://cloud.example",
        "GATEWAY__UPSTREAMS__CLOUD__TOPICS": "a/#,,b",
        "GATEWAY__UPSTREAMS__CLOUD__USERNAME": "42",
        "GATEWAY__UPSTREAMS__CLOUD__PASSWORD": "007",
    }
    cloud = read(tmp_path, MINIMAL, environment).upstreams["cloud"]
    assert (cloud.topics, cloud.username) == (["a/#", "b"], "42")
    assert cloud.password is not None
    assert cloud.password.get_secret_value() == "007"


def test_the_environment_can_give_rights(tmp_path: Path) -> None:
    environment = {"GATEWAY__RIGHTS__PUBLISH": "a/#, b", "GATEWAY__ROLES__HUB__SUBSCRIBE": '["c/#"]'}
    config = read(tmp_path, MINIMAL, environment)
    assert config.rights.publish == ["a/#", "b"]
    assert config.roles["hub"].subscribe == ["c/#"]


def test_a_damaged_hash_is_refused_before_its_user_finds_out(tmp_path: Path) -> None:
    message = message_of(tmp_path, MINIMAL + '[broker.users]\ndev = "$argon2id$v=19$m=8"\n')
    assert "broker.users: 'dev' is not an argon2 hash" in message


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("no", False), ("1", True), ("off", False), ("False", False)]
)
def test_a_flag_in_the_environment_may_be_written_as_people_write_it(tmp_path: Path, text: str, value: bool) -> None:
    config = read(tmp_path, MINIMAL, {"GATEWAY__BROKER__ALLOW_ANONYMOUS": text})
    assert config.broker.allow_anonymous is value


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("GATEWAY__BROKER__LISTN", "mqtt://127.0.0.1", "broker.listn: there is no such key; did you mean 'listen'?"),
        ("GATEWAY__BROKER__ALLOW_ANONYMOUS", "perhaps", "broker.allow_anonymous"),
        ("GATEWAY__BROKER__CONNECTIONS_MAX", "many", "broker.connections_max"),
        ("GATEWAY__BROKER__LISTEN", "", "broker.listen"),
        ("GATEWAY__GATEWAY__ID__MORE", "x", "GATEWAY__GATEWAY__ID__MORE: id is not a section"),
        ("GATEWAY__BROKER", "x", "broker"),
        ("GATEWAY__", "x", "there is no such key"),
    ],
)
def test_a_mistake_in_the_environment_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    assert told in message_of(tmp_path, MINIMAL, {name: text})


# --- mistakes in the file ---

MISTAKES = [
    ("", "gateway: this key is missing; write for example: [gateway]"),
    ("[gateway]\nid = 'x'", 'gateway.data_dir: this key is missing; write for example: data_dir = "data"'),
    ("[gateway]\ndata_dir = 'x'", 'gateway.id: this key is missing; write for example: id = "greenhouse-7"'),
    ("[gateway]\nid = 5\ndata_dir = 'x'", "gateway.id: Input should be a valid string (it is 5)"),
    ("[gateway]\nid = 'two words'\ndata_dir = 'x'", "gateway.id"),
    ("[gateway]\nid = ''\ndata_dir = 'x'", "gateway.id"),
    (MINIMAL + "log_level = 'loud'", "gateway.log_level: Input should be 'debug', 'info', 'warning' or 'error'"),
    (MINIMAL + "log_levl = 'info'", "gateway.log_levl: there is no such key; did you mean 'log_level'?"),
    (MINIMAL + "stop_timeout_s = -1", "gateway.stop_timeout_s: Input should be greater than 0 (it is -1)"),
    (MINIMAL + "[brokr]", "brokr: there is no such key; did you mean 'broker'?"),
    (MINIMAL + "[zzz]", "zzz: there is no such key; known are gateway, broker, log, quarantine, upstreams"),
    (MINIMAL + "[broker]\nlisten = 'mqtt://x'", "broker.listen: Input should be a valid list (it is 'mqtt://x')"),
    (MINIMAL + "[broker]\nlisten = []", "broker.listen: List should have at least 1 item"),
    (MINIMAL + "[broker]\nlisten = [5]", "broker.listen.0: Input should be a valid string (it is 5)"),
    (MINIMAL + "[broker]\nlisten = ['tcp://x:1']", "'tcp://x:1' is no listen address; write for example 'mqtt://"),
    (MINIMAL + "[broker]\nlisten = ['127.0.0.1:1883']", "'127.0.0.1:1883' is no listen address; write for example"),
    (MINIMAL + "[broker]\nlisten = ['mqtt://:1883']", "'mqtt://:1883' is no listen address"),
    (MINIMAL + "[broker]\nlisten = ['mqtt://[::1']", "'mqtt://[::1' is no listen address"),
    (MINIMAL + "[broker]\nlisten = ['mqtt://a..b']", "'mqtt://a..b' is no listen address"),
    (MINIMAL + "[broker]\nlisten = ['mqtt://x:70000']", "'mqtt://x:70000': the port must be a number from 0 to 65535"),
    (MINIMAL + "[broker]\nlisten = ['mqtt://x:http']", "'mqtt://x:http': the port must be a number"),
    (MINIMAL + "[broker]\nlisten = ['mqtts://x']", "needs a section [broker.tls] with certificate and key"),
    (MINIMAL + "[broker]\nlisten = ['wss://x']", "broker: listen has an address with TLS"),
    (MINIMAL + "[broker]\nconnections_max = 0", "broker.connections_max: Input should be greater than or equal to 1"),
    (MINIMAL + "[broker]\nallow_anonymous = 'perhaps'", "broker.allow_anonymous: Input should be a valid boolean"),
    (MINIMAL + "[broker.users]\ndev = 5", "broker.users.dev: Input should be a valid string"),
    (MINIMAL + "[broker.users]\ndev = {role = 'x'}", "broker.users.dev.password: this key is missing"),
    (MINIMAL + "[rights]\npublish = ['a/{id}']", "rights.publish: 'a/{id}': a pattern may have {client_id} and"),
    (MINIMAL + "[rights]\nsubscribe = ['$SYS/#']", "rights.subscribe: '$SYS/#': topics that begin with '$' belong to"),
    (MINIMAL + "[rights]\nanonymous_role = 'x'", "rights.anonymous_role: there is no role 'x'; add a section"),
    (MINIMAL + "[roles.x]\npublsh = []", "roles.x.publsh: there is no such key; did you mean 'publish'?"),
    (MINIMAL + "[roles.x]\npreset = 'sonoff'", "roles.x.preset: Input should be 'tasmota', 'shelly', 'esphome'"),
    (MINIMAL + "[roles.local]", "roles.local: this role is built in; give yours another name"),
    (MINIMAL + "[log]\nsegment_bytes_max = 1", "log.segment_bytes_max: Input should be greater than or equal to 65536"),
    (MINIMAL + "[log]\nsynchronous = 'OFF'", "log.synchronous: there is no such key"),
    (MINIMAL + "[upstreams.cloud]", "upstreams.cloud.url: this key is missing"),
    (MINIMAL + "[upstreams.cloud]\ntype = 'mqtt'\nurl = 'mqtt://x'\ntopcs = ['#']", "did you mean 'topics'?"),
    (MINIMAL + "[upstreams.cloud]\ntype = 'mqtt'\nurl = 'mqtt://x'\ntopics = [5]", "upstreams.cloud.topics.0"),
    (MINIMAL + "[upstreams.cloud]\ntype = 'mqtt'\nurl = 'mqtt://x'\ntopics = ['a#']", "upstreams.cloud.topics"),
    (MINIMAL + "[upstreams.cloud]\ntype = 'mqtt'\nurl = 'http://x'", "upstreams.cloud.url"),
    (MINIMAL + "[upstreams.cloud]\ntype = 'kafka'\nurl = 'mqtt://x'", "upstreams.cloud.type"),
    (MINIMAL + "[upstreams.'two words']\ntype = 'mqtt'\nurl = 'mqtt://x'", "upstreams.two words"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[told[:50] for _, told in MISTAKES])
def test_a_mistake_in_the_file_names_its_key_and_what_to_write(tmp_path: Path, text: str, told: str) -> None:
    message = message_of(tmp_path, text)
    assert told in message
    assert message.startswith(str(tmp_path / "gateway.toml"))


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    message = message_of(tmp_path, "[gateway]\nid = 5\n[broker]\nconnections_max = 0\nport = 1883\n")
    for key in ("gateway.id", "gateway.data_dir", "broker.connections_max", "broker.port"):
        assert f"{key}: " in message


def test_a_password_where_a_hash_belongs_is_refused_and_not_printed(tmp_path: Path) -> None:
    message = message_of(tmp_path, MINIMAL + '[broker.users]\ndev = "hunter2"\n')
    assert "broker.users: 'dev' is not an argon2 hash; make one with: gateway devices hash dev" in message
    assert "hunter2" not in message


def test_a_login_is_a_hash_or_a_hash_with_a_role_that_there_is(tmp_path: Path) -> None:
    hashed = "$argon2id$v=19$m=8,t=1,p=1$bm9zYWx0bm9zYWx0$3M2xxsT7g0kDtX7RFpC2Cw"
    users = f'[broker.users]\ndev = "{hashed}"\nplug = {{ password = "{hashed}", role = "plug" }}\n'
    config = read(tmp_path, MINIMAL + users + "[roles.plug]\npreset = 'tasmota'\n")
    assert [(user.password, user.role) for user in config.broker.users.values()] == [(hashed, None), (hashed, "plug")]
    message = message_of(tmp_path, MINIMAL + users)
    assert "gateway.toml: broker.users.plug: there is no role 'plug'; add a section [roles.plug]" in message
    assert hashed not in message


@pytest.mark.parametrize(
    "lines",
    [
        "password = 123456789",
        "password = ['123456789']",
        "password = '123456789'\npassword_file = 'x'",
        "password = '123456789'",
        "url = 'mqtt://user:123456789@x'",
        "url = 'mqtt://user:123456789@x'\nport = 1",
        "url = 'http://user:123456789@x'",
    ],
)
def test_no_message_prints_a_secret(tmp_path: Path, lines: str) -> None:
    url = "" if "url" in lines else "url = 'mqtt://x'\n"
    message = message_of(tmp_path, f"{MINIMAL}[upstreams.cloud]\ntype = 'mqtt'\n{url}{lines}\n")
    assert "upstreams.cloud" in message
    assert "123456789" not in message


def test_a_file_that_is_not_toml_is_told_with_its_line(tmp_path: Path) -> None:
    assert "is not TOML" in message_of(tmp_path, "[gateway]\nid = edge\n")
    assert "line 2" in message_of(tmp_path, "[gateway]\nid = edge\n")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load.load(path, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load.load(tmp_path, {})


# --- anything ---

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["gateway", "broker", "log", "upstreams", "id", "data_dir", "listen", "users", "cloud", "type", "url", "topics"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SECTIONS = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=3)))
ENVIRONMENT = st.dictionaries(
    st.lists(KEYS, max_size=4).map(lambda parts: "__".join(["GATEWAY", *parts]).upper()),
    st.text(max_size=20),
    max_size=3,
)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
    return str(value).lower()


@settings(deadline=None, max_examples=150)
@given(SECTIONS, ENVIRONMENT)
def test_anything_is_a_configuration_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], environment: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "anything.toml"
    lines = [f"{toml(key)} = {toml(value)}\n" for key, value in values.items()]
    path.write_text("".join(lines), encoding="utf-8")
    with suppress(ConfigError):
        load.load(path, environment)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_configuration_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "anything.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load.load(path, {})
