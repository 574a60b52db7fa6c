"""A contract that is learned from payloads: their codec, what is in them, and all of it written in TOML. Pure.

The promise: what is written loads as it is, and accepts every payload it was learned from, empty ones excepted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.contracts.codecs import decoder_of
from gateway.contracts.contracts import REFUSALS
from gateway.contracts.fields import is_time
from gateway.contracts.learned import Seen
from gateway.contracts.moments import rfc3339_ns
from gateway.contracts.toml_text import inline, key_text
from gateway.patterns import TopicPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.contracts.codecs import Codec
    from gateway.contracts.learned import Told

_BINARY: tuple[Codec, ...] = ("cbor", "msgpack")
_CODECS: tuple[Codec, ...] = ("number", "json", *_BINARY, "text")
"""The most telling first; `raw` is what none of them fits."""
_DAY_NS = 86_400 * 1_000_000_000
_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_DEVICES_MAX = 10_000
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


class Sample(NamedTuple):
    """A message, as far as it is looked at."""

    device: str
    topic: str
    payload: bytes
    received_ns: int


class Counted(NamedTuple):
    """How a number behaves from message to message of a device."""

    next: int
    """How often it was one more than before."""
    steps: int
    """How often there was one before."""


def learn(topic: str, samples: Sequence[Sample], *, name: str | None = None, codec: Codec | None = None) -> str:
    """A contract for `topic` in TOML, for the payloads of `samples`.

    Args:
        topic: a topic or filter, also with named levels.
        samples: in the order they came.
        name: of the contract; by default made of the topic.
        codec: how payloads are written, if that is known.

    Raises:
        ValueError: there is nothing to learn from, or not every payload is written so.
    """
    full = [each for each in samples if each.payload]
    if not full:
        raise ValueError(f"no event on {topic!r} has a payload to learn from")
    codec = codec or codec_of([each.payload for each in full])
    decode = decoder_of(codec)
    values = []
    for each in full:
        try:
            values.append(decode(each.payload))
        except REFUSALS as error:
            raise ValueError(f"not every payload is {codec}: {error}") from error
    devices, topics = len({each.device for each in full}), len({each.topic for each in full})
    lines = [
        f"# Learned from {len(full):,} event(s) of {devices:,} device(s) on {topics:,} topic(s).",
        "# Look it over: limits are what was seen and half of that range beyond; units are not known.",
    ]
    if len(full) < len(samples):
        lines.append(f"# {len(samples) - len(full):,} empty payload(s), which clear a retained message, are left out.")
    lines.append(f"[contracts.{key_text(name or name_of(topic))}]")
    lines.append(f"topic = {inline(with_device(topic, full))}")
    lines += [f"codec = {inline(codec)}"] if codec != "json" else []
    return "\n".join([*lines, *_body(codec, full, values, name or name_of(topic))]) + "\n"


def codec_of(payloads: Sequence[bytes]) -> Codec:
    """How all of them are written: the most telling of the ways that fit."""
    for codec in _CODECS:
        if _fits(decoder_of(codec), payloads, only_objects=codec in _BINARY):
            return codec
    return "raw"


def _fits(decode: Callable[[bytes], Any], payloads: Sequence[bytes], *, only_objects: bool) -> bool:
    """Nearly any bytes are some CBOR or MessagePack, so of these objects count only."""
    try:
        return all(not only_objects or isinstance(value, dict) for value in map(decode, payloads))
    except REFUSALS:
        return False


def name_of(topic: str) -> str:
    """A name for the contract of a topic: its levels that are written out."""
    literal = [level for level in topic.split("/") if level not in ("+", "#") and not level.startswith("{")]
    return _NOT_IN_NAMES.sub("-", "-".join(literal)).strip("-_")[:64] or "learned"


def with_device(topic: str, samples: Sequence[Sample]) -> str:
    """The topic as a pattern whose level `{device}` is named, if it is the one that always is the device's name."""
    pattern = TopicPattern(topic)
    if "device" in pattern.names:
        return topic
    levels = topic.split("/")
    for at, level in enumerate(levels):
        if level == "+" and all(each.topic.split("/")[at] == each.device for each in samples):
            return "/".join([*levels[:at], "{device}", *levels[at + 1 :]])
    return topic


