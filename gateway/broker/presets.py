"""Topics that what people own uses by its makers' defaults, as rights.

The user name is the name that the device has in its topics: Tasmota's Topic, Shelly's device id or topic prefix,
ESPHome's node name. Sources: tasmota.github.io/docs/MQTT, shelly-api-docs.shelly.cloud (gen1 MQTT; gen2+ MQTT),
esphome.io/components/mqtt.html, zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html,
home-assistant.io/integrations/mqtt.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

PresetName = Literal["tasmota", "shelly", "esphome", "zigbee2mqtt", "homeassistant"]


class Preset(NamedTuple):
    """Patterns of topic filters."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


PRESETS: dict[PresetName, Preset] = {
    "tasmota": Preset(
        publish=("tele/{username}/#", "stat/{username}/#", "tasmota/discovery/#"),
        # a command to it, to all of them, and to the topic that its client id makes
        subscribe=("cmnd/{username}/#", "cmnd/tasmotas/#", "cmnd/{client_id}_fb/#"),
    ),
    "shelly": Preset(
        publish=(
            "shellies/{username}/#",  # gen1
            "shellies/announce",
            "{username}/online",  # gen2 and later
            "{username}/status/#",
            "{username}/events/rpc",
            "{username}/debug/#",
        ),
        subscribe=(
            "shellies/{username}/#",
            "shellies/command",
            "{username}/command/#",
            "{username}/rpc",
        ),
    ),
    "esphome": Preset(
        publish=(
            "{username}/status",
            "{username}/debug",
            "{username}/+/+/#",  # <kind>/<name>/state, and deeper for those with several
            "homeassistant/+/{username}/#",
            "esphome/discover/{username}",
        ),
        subscribe=("{username}/+/+/#", "esphome/discover", "esphome/ping/{username}"),
    ),
    "zigbee2mqtt": Preset(
        publish=("zigbee2mqtt/#", "homeassistant/#"),
        subscribe=("zigbee2mqtt/#", "homeassistant/#"),
    ),
    "homeassistant": Preset(
        publish=(
            "homeassistant/#",
            "commands/#",
            "cmnd/#",
            "shellies/#",
            "+/command/#",
            "+/rpc",
            "+/+/+/command",
            "+/+/+/+/command",
            "zigbee2mqtt/#",
        ),
        subscribe=(
            "homeassistant/#",
            "devices/#",
            "tele/#",
            "stat/#",
            "tasmota/discovery/#",
            "shellies/#",
            "+/online",
            "+/status/#",
            "+/events/rpc",
            "esphome/discover/#",
            "+/+/+/state",
            "+/+/+/+/state",
            "zigbee2mqtt/#",
        ),
    ),
}
"""By name. Home Assistant reads what the others and our own devices publish, and commands them."""
