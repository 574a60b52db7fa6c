"""Real peers for the conformance suite: one class per kind of upstream, all with the same few methods."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.site.mosquitto_process import MosquittoProcess


class Arrival(NamedTuple):
    """One event as an independent client got it from the peer."""

    event_id: str
    topic: str
    payload: bytes


class Peer(Protocol):
    """What the suite asks of a peer. A new kind of upstream adds a class, and a line in `conftest.py`."""

    port: int
    arrivals: list[Arrival]
    poison: bytes
    """A payload that the peer can never take."""

    def start(self) -> None: ...
    def stop(self) -> None:
        """End it at once; what it has acknowledged it keeps."""

    def revoke(self) -> None:
        """Take from the gateway the right to send."""

    def restore(self) -> None: ...
    def config(self, port: int) -> Mapping[str, object]:
        """An `[upstreams.<name>]` section that leads to the peer by way of `port`."""

    def close(self) -> None: ...


class MosquittoPeer:
    """Mosquitto with an ACL file, and Paho as its subscriber."""

    poison = b"p" * 20_000
    _ACL = "user receiver\ntopic read #\n"
    _GATEWAY_ACL = "user gateway\ntopic write #\n"

    def __init__(self, folder: Path, make: Callable[..., MosquittoProcess]) -> None:
        self._acl_file = folder / "acl"
        self._acl_file.write_text(self._ACL + self._GATEWAY_ACL, encoding="ascii")
        self._acl_file.chmod(0o600)
        self._mosquitto = make(
            config=f"acl_file {self._acl_file}\nmessage_size_limit 10000\npersistence true\n"
            f"persistence_location {folder}/\nmax_inflight_messages 100\n"
        )
        self.port = self._mosquitto.port
        self.arrivals: list[Arrival] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="receiver", protocol=paho.MQTTv5)
        self._client.username_pw_set("receiver")
        self._client.reconnect_delay_set(0.05, 0.05)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def start(self) -> None:
        self._mosquitto.start()
        if not self._subscribed.is_set():
            session = Properties(PacketTypes.CONNECT)
            session.SessionExpiryInterval = 600
            self._client.connect("127.0.0.1", self.port, clean_start=False, properties=session)
            self._client.loop_start()
            assert self._subscribed.wait(10)

    def stop(self) -> None:
        # Mosquitto writes down what it has acknowledged when it is told to end, and never before.
        self._mosquitto.stop()

    def revoke(self) -> None:
        self._set_acl(self._ACL)

    def restore(self) -> None:
        self._set_acl(self._ACL + self._GATEWAY_ACL)

    def config(self, port: int) -> Mapping[str, object]:
        return {"type": "mqtt", "url": f"mqtt://127.0.0.1:{port}", "username": "gateway"}

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _set_acl(self, text: str) -> None:
        self._acl_file.write_text(text, encoding="ascii")
        assert self._mosquitto.process is not None
        self._mosquitto.process.send_signal(signal.SIGHUP)

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        client.subscribe("#", qos=1)

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        properties = dict(message.properties.UserProperty)
        self.arrivals.append(Arrival(properties["id"], message.topic, message.payload))


class Proxy:
    """Stands between a gateway and a peer, so that a test can cut, hold and swallow what flows."""

    def __init__(self, peer_port: int) -> None:
        self._peer_port = peer_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.swallow_answers_after: int | None = None
        """Bytes of answers that are let through on each connection; None: all."""
        self.port = 0
        self.swallowed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()
        await self._server.wait_closed()

    async def cut(self) -> None:
        """Reset every connection; when it returns, nothing flows and nothing has been swallowed."""
        cut = set(self._writers)
        for writer in cut:
            writer.transport.abort()
        while cut & self._writers:
            await asyncio.sleep(0)
        self.swallowed.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            peer_reader, peer_writer = await asyncio.open_connection("127.0.0.1", self._peer_port)
        except OSError:
            writer.transport.abort()
            return
        mine = {writer, peer_writer}
        self._writers |= mine
        try:
            await asyncio.gather(
                self._pump(reader, peer_writer), self._pump(peer_reader, writer, self.swallow_answers_after)
            )
        except OSError:
            pass
        finally:
            for each in mine:
                each.transport.abort()
            self._writers -= mine

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_max: int | None = None
    ) -> None:
        left = bytes_max
        while data := await reader.read(65_536):
            if left is not None:
                passed, left = data[:left], max(0, left - len(data))
                if len(passed) < len(data):
                    self.swallowed.set()
                data = passed
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError
