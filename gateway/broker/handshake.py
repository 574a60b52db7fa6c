"""TLS between a socket and what is spoken inside: handshake, then bytes in and out of `ssl`'s sans-I/O core.

What is inside (a `Connection`, or a WebSocket around one) begins to exist when the handshake is over, so that a client
without a valid certificate never gets as far as CONNECT. Handshakes under way are limited in number, in time and in
bytes. Until its first record is whole, a client costs what it sends; from then on it costs 50 KB, so that few are let
as far at a time, and the others wait for their turn, which goes from address to address.

Not asyncio's own TLS: it keeps 256 KB for each connection, and tells nobody of a handshake that fails.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, cast

from gateway.broker.limits import House
from gateway.broker.reading import BufferedReader
from gateway.broker.throttle import Line, source_of
from gateway.broker.tls import ServerTls, TlsStatus
from gateway.broker.tls_transport import Engine, TlsTransport
from gateway.errors import ConfigError
from gateway.health.memory import give_back

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.broker.config import BrokerConfig
    from gateway.broker.reading import ReadBuffer
    from gateway.certificates import Certificate

_HANDSHAKE_BYTES_MAX = 32 * 1024
"""What a client may send before the handshake is over; a certificate with its chain has about 4 KB."""
_RECORD_BYTES_MAX = 5 + 16 * 1024 + 2048
"""RFC 5246 section 6.2.3: more than this without a whole record is none."""
_BURST = 50
"""After so many handshakes, what they took is given back to the system: it is more than the connections keep."""
_PATIENCE_S = 3.0
"""What a handshake may take while others wait for their turn; a small device computes for a second or two."""

logger = logging.getLogger(__name__)


class Handshakes:
    """The handshakes that are under way on all listeners, and how those before ended.

    Args:
        config: of the broker.
        now: monotonic seconds.
        house: where they count as connections.

    Raises:
        ConfigError: a file of certificates or keys is missing or cannot be used.
    """

    def __init__(self, config: BrokerConfig, now: Callable[[], float], house: House | None = None) -> None:
        self._house = house or House(config.connections_max, config.connections_per_address_max)
        self.tls = None if config.tls is None else ServerTls(config.tls)
        """What is shown and asked for; None without TLS."""
        self._at_once_max = config.tls_handshakes_max
        self._timeout_s = config.tls_handshake_timeout_s
        self._now = now
        self._under_way: dict[TlsServer, float] = {}
        """When each began; the oldest first."""
        self._having_turn: dict[TlsServer, float] = {}
        """Since when; the oldest first."""
        self._waiting: Line[TlsServer] = Line(config.connections_max)
        self._is_looking = False
        self._turns = 0
        """Given since memory was given back."""
        self._failed = self._given_up = self._told = 0
        self._last_failure = ""

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, server: TlsServer) -> None:
        """One more, if there is room for a connection."""
        if why := self._house.enter(server, server.peer):
            server.abort(why)
            return
        self._under_way[server] = self._now()

    def wait_for_turn(self, server: TlsServer) -> None:
        """Have its `go_on` called when it may go on."""
        crowded_out = self._waiting.add(source_of(server.peer), server)
        if crowded_out is not None:
            self._give_up(crowded_out, "too many waited")
        self._look_who_is_next()

    def over(self, server: TlsServer) -> None:
        """A handshake has ended, well or not."""
        self._under_way.pop(server, None)
        self._having_turn.pop(server, None)
        self._look_who_is_next()
        self._house.leave(server)

    def note_failure(self, reason: str, peer: str) -> None:
        """A handshake ended without a connection."""
        self._failed += 1
        self._last_failure = f"{peer}: {reason}"

    def sweep(self) -> None:
        """Give up those that take too long; to be called about once a second."""
        now_s = self._now()
        for server, began_s in list(self._under_way.items()):
            if now_s - began_s <= self._timeout_s:
                break
            self._give_up(server, "the handshake took too long")
        self._look_who_is_next()
        if self._turns > _BURST and not self._having_turn:
            self._turns = 0
            give_back()
        total = self._failed + self._given_up
        if total > self._told:
            self._told = total
            logger.warning(
                "TLS handshakes fail",
                extra={"failed": self._failed, "given_up": self._given_up, "last": self._last_failure},
            )

    def close(self) -> None:
        """Close what is under way."""
        for server in list(self._under_way):
            server.abort("the gateway stops")

    def reload(self) -> None:
        """Read certificates and keys again, for handshakes that begin from now on."""
        if self.tls is not None:
            self.tls.reload()

    @property
    def certificates(self) -> list[Certificate]:
        """The certificates in force."""
        return [] if self.tls is None else self.tls.certificates

    def status(self) -> dict[str, object] | None:
        """A look at them, as `TlsStatus`; None without TLS."""
        if self.tls is None:
            return None
        return TlsStatus(
            len(self._under_way), self._failed, self._given_up, self._last_failure, self.tls.reload_error
        )._asdict()

    def _look_who_is_next(self) -> None:
        if self._waiting and not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_soon(self._give_turn)

    def _give_turn(self) -> None:
        """Let one go on in each turn of the loop: it takes a millisecond of computing, and thousands may wait."""
        self._is_looking = False
        if len(self._having_turn) >= self._at_once_max and not self._end_a_turn():
            return
        server = self._waiting.take()
        while server is not None and server not in self._under_way:  # it has not waited for its turn
            server = self._waiting.take()
        if server is not None:
            self._having_turn[server] = self._now()
            self._turns += 1
            server.go_on()
        self._look_who_is_next()

    def _end_a_turn(self) -> bool:
        """Give up the handshake that has had its turn for longest, if that is long enough."""
        server, since_s = next(iter(self._having_turn.items()))
        if self._now() - since_s <= _PATIENCE_S:
            return False
        self._give_up(server, "the handshake took too long while others waited")
        return True

    def _give_up(self, server: TlsServer, reason: str) -> None:
        self._given_up += 1
        self._last_failure = f"{server.peer}: {reason}"
        self.over(server)
        server.abort(reason)


class TlsServer(BufferedReader):
    """One connection: the handshake, then what `make` makes is fed with what comes.

    Args:
        handshakes: where it counts until the handshake is over.
        make: makes what is inside.
        read_buffer: memory to read into.

    Raises:
        ConfigError: there is no certificate to show.
    """

    __slots__ = (
        "_engine",
        "_handshakes",
        "_hello",
        "_inside",
        "_make",
        "_socket",
        "_terms",
        "_transport",
        "_unread_bytes",
        "peer",
    )

    def __init__(self, handshakes: Handshakes, make: Callable[[], BufferedReader], read_buffer: ReadBuffer) -> None:
        super().__init__(read_buffer)
        if handshakes.tls is None:
            raise ConfigError("broker.tls: this section is missing")
        self._handshakes = handshakes
        self._terms = handshakes.tls
        self._make = make
        self._hello = b""
        self._engine: Engine | None = None
        """Made when the first record is whole: it takes 50 times as much memory as a connection that says nothing."""
        self._socket: asyncio.Transport | None = None
        self._transport: TlsTransport | None = None
        self._inside: BufferedReader | None = None
        self._unread_bytes = 0
        """Received since something could be made of it."""
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open; the handshake comes first."""
        self._socket = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self._handshakes.begin(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came: of the handshake, or of what is inside."""
        self._unread_bytes += len(data)
        if self._engine is not None:
            self._feed(self._engine, data)
        else:
            was_begun = _is_begun(self._hello)
            self._hello += data
            if not was_begun and _is_begun(self._hello):
                self._handshakes.wait_for_turn(self)
        self._keep_bounded()

    def go_on(self) -> None:
        """Its turn has come: begin to answer."""
        if self._socket is None or self._socket.is_closing():
            return
        hello, self._hello = self._hello, b""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._engine = Engine(self._terms.context.wrap_bio(incoming, outgoing, server_side=True), incoming, outgoing)
        self._feed(self._engine, hello)

    def _feed(self, engine: Engine, data: bytes) -> None:
        engine.incoming.write(data)
        if self._inside is None:
            self._shake_hands(engine)
        if self._inside is not None:
            self._read(engine.tls, self._inside)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._read_buffer.forget(self)
        self._handshakes.over(self)
        if self._inside is not None:
            self._inside.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read."""
        if self._inside is not None:
            self._inside.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._inside is not None:
            self._inside.resume_writing()

    def abort(self, reason: str) -> None:  # noqa: ARG002 - whoever gives it up has noted it
        """Close at once."""
        if self._socket is not None:
            self._socket.abort()

    def _shake_hands(self, engine: Engine) -> None:
        if self._socket is None or self._socket.is_closing():
            return
        try:
            engine.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._socket.write(engine.outgoing.read())
            return
        except ssl.SSLError as error:
            self._refuse(engine, _describe(error))
            return
        terms = self._terms
        name = terms.name_of(engine.tls.getpeercert()) if terms.asks_for_certificate else None
        if terms.asks_for_certificate and name is None:
            self._refuse(engine, "the client's certificate does not name exactly one client")
            return
        self._handshakes.over(self)
        self._unread_bytes = 0
        self._transport = TlsTransport(self._socket, engine, name)
        self._transport.flush()
        self._inside = self._make()
        self._inside.connection_made(self._transport)

    def _refuse(self, engine: Engine, reason: str) -> None:
        """End the handshake; the client is told why, as far as TLS has words for it."""
        self._handshakes.over(self)
        self._handshakes.note_failure(reason, self.peer)
        if self._socket is not None:
            self._socket.write(engine.outgoing.read())
            self._socket.close()

    def _read(self, tls: ssl.SSLObject, inside: BufferedReader) -> None:
        """Hand on everything that can be decrypted now."""
        while self._transport is not None and not self._transport.is_closing():
            room, filled, is_over = self._read_buffer.lend(), 0, False
            try:
                while filled < len(room) and not is_over:
                    count = cast("int", tls.read(len(room) - filled, room[filled:]))  # with a buffer, it counts
                    is_over = not count
                    filled += count
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:  # the client said goodbye, or what came is no TLS
                is_over = True
            if filled:
                self._unread_bytes = 0
                inside.data_received(self._read_buffer.take(filled))
            if is_over:
                self._transport.close()
            if filled < len(room):
                return

    def _keep_bounded(self) -> None:
        """What waits for the rest of a record, or of a handshake, is part of a limit for all connections."""
        self._read_buffer.note(self, self._unread_bytes, anew=False)
        if self._unread_bytes > (_HANDSHAKE_BYTES_MAX if self._inside is None else _RECORD_BYTES_MAX):
            self.abort("more bytes than TLS needs")


def _describe(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate is not accepted: {error.verify_message}"
    return (error.reason or str(error)).lower().replace("_", " ")


def _is_begun(data: bytes) -> bool:
    """Whether OpenSSL can make something of it: a whole record, or what is none (RFC 8446 section 5.1)."""
    if data[:2] != b"\x16\x03"[: len(data)]:
        return True
    length = int.from_bytes(data[3:5])
    return len(data) >= 5 and len(data) >= min(5 + length, _RECORD_BYTES_MAX)