def _body(codec: Codec, samples: Sequence[Sample], values: Sequence[Any], name: str) -> Iterator[str]:
    seen = Seen()
    for value in values:
        seen.add(value)
    if codec == "raw":
        return
    if set(seen.kinds) == {"object"} and seen.fields is not None and codec in ("json", *_BINARY):
        yield from _stamps(seen, samples, values)
        yield from _fields(seen, ("contracts", name, "fields"))
        return
    told = seen.told(of=len(values))
    if told.field["type"] != "any" or codec not in ("number", "text"):
        yield f"value = {_value(told)}  # {told.seen}"


def _fields(seen: Seen, way: tuple[str, ...]) -> Iterator[str]:
    """A table of fields, and behind it those of the objects within."""
    objects = []
    yield f"\n[{'.'.join(map(key_text, way))}]"
    for key, inner in (seen.fields or {}).items():
        told = inner.told(of=seen.kinds["object"])
        if told.field["type"] == "object" and inner.fields:
            objects.append((key, told))
        else:
            yield f"{key_text(key)} = {_value(told)}  # {told.seen}"
    for key, told in objects:
        below = (*way, key)
        yield f"\n[{'.'.join(map(key_text, below))}]  # {told.seen}"
        yield from (f"{name} = {inline(value)}" for name, value in told.field.items())
        yield from _fields(told.inside, (*below, "fields"))


def _value(told: Told) -> str:
    return inline(_complete(told))


def _complete(told: Told) -> dict[str, Any]:
    """With what is within it."""
    field, inside = dict(told.field), told.inside
    if field["type"] == "array" and inside.items is not None and inside.items.count:
        field["items"] = _complete(inside.items.told(of=inside.items.count))
    if field["type"] == "object" and inside.fields:
        objects = inside.kinds["object"]
        field["fields"] = {key: _complete(inner.told(of=objects)) for key, inner in inside.fields.items()}
    return field


def _stamps(seen: Seen, samples: Sequence[Sample], values: Sequence[Any]) -> Iterator[str]:
    """Suggestions, not in force: what may be the device's own number and time of a message."""
    for way, inner in seen.walk():
        if "object" in inner.kinds or inner.count < len(values) or any("." in key for key in way):
            continue
        found = [_at(value, way) for value in values]
        counted = _count(samples, found)
        if counted is not None and counted.steps and counted.next >= 0.9 * counted.steps:
            how_often = f"{counted.next:,} of {counted.steps:,}"
            yield f"# sequence_field = {inline('.'.join(way))}  # one more than the last time in {how_often}"
        unit = _time_unit(samples, found)
        if unit is not None:
            yield f"# time_field = {inline('.'.join(way))}  # within a day of the time of receipt"
            if unit not in ("", "s"):
                yield f"# time_unit = {inline(unit)}"


def _count(samples: Sequence[Sample], found: Sequence[Any]) -> Counted | None:
    """How whole numbers go on from message to message of a device; None if they are none."""
    last: dict[tuple[str, str], int] = {}
    following = steps = 0
    for sample, number in zip(samples, found, strict=True):
        if type(number) is not int:
            return None
        key = sample.device, sample.topic
        if key in last:
            steps += 1
            following += number == last[key] + 1
        if key in last or len(last) < _DEVICES_MAX:
            last[key] = number
    return Counted(following, steps)


def _time_unit(samples: Sequence[Sample], found: Sequence[Any]) -> str | None:
    """The unit in which values are times close to those of receipt; empty for RFC 3339, None if they are none."""
    if all(isinstance(value, str) and is_time(value) for value in found):
        near = all(
            abs(rfc3339_ns(value) - each.received_ns) < _DAY_NS for each, value in zip(samples, found, strict=True)
        )
        return "" if near else None
    if not all(type(value) in (int, float) for value in found):
        return None
    for unit, factor in _UNITS.items():
        if _are_near(samples, found, factor):
            return unit
    return None


def _are_near(samples: Sequence[Sample], found: Sequence[float], factor: int) -> bool:
    """Whether each is within a day of the time its message was received."""
    pairs = zip(samples, found, strict=True)
    return all(abs(value * factor - each.received_ns) < _DAY_NS for each, value in pairs)


def _at(value: Any, way: tuple[str, ...]) -> Any:
    for key in way:
        value = value.get(key) if isinstance(value, dict) else None
    return value
