"""Payloads from a file, and what contracts say of each."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from gateway.cli import show
from gateway.contracts.shape import Reason
from gateway.contracts.verdict import Stamp, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.contracts.contracts import Contract, Contracts


class Line(NamedTuple):
    """A payload of a file."""

    number: int
    topic: str
    """Empty if the line names none."""
    payload: bytes


class Outcome(NamedTuple):
    """What contracts say of it."""

    number: int
    topic: str
    contract: str
    """The one that accepted it; empty: none did."""
    violation: Violation | None
    sequence: int | None = None
    time: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether there is nothing to say against it."""
        return self.violation is None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        told = {"line": self.number, "topic": self.topic, "accepted": self.accepted, "contract": self.contract}
        if self.violation is not None:
            return {**told, **self.violation._asdict()}
        return {**told, "sequence": self.sequence, "time": self.time}


def read_lines(path: Path, topic: str | None, *, bare: bool) -> Iterator[Line]:
    """The payloads of a file.

    Args:
        path: of the file; `-` is standard input.
        topic: of every line, which is a payload then; None: each line tells its own.
        bare: without a topic a line may be the payload alone.

    Raises:
        BadParameter: there is no such file, or a line is not what it must be.
    """
    if str(path) == "-":
        text = sys.stdin.buffer.read()
    elif path.is_file():
        text = path.read_bytes()
    else:
        raise typer.BadParameter(f"{path}: there is no such file")
    for number, line in enumerate(text.split(b"\n"), start=1):
        line = line.removesuffix(b"\r")  # noqa: PLW2901 - the same line
        if not line:
            continue
        if topic is not None:
            yield Line(number, topic, line)
            continue
        told = _read(line)
        if told is None and not bare:
            raise typer.BadParameter(
                f'line {number} is not {{"topic": ..., "payload": ...}}; is it a payload? Tell its topic with --topic'
            )
        yield Line(number, *told) if told is not None else Line(number, "", line)


def _read(line: bytes) -> tuple[str, bytes] | None:
    """Topic and payload of a line that tells both; None if it does not."""
    try:
        told = json.loads(line)
        if not isinstance(told, dict) or not isinstance(told.get("topic"), str) or not told["topic"]:
            return None
        if "payload_base64" in told:
            return told["topic"], base64.b64decode(told["payload_base64"], validate=True)
        payload = told["payload"]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None
    return told["topic"], (payload if isinstance(payload, str) else json.dumps(payload)).encode()


def judge(line: Line, contracts: Contracts, only: Contract | None) -> Outcome:
    """What `contracts` say of a payload, or `only` one of them."""
    if only is not None:
        found = only.examine(line.payload)
        if isinstance(found, Reason):
            violation = Violation(only.name, only.version, "", *found, only.policy)
            return Outcome(line.number, line.topic, "", violation)
        sequence, time_ns = found or (None, None)
        return _accepted(line, only.name, sequence, time_ns)
    verdict = contracts.judge(line.topic, line.payload)
    if isinstance(verdict, Violation):
        return Outcome(line.number, line.topic, "", verdict)
    by = (each for each in contracts.contracts_of(line.topic) if not isinstance(each.examine(line.payload), Reason))
    name = next((each.name for each in by), "")
    if isinstance(verdict, Stamp):
        return _accepted(line, name, verdict.sequence, verdict.time_ns)
    return _accepted(line, name, None, None)


def _accepted(line: Line, contract: str, sequence: int | None, time_ns: int | None) -> Outcome:
    time = None if time_ns is None else show.rfc3339(time_ns)
    return Outcome(line.number, line.topic, contract, None, sequence, time)
