"""Who may do what: patterns filled with names, roles, presets, and what is remembered of refusals."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from gateway.broker.presets import PRESETS, PresetName
from gateway.broker.rights import NOBODY, Identity, Rights
from gateway.broker.roles import RightsConfig, RoleConfig

ROLES = {
    "scanner": RoleConfig(publish=["in/{username}/{client_id}"], subscribe=["out/+/x", "out/{client_id}/#"]),
    "plug": RoleConfig(preset="tasmota", publish=["extra"]),
    "mute": RoleConfig(),
}
NETWORK = Rights(RightsConfig(), ROLES, is_local=False)
LOCAL = Rights()


def may_publish(rights: Rights, identity: Identity, *topics: str) -> list[bool]:
    return [rights.of(identity).may_publish(topic) for topic in topics]


# --- whoever has no role ---


def test_a_device_publishes_below_its_own_name_only() -> None:
    alice = Identity("alice", "alice")
    assert may_publish(NETWORK, alice, "devices/alice", "devices/alice/t", "devices/alice//") == [True] * 3
    others = ("devices/bob/t", "devices", "devices/alicex/t", "Devices/alice/t", "commands/alice/x", "$SYS/x", "/")
    assert may_publish(NETWORK, alice, *others) == [False] * len(others)


def test_a_device_subscribes_to_its_own_commands_only() -> None:
    rights = NETWORK.of(Identity("alice", "alice"))
    assert all(map(rights.may_subscribe, ("commands/alice/#", "commands/alice", "commands/alice/+/x")))
    refused = ("#", "+/#", "commands/#", "commands/+/x", "commands/bob/x", "devices/alice/#", "$SYS/#", "$share/g/x")
    assert not any(map(rights.may_subscribe, refused))
    assert (rights.may_receive("commands/alice/on"), rights.may_receive("commands/bob/on")) == (True, False)


def test_another_client_id_than_the_user_name_gives_no_rights_and_takes_none() -> None:
    alice = Identity("bob", "alice")
    assert may_publish(NETWORK, alice, "devices/alice/t", "devices/bob/t") == [True, False]
    assert not NETWORK.of(alice).may_subscribe("commands/bob/#")


def test_a_fleet_with_one_login_may_go_by_client_id_if_the_operator_says_so() -> None:
    rights = Rights(RightsConfig(client_id="any"), is_local=False)
    topics = ("devices/s-1/t", "devices/fleet/t", "devices/s-2/t")
    assert may_publish(rights, Identity("s-1", "fleet"), *topics) == [True, True, False]


@pytest.mark.parametrize("name", ["+", "#", "a/b", "a+", "#a", "$x", "$", "", "a\0", "/"])
def test_a_name_that_could_widen_a_pattern_grants_nothing(name: str) -> None:
    rights = Rights(RightsConfig(publish=["{username}", "a/{username}/#", "{client_id}/#"]), is_local=False)
    topics = ("a", "a/b", "a/b/c", "$x", "$x/b", "/", "//", "b/c", "a/")
    for identity in (Identity(name, name), Identity(name), Identity("x", name)):
        assert not any(may_publish(rights, identity, *topics))


def test_a_name_that_looks_like_a_placeholder_is_not_filled_in_again() -> None:
    rights = Rights(RightsConfig(publish=["a/{client_id}/{username}"]), is_local=False)
    assert may_publish(rights, Identity("{username}", "bob"), "a/bob/bob", "a/{username}/bob") == [False, True]


# --- without a login ---


def test_without_a_login_everything_is_allowed_on_loopback_but_the_topics_of_the_gateway() -> None:
    assert LOCAL.anonymous_role == "local"
    assert may_publish(LOCAL, Identity("x"), "a", "devices/y/m", "/", "$SYS/x") == [True, True, True, False]
    rights = LOCAL.of(Identity("x"))
    assert all(map(rights.may_subscribe, ("#", "$SYS/#")))
    assert rights.may_receive("$SYS/x")
    assert not rights.may_subscribe("$share/g/a")


def test_without_a_login_a_client_on_the_network_has_what_its_client_id_gives() -> None:
    assert may_publish(NETWORK, Identity("x"), "devices/x/m", "devices/y/m", "a") == [True, False, False]


@pytest.mark.parametrize(
    ("config", "role"),
    [
        ({"on_refused_publish": "drop"}, "local"),
        ({"publish": ["a"]}, "default"),
        ({"subscribe": []}, "default"),
        ({"publish": ["a"], "anonymous_role": "local"}, "local"),
        ({"anonymous_role": "mute"}, "mute"),
    ],
)
def test_rights_that_are_written_down_hold_on_loopback_too(config: dict[str, object], role: str) -> None:
    assert Rights(RightsConfig.model_validate(config)).anonymous_role == role


def test_a_connection_that_was_not_admitted_may_do_nothing() -> None:
    assert not any((NOBODY.may_publish("a"), NOBODY.may_subscribe("a"), NOBODY.may_receive("a")))


# --- roles ---


def test_a_role_has_what_it_lists_and_not_what_others_have() -> None:
    scanner = NETWORK.of(Identity("any-id", "alice", "scanner"))
    assert scanner.may_publish("in/alice/any-id"), "the client id is below the user's own name"
    assert not scanner.may_publish("devices/alice/t")
    assert scanner.may_subscribe("out/+/x")
    assert not scanner.may_subscribe("out/any-id/#")
    assert NETWORK.of(Identity("alice", "alice", "scanner")).may_subscribe("out/alice/#")


def test_a_role_that_there_is_not_and_one_without_rules_grant_nothing() -> None:
    for role in ("mute", "gone"):
        rights = NETWORK.of(Identity("alice", "alice", role))
        assert not any((rights.may_publish("devices/alice/x"), rights.may_subscribe("commands/alice/x")))


def test_two_clients_of_one_role_do_not_share_what_is_filled_in() -> None:
    for name in ("one", "two", "one"):
        plug = NETWORK.of(Identity("DVES_1", name, "plug"))
        assert plug.may_publish(f"tele/{name}/LWT")
        assert not plug.may_publish(f"tele/{'one' if name == 'two' else 'two'}/LWT")
        assert plug.may_publish("extra")


# --- presets: what the makers document ---

DEVICE_TOPICS = {
    "tasmota": (
        ["tele/NAME/LWT", "stat/NAME/POWER", "stat/NAME/RESULT", "tele/NAME/SENSOR", "tasmota/discovery/C44F33/config"],
        ["cmnd/NAME/#", "cmnd/tasmotas/#"],
    ),
    "shelly": (
        ["shellies/NAME/relay/0", "shellies/announce", "NAME/online", "NAME/events/rpc", "NAME/status/switch:0"],
        ["shellies/NAME/relay/0/command", "shellies/command", "NAME/rpc", "NAME/command/switch:0"],
    ),
    "esphome": (
        ["NAME/status", "NAME/debug", "NAME/fan/f/state", "NAME/fan/f/speed/state", "homeassistant/fan/NAME/f/config"],
        ["NAME/switch/s/command", "NAME/climate/c/mode/command"],
    ),
    "zigbee2mqtt": (
        ["zigbee2mqtt/bridge/state", "zigbee2mqtt/kitchen/light", "homeassistant/light/0x1/light/config"],
        ["zigbee2mqtt/#", "homeassistant/status"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("preset", DEVICE_TOPICS)
def test_a_preset_lets_a_device_do_what_it_does_by_default_and_home_assistant_work_with_it(preset: PresetName) -> None:
    roles = {"it": RoleConfig(preset=preset), "hub": RoleConfig(preset="homeassistant")}
    rights = Rights(RightsConfig(), roles, is_local=False)
    device, hub = rights.of(Identity("kitchen", "kitchen", "it")), rights.of(Identity("ha-x", "ha", "hub"))
    publishes, subscribes = ([each.replace("NAME", "kitchen") for each in side] for side in DEVICE_TOPICS[preset])
    assert [topic for topic in publishes if not device.may_publish(topic)] == []
    assert [each for each in subscribes if not device.may_subscribe(each)] == []
    heard = [topic for topic in publishes if topic != "kitchen/debug"]
    assert [topic for topic in heard if not hub.may_receive(topic)] == []
    commands = [each for each in subscribes if not each.endswith("#")]
    assert [topic for topic in commands if not hub.may_publish(topic)] == []
    if preset != "zigbee2mqtt":  # it speaks for many devices
        foreign = ("tele/hall/LWT", "shellies/hall/relay/0", "hall/status", "hall/events/rpc", "cmnd/kitchen/POWER")
        assert not any(map(device.may_publish, foreign))
        assert not any(map(device.may_subscribe, ("#", "cmnd/#", "hall/rpc", "shellies/hall/relay/0/command")))


def test_every_preset_is_a_set_of_valid_patterns() -> None:
    assert set(PRESETS) == set(get_args(PresetName))
    for preset in PRESETS.values():
        RoleConfig(publish=[*preset.publish], subscribe=[*preset.subscribe])


# --- what an operator writes ---


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("devices/{clientid}/#", "no other braces"),
        ("devices/{client_id}x+", "is no MQTT topic filter"),
        ("", "is no MQTT topic filter"),
        ("a/#/b", "is no MQTT topic filter"),
        ("$SYS/#", "belong to the gateway"),
    ],
)
def test_a_wrong_pattern_is_told(pattern: str, told: str) -> None:
    for model in (RightsConfig, RoleConfig):
        with pytest.raises(ValidationError, match=told):
            model(publish=[pattern])
        with pytest.raises(ValidationError, match=told):
            model(subscribe=[pattern])


# --- refusals ---


def test_refusals_are_counted_in_all_and_for_each_client_with_topic_and_reason() -> None:
    rights = Rights(RightsConfig(), is_local=False)
    alice, bob = rights.of(Identity("alice", "alice")), rights.of(Identity("b", "bob"))
    for topic in ("a", "b", "$SYS/x"):
        rights.refusals.note(alice, "publish", topic)
    rights.refusals.note(alice, "subscribe", "#")
    rights.refusals.note(bob, "publish", "c")
    assert rights.refusals.counts == {"publish": 4, "subscribe": 1, "will": 0, "connect": 0}
    own, reserved = "role 'default' does not grant it", "topics that begin with '$' belong to the gateway"
    assert [tuple(each) for each in rights.refusals.newest()] == [
        ("b", "bob", "publish", "c", own, 1),
        ("alice", "alice", "subscribe", "#", own, 1),
        ("alice", "alice", "publish", "$SYS/x", reserved, 3),
    ]


def test_a_flood_of_refusals_takes_no_more_memory_and_few_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    rights = Rights(RightsConfig(), is_local=False)
    client = rights.of(Identity("noisy", "noisy"))
    for number in range(1000):
        rights.refusals.note(client, "publish", f"{number}/" + "x" * 60_000)
    assert [record.__dict__["times"] for record in caplog.records] == [1, 10, 100, 1000]
    for number in range(500):
        rights.refusals.note(rights.of(Identity(f"c-{number}", "noisy")), "publish", "x" * 60_000)
    rows = rights.refusals.newest()
    assert (len(rows), rows[0].client_id, rights.refusals.counts["publish"]) == (100, "c-499", 1500)
    assert max(len(row.topic) for row in rows) == 200
