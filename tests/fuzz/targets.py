"""What any bytes must not break: the framing of a connection, CONNECT, and a configuration file.

A target is a function of bytes that raises if the gateway would do wrong. The same three serve Hypothesis and the kept
corpus in every test run (`test_targets.py`), and atheris, which is guided by the code that it reaches (`guided.py`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.broker import packets
from gateway.broker.config import BrokerConfig
from gateway.broker.rights import Identity, Rights
from gateway.config import load
from gateway.contracts.build import build as contracts_of
from gateway.errors import ConfigError, ProtocolViolation
from tests.site.raw_client import connect_body
from tests.unit.broker.ports import OpenDoor, plug

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.broker.connection import Connection
    from gateway.broker.packets import Connect
    from gateway.ingest.ingest import Message

_BROKER = BrokerConfig(packet_bytes_max=2048, topic_bytes_max=64, topic_levels_max=8)
"""Limits that a few bytes can reach."""


class Notes:
    """Fulfils what a connection asks of ingest: what it takes in is written down, and never full."""

    congested = False

    def __init__(self) -> None:
        self.taken: list[tuple[object, ...]] = []
        self.receipts = bytearray()
        self._inbound: set[tuple[str, int]] = set()

    def now(self) -> tuple[int, int]:
        return 0, 0

    def append(self, _wall_ns: int, _mono_ns: int, *message: object) -> int:
        self.taken.append(message)
        return len(self.taken)

    def append_run(self, _wall_ns: int, _mono_ns: int, client_id: str, messages: Sequence[Message]) -> None:
        self.taken += [(client_id, topic, 1, retain, payload) for topic, retain, payload in messages]

    def is_stored(self, client_id: str, topic: str, payload: bytes) -> bool:
        return any(
            (taken[0], taken[1], taken[4]) == (client_id, topic, payload)
            for taken in self.taken  # client, topic, QoS, retain, payload
        )

    def ask_receipt(self, _: object, receipt: bytes) -> None:
        self.receipts += receipt

    def is_repeat(self, client_id: str, packet_id: int) -> bool:
        return (client_id, packet_id) in self._inbound

    def mark(self, client_id: str, packet_id: int, seq: int) -> None:
        assert seq == len(self.taken)
        self._inbound.add((client_id, packet_id))

    def release(self, client_id: str, packet_id: int) -> None:
        self._inbound.discard((client_id, packet_id))

    def forget(self, _: object) -> None:
        """A connection is gone."""


class Answering(OpenDoor):
    """Lets everybody in, and has every SUBSCRIBE and UNSUBSCRIBE answered at once."""

    def control(self, connection: Connection, packet: bytes) -> None:
        super().control(connection, packet)
        connection.answered()

    def connecting(self, connection: Connection, connect: Connect) -> None:
        assert connection.connect is None, "two CONNECT were taken"
        super().connecting(connection, connect)


def framing(data: bytes) -> None:
    """What a connection makes of bytes does not depend on how they were cut, and nothing follows a violation."""
    step, stream = 1 + data[0] % 16 if data else 1, data[1:]
    whole = _outcome([stream])
    assert whole == _outcome([stream[at : at + step] for at in range(0, len(stream), step)])


def _outcome(pieces: list[bytes]) -> tuple[object, ...]:
    owner, notes = Answering(), Notes()
    connection, socket = plug(owner, notes, _BROKER)  # type: ignore[arg-type]
    for piece in pieces:
        if not socket.ended:
            connection.data_received(piece)
    assert not connection.violation or socket.ended, "a violation does not end its connection"
    assert owner.connects or not (notes.taken or notes.receipts or owner.controls), "something came before CONNECT"
    return (
        owner.connects,
        owner.controls,
        notes.taken,
        bytes(notes.receipts),
        bytes(socket.written),
        socket.ended,
        connection.violation,
        connection.left_cleanly,
    )


def connect(data: bytes) -> None:
    """The body of a CONNECT is a violation, or of another protocol, or has one meaning: written anew it is the same."""
    try:
        found = packets.read_connect(data)
    except ProtocolViolation:
        return
    if (found.protocol, found.level) != ("MQTT", 4):
        return
    written = connect_body(
        found.client_id,
        clean=found.clean_session,
        keep_alive_s=found.keep_alive_s,
        username=found.username,
        password=found.password,
        will=found.will,
    )
    assert written == data


_FOLDER = tempfile.TemporaryDirectory(prefix="gateway-fuzz-")


def configuration(data: bytes) -> None:
    """A file is a mistake that is told with the file's name, or a configuration that a gateway can begin with."""
    if b"model" in data:  # names Python code of the operator's, which is run; no code is to be found by chance
        return
    path = Path(_FOLDER.name) / "gateway.toml"
    path.write_bytes(data)
    try:
        config = load.load(path, {})
    except ConfigError as error:
        if not str(error).startswith("/"):
            raise AssertionError("a mistake without the name of its file") from error
        return
    contracts_of(config.contracts, config.ingest.without_contract).judge("sensors/t1/temperature", data)
    assert all(0 <= address.port <= 65_535 for address in config.broker.addresses())
    rights = Rights(config.rights, config.roles, is_local=config.broker.is_local())
    for role in [None, *config.roles]:
        assert not rights.of(Identity("device", "device", role)).may_publish("$SYS/broker")


TARGETS: dict[str, Callable[[bytes], None]] = {"framing": framing, "connect": connect, "configuration": configuration}
