"""Plays cases: real clients on real sockets before one gateway."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import Self

from tests.conformance.broker import steps
from tests.conformance.broker.steps import Answer, Delivery
from tests.site.raw_client import CONNACK, PINGRESP, PUBLISH, RawClient, acknowledge, packet, publish
from tests.site.raw_client import Packet as Received


class Stage:
    """Clients of one case by name; a context manager that closes them all."""

    def __init__(self, port: int, tag: str, bystander: RawClient) -> None:
        self._port = port
        self._tag = tag
        self._bystander = bystander
        self._clients: dict[str, RawClient] = {}
        self._ids: dict[str, int] = {}
        self._at_the_end = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._at_the_end.close()

    def play(self, case: steps.Case) -> None:
        """Raises AssertionError where the gateway does something else than the case says."""
        for number, step in enumerate(case.steps):
            try:
                self._do(step)
            except (AssertionError, OSError) as error:
                raise AssertionError(f"step {number}, {step}: {error}") from error

    @functools.singledispatchmethod
    def _do(self, step: steps.Step) -> None:
        raise NotImplementedError(step)

    @_do.register
    def _(self, step: steps.Send) -> None:
        self._client(step.who).send(b"".join(self._bytes(each) for each in step.what))

    @_do.register
    def _(self, step: steps.Trickle) -> None:
        for byte in self._bytes(step.data):
            self._client(step.who).send(bytes([byte]))

    @_do.register
    def _(self, step: steps.Expect) -> None:
        wanted = list(step.what)
        while wanted:
            got = self._client(step.who).read()
            assert got is not None, f"the connection was closed; still expected: {wanted}"
            fitting = [each for each in (wanted[:1] if step.ordered else wanted) if self._fits(got, each)]
            assert fitting, f"{_shown(got)} came; expected: {wanted}"
            wanted.remove(fitting[0])

    @_do.register
    def _(self, step: steps.Closed) -> None:
        got = self._clients.pop(step.who).read()
        assert got is None, f"{_shown(got)} came instead of the end"

    @_do.register
    def _(self, step: steps.Refused) -> None:
        client = self._clients.pop(step.who)
        got = client.read()
        if got is not None:
            assert (got.kind, got.body[:1], got.body[1] > 0) == (CONNACK, b"\0", True), _shown(got)
            got = client.read()
            assert got is None, f"{_shown(got)} came instead of the end"

    @_do.register
    def _(self, step: steps.Settled) -> None:
        self._client(step.who).read()

    @_do.register
    def _(self, step: steps.Alive) -> None:
        self._client(step.who).send(steps.PINGREQ)
        self._do(steps.expect(step.who, packet(PINGRESP << 4)))

    @_do.register
    def _(self, step: steps.Drained) -> None:
        client = self._client(step.who)
        client.send(steps.PINGREQ)
        while (got := client.read()) is not None and got.kind != PINGRESP:
            pass
        assert got is not None, "the connection was closed"

    @_do.register
    def _(self, step: steps.Vanish) -> None:
        client = self._clients.pop(step.who)
        if step.reset:
            client.reset()
        else:
            client.socket.close()

    @_do.register
    def _(self, step: steps.Fence) -> None:
        self._bystander.publish(f"{self._tag}/fence", b"")
        got = self._client(step.who).read()
        assert got is not None, "the connection was closed"
        assert (got.kind, got.body[2:12]) == (PUBLISH, f"{self._tag}/fence".encode()), f"{_shown(got)} came"

    @_do.register
    def _(self, step: steps.Distinct) -> None:
        assert len({self._ids[name] for name in step.names}) == len(step.names), self._ids

    def _client(self, who: str) -> RawClient:
        if who not in self._clients:
            self._clients[who] = self._at_the_end.enter_context(RawClient(self._port))
        return self._clients[who]

    def _bytes(self, what: bytes | Answer) -> bytes:
        if isinstance(what, Answer):
            return acknowledge(what.kind, self._ids[what.name])
        return what.replace(steps.CASE.encode(), self._tag.encode())

    def _fits(self, got: Received, wanted: steps.Packet) -> bool:
        if not isinstance(wanted, Delivery):
            return _encoded(got) == self._bytes(wanted)
        if got.kind != PUBLISH:
            return False
        topic = wanted.topic.replace(steps.CASE, self._tag)
        packet_id = 0
        if wanted.qos:
            start = 2 + len(topic.encode())
            packet_id = int.from_bytes(got.body[start : start + 2])
        fits = _encoded(got) == publish(
            topic, wanted.payload, wanted.qos, packet_id, retain=wanted.retain, duplicate=wanted.duplicate
        )
        if not fits or not wanted.qos:
            return fits
        return packet_id != 0 and (not wanted.name or self._ids.setdefault(wanted.name, packet_id) == packet_id)


def _encoded(got: Received) -> bytes:
    return packet(got.kind << 4 | got.flags, got.body)


def _shown(got: Received) -> str:
    return f"packet {_encoded(got)!r}"
