"""What payloads have in common, seen one after the other, told as the fields of a contract. Pure.

The promise: what is told accepts every value that was seen. Beyond what was seen there is room: numbers by half of the
range they have shown, texts and arrays by the length they have shown. Only texts that repeat themselves become a list.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.contracts.fields import is_time

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS_MAX = 200
"""Keys of one object; with more it is no record but a map, and is told as an object of anything."""
DEPTH_MAX = 10
"""What is nested deeper is not looked into."""
_DISTINCT_MAX = 8
"""Texts that are a list; more are free text."""
_REPEATED_MIN = 5
"""So often each text of a list has been seen on average."""
_TEXT_REMEMBERED_MAX = 64
_EXACT_MAX = 1e15
"""Beyond it limits are left out: what stands in a payload and what is compared may differ."""
_KINDS: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", bytes: "bytes"}


class Told(NamedTuple):
    """What a value has to be, and what was seen."""

    field: dict[str, Any]
    """As a contract has it, without what is within it; `type` always stands there."""
    seen: str
    """For people."""
    inside: Seen
    """What it was told from."""


class Seen:
    """What was seen at one place."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self.count = 0
        """How often there was something."""
        self.kinds: Counter[str] = Counter()
        self.least: float = math.inf
        self.most: float = -math.inf
        self.texts: Counter[str] | None = Counter()
        """How often which text was seen; None: too many, or too long."""
        self.longest = 0
        self.times = 0
        self.fields: dict[str, Seen] | None = {} if depth < DEPTH_MAX else None
        """Of objects; None: too many keys, or nested too deep."""
        self.items: Seen | None = None
        """Of arrays."""

    def add(self, value: Any) -> None:
        """See one more."""
        self.count += 1
        kind = type(value)
        if value is None:
            self.kinds["null"] += 1
        elif kind is dict:
            self.kinds["object"] += 1
            self._add_object(value)
        elif kind is list:
            self.kinds["array"] += 1
            self.longest = max(self.longest, len(value))
            if self._depth < DEPTH_MAX:
                self.items = self.items or Seen(self._depth + 1)
                for item in value:
                    self.items.add(item)
        else:
            self.kinds[_KINDS[kind]] += 1
            self._add_scalar(value, kind)

    def _add_object(self, value: dict[str, Any]) -> None:
        if self.fields is None:
            return
        for key, inner in value.items():
            if key not in self.fields and len(self.fields) >= KEYS_MAX:
                self.fields = None
                return
            self.fields.setdefault(key, Seen(self._depth + 1)).add(inner)

    def _add_scalar(self, value: Any, kind: type) -> None:
        if kind in (int, float):
            self.least, self.most = min(self.least, value), max(self.most, value)
        elif kind is str:
            self.longest = max(self.longest, len(value))
            self.times += is_time(value)
            if self.texts is not None:
                self.texts[value] += 1
                if len(self.texts) > _DISTINCT_MAX or len(value) > _TEXT_REMEMBERED_MAX:
                    self.texts = None
        elif kind is bytes:
            self.longest = max(self.longest, len(value))

    def told(self, *, of: int) -> Told:
        """As a contract has it; it was looked for `of` times."""
        kinds = {kind for kind in self.kinds if kind != "null"}
        if kinds == {"integer", "number"}:
            kinds = {"number"}
        if len(kinds) != 1 or not self._has_limits(kinds):
            field: dict[str, Any] = {"type": "any"}
        else:
            (kind,) = kinds
            field = getattr(self, f"_{kind}")()
        if self.kinds["null"] and field["type"] != "any":
            field["nullable"] = True
        if self.count < of:
            field["required"] = False
        return Told(field, self._in_words(of), self)

    def walk(self, way: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Seen]]:
        """Every place in objects, the outer ones first."""
        yield way, self
        for key, inner in (self.fields or {}).items():
            yield from inner.walk((*way, key))

    def _has_limits(self, kinds: set[str]) -> bool:
        """Whether numbers are such that can be compared."""
        return not kinds & {"integer", "number"} or max(abs(self.least), abs(self.most)) <= _EXACT_MAX

    def _number(self) -> dict[str, Any]:
        least, most = with_margin(self.least, self.most)
        return {"type": "number", "min": least, "max": most}

    def _integer(self) -> dict[str, Any]:
        least, most = with_margin(self.least, self.most)
        return {"type": "integer", "min": math.floor(least), "max": math.ceil(most)}

    def _boolean(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def _bytes(self) -> dict[str, Any]:
        return {"type": "bytes", "length_max": room_for(self.longest)}

    def _string(self) -> dict[str, Any]:
        strings = self.kinds["string"]
        if self.times == strings:
            return {"type": "time"}
        if self.texts is not None and strings >= _REPEATED_MIN * len(self.texts):
            return {"type": "string", "enum": sorted(self.texts)}
        return {"type": "string", "length_max": room_for(self.longest)}

    def _array(self) -> dict[str, Any]:
        return {"type": "array", "items_max": room_for(self.longest)}

    def _object(self) -> dict[str, Any]:
        return {"type": "object"}

    def _in_words(self, of: int) -> str:
        words = [f"in {self.count:,} of {of:,}"]
        if len(self.kinds) > 1:
            words.append(" and ".join(f"{times:,} times {kind}" for kind, times in sorted(self.kinds.items())))
        if self.least <= self.most:
            words.append(f"{_short(self.least)} to {_short(self.most)}")
        if self.longest:
            words.append(f"up to {self.longest:,} long")
        if self.texts and len(self.texts) <= _DISTINCT_MAX:
            words.append(f"{len(self.texts)} different")
        if self.fields is None and self.kinds["object"]:
            words.append("too many keys, or nested too deep, to look into")
        return ", ".join(words)


def _short(number: float) -> str:
    return f"{number:g}" if abs(number) < _EXACT_MAX else str(number)[:40]


def with_margin(least: float, most: float) -> tuple[float, float]:
    """Limits with room for half of the range on both sides, in round numbers; a sign that was never seen stays out."""
    room = (most - least) / 2 or abs(most) / 2 or 1
    low = 0 if least >= 0 and least - room < 0 else _rounded(least - room, math.floor)
    high = 0 if most <= 0 and most + room > 0 else _rounded(most + room, math.ceil)
    return min(low, least), max(high, most)


def room_for(length: int) -> int:
    """Twice as long, and not less than 8."""
    return max(8, 2 * length)


def _rounded(number: float, to: Any) -> float:
    """Away from what was seen, to two digits."""
    if not number:
        return 0
    step = 10.0 ** (math.floor(math.log10(abs(number))) - 1)
    rounded = to(float(f"{number / step:.9g}")) * step  # a float's last digits would make 14 of 15
    exact = round(rounded, max(0, -math.floor(math.log10(step))))
    return int(exact) if float(exact).is_integer() else exact
