"""What an accepted payload says of itself: the device's own time, and its own number of the message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.contracts.moments import epoch_ns, rfc3339_ns
from gateway.contracts.shape import Reason, told

if TYPE_CHECKING:
    from gateway.contracts.moments import TimeUnit

_SEQUENCE_MAX = 2**63 - 1
"""What fits a database."""
_MISSING = object()


class Unfit(ValueError):  # noqa: N818 - named for what the value is
    """A field that was named for time or number has something else."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.rule)
        self.reason = reason


class Stamper:
    """Reads the fields that a contract names. A field that is not there says nothing; one that is has to be right."""

    def __init__(self, time_field: str | None, time_unit: TimeUnit, sequence_field: str | None) -> None:
        self._time_field = time_field
        self._time_unit = time_unit
        self._time_way = () if time_field is None else tuple(time_field.split("."))
        self._sequence_field = sequence_field
        self._sequence_way = () if sequence_field is None else tuple(sequence_field.split("."))

    def read(self, value: Any) -> tuple[int | None, int | None]:
        """Number of the message and nanoseconds since 1970, each None if the payload does not say.

        Raises:
            Unfit: one of them is there and is none.
        """
        sequence = time_ns = None
        if self._sequence_way:
            found = _find(value, self._sequence_way)
            if found is not _MISSING and found is not None:
                sequence = self._sequence(found)
        if self._time_way:
            found = _find(value, self._time_way)
            if found is not _MISSING and found is not None:
                time_ns = self._time(found)
        return sequence, time_ns

    def _sequence(self, found: object) -> int:
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _SEQUENCE_MAX:
            raise Unfit(Reason(self._sequence_field or "", "sequence_field", told(found)))
        return found

    def _time(self, found: object) -> int:
        try:
            if isinstance(found, str):
                return rfc3339_ns(found)
            if isinstance(found, (int, float)) and not isinstance(found, bool):
                return epoch_ns(found, self._time_unit)
        except (ValueError, ArithmeticError):
            pass
        raise Unfit(Reason(self._time_field or "", "time_field", told(found)))


def _find(value: Any, way: tuple[str, ...]) -> Any:
    for part in way:
        if isinstance(value, dict):
            value = value.get(part, _MISSING)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value
