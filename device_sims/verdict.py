"""The verdict: was everything that was acknowledged delivered, and in order? Pure.

Lost is what was acknowledged and never arrived. Duplicates are allowed (delivery is at least once), and so are
events that arrived although their acknowledgement did not come through; both are counted, neither is held against
anyone. Order is judged on first occurrences only: a repetition comes late by nature.
"""

import json
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from device_sims.intervals import IntervalSet

EXAMPLES_MAX = 10


@dataclass(frozen=True, slots=True)
class DeviceVerdict:
    """The counts of one device."""

    device: str
    acknowledged: int = 0
    received: int = 0
    """Distinct events that arrived."""
    lost: int = 0
    duplicates: int = 0
    """Arrivals of an event beyond its first."""
    out_of_order: int = 0
    """First arrivals with a smaller `n` than some first arrival before."""
    extra: int = 0
    """Distinct events that arrived without having been acknowledged."""
    lost_examples: tuple[int, ...] = ()
    """The first few `n` of what was lost."""

    @property
    def ok(self) -> bool:
        """Nothing lost and nothing out of order."""
        return self.lost == 0 and self.out_of_order == 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts of all devices, by name, and their sums."""

    devices: tuple[DeviceVerdict, ...]
    total: DeviceVerdict

    @property
    def ok(self) -> bool:
        """Nothing lost and nothing out of order."""
        return self.total.ok


@dataclass(slots=True)
class _Arrivals:
    """What has arrived from one device."""

    received: IntervalSet = field(default_factory=IntervalSet)
    largest_n: int = 0
    duplicates: int = 0
    out_of_order: int = 0


class Tally:
    """Deliveries, counted as they arrive. Memory follows the number of devices and of gaps."""

    def __init__(self) -> None:
        self._arrivals: dict[str, _Arrivals] = {}
        self.received = 0
        """Distinct events that arrived, of all devices."""
        self.deliveries = 0
        """All arrivals."""

    def deliver(self, device: str, n: int) -> None:
        """Event `n` of `device` arrived."""
        self.deliveries += 1
        seen = self._arrivals.setdefault(device, _Arrivals())
        if not seen.received.add(n):
            seen.duplicates += 1
            return
        self.received += 1
        seen.out_of_order += n < seen.largest_n
        seen.largest_n = max(seen.largest_n, n)

    def lacks_any_of(self, acknowledged: Iterable[tuple[str, int]]) -> bool:
        """Whether something acknowledged has not arrived; stops at the first finding."""
        return any(
            device not in self._arrivals or n not in self._arrivals[device].received for device, n in acknowledged
        )

    def judge(self, acknowledged: Iterable[tuple[str, int]]) -> Verdict:
        """The verdict on what has arrived so far. `acknowledged` is read once, in any order."""
        promised: dict[str, IntervalSet] = {}
        lost: dict[str, int] = {}
        examples: dict[str, list[int]] = {}
        for device, n in acknowledged:
            if not promised.setdefault(device, IntervalSet()).add(n):
                continue
            if not self._has(device, n):
                lost[device] = lost.get(device, 0) + 1
                if lost[device] <= EXAMPLES_MAX:
                    examples.setdefault(device, []).append(n)
        return _summed(
            self._judge_device(device, len(promised.get(device, ())), lost.get(device, 0), examples.get(device, []))
            for device in sorted(promised.keys() | self._arrivals.keys())
        )

    def _has(self, device: str, n: int) -> bool:
        return device in self._arrivals and n in self._arrivals[device].received

    def _judge_device(self, device: str, acknowledged: int, lost: int, examples: list[int]) -> DeviceVerdict:
        seen = self._arrivals.get(device, _Arrivals())
        return DeviceVerdict(
            device=device,
            acknowledged=acknowledged,
            received=len(seen.received),
            lost=lost,
            duplicates=seen.duplicates,
            out_of_order=seen.out_of_order,
            extra=len(seen.received) - (acknowledged - lost),
            lost_examples=tuple(examples),
        )


def judge(acknowledged: Iterable[tuple[str, int]], delivered: Iterable[tuple[str, int]]) -> Verdict:
    """Compare what was acknowledged with what was delivered, the latter in order of arrival."""
    tally = Tally()
    for device, n in delivered:
        tally.deliver(device, n)
    return tally.judge(acknowledged)


def identify(payload: bytes) -> tuple[str, int] | None:
    """The device and `n` in a payload, or None if it is not from a simulated device.

    Reads the device's own JSON, and the same JSON in a CloudEvents 1.0 envelope (`data` or `data_base64`; structured
    mode, JSON format, section 3.1), as gateways on the way may wrap it.
    """
    try:
        content: Any = json.loads(payload)
        if isinstance(content, dict) and "specversion" in content:
            content = _unwrapped(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    device, n = content.get("device"), content.get("n")
    if not isinstance(device, str) or type(n) is not int or n < 1:
        return None
    return device, n


def _unwrapped(envelope: dict[str, Any]) -> Any:
    packed = envelope.get("data_base64")
    if isinstance(packed, str):
        return json.loads(b64decode(packed, validate=True))
    return envelope.get("data")


def _summed(devices: Iterable[DeviceVerdict]) -> Verdict:
    each = tuple(devices)
    total = DeviceVerdict(
        device="total",
        acknowledged=sum(device.acknowledged for device in each),
        received=sum(device.received for device in each),
        lost=sum(device.lost for device in each),
        duplicates=sum(device.duplicates for device in each),
        out_of_order=sum(device.out_of_order for device in each),
        extra=sum(device.extra for device in each),
    )
    return Verdict(each, total)
