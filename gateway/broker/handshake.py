"""TLS between a socket and what is spoken inside: handshake, then bytes in and out of `ssl`'s sans-I/O core.

What is inside (a `Connection`, or a WebSocket around one) begins to exist when the handshake is over, so that a client
without a valid certificate never gets as far as CONNECT. Handshakes under way are limited in number, in time and in
bytes; they take turns in the order they began: when there are too many, the oldest goes.

Not asyncio's own TLS: it keeps 256 KB for each connection, and tells nobody of a handshake that fails.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from gateway.broker.limits import House
from gateway.broker.reading import BufferedReader
from gateway.broker.tls import ServerTls, TlsStatus
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.broker.config import BrokerConfig
    from gateway.broker.reading import ReadBuffer
    from gateway.certificates import Certificate

_HANDSHAKE_BYTES_MAX = 32 * 1024
"""What a client may send before the handshake is over; a certificate with its chain has about 4 KB."""
_RECORD_BYTES_MAX = 5 + 16 * 1024 + 2048
"""RFC 5246 section 6.2.3: more than this without a whole record is none."""

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
        self._failed = self._given_up = self._told = 0
        self._last_failure = ""

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, server: TlsServer) -> None:
        """One more, if there is room for a connection; the oldest is given up if that is too many."""
        if why := self._house.enter(server, server.peer):
            server.abort(why)
            return
        self._under_way[server] = self._now()
        if len(self._under_way) > self._at_once_max:
            self._give_up(next(iter(self._under_way)), "too many handshakes were under way")

    def over(self, server: TlsServer) -> None:
        """A handshake has ended, well or not."""
        self._under_way.pop(server, None)
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

    def _give_up(self, server: TlsServer, reason: str) -> None:
        self._given_up += 1
        self._last_failure = f"{server.peer}: {reason}"
        self.over(server)
        server.abort(reason)


class TlsTransport(asyncio.Transport):
    """Looks like a socket to what is inside; what is written goes out encrypted."""

    def __init__(
        self, socket: asyncio.Transport, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO, name: str | None
    ) -> None:
        super().__init__()
        self._socket = socket
        self._tls = tls
        self._outgoing = outgoing
        self._name = name

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the socket knows; `certificate_name` is who the client is, if it had to show a certificate."""
        return self._name if name == "certificate_name" else self._socket.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; nothing happens if the socket is closing."""
        if self._socket.is_closing():
            return
        left = memoryview(data)
        try:
            while left:
                left = left[self._tls.write(left) :]
        except ssl.SSLError:  # the client broke TLS, which the next read tells
            return
        self.flush()

    def flush(self) -> None:
        """Write whatever TLS has to say."""
        data = self._outgoing.read()
        if data and not self._socket.is_closing():
            self._socket.write(data)

    def close(self) -> None:
        """Say goodbye and close the socket once it is out."""
        if self._socket.is_closing():
            return
        with suppress(ssl.SSLError):  # we do not wait for the client's goodbye
            self._tls.unwrap()
        self.flush()
        self._socket.close()

    def abort(self) -> None:
        """Close the socket at once."""
        self._socket.abort()

    def is_closing(self) -> bool:
        """Whether nothing more is read or written."""
        return self._socket.is_closing()

    def pause_reading(self) -> None:
        """Read no more from the socket."""
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Read from the socket again."""
        self._socket.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes not yet taken by the network."""
        return self._socket.get_write_buffer_size()


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
        "_handshakes",
        "_incoming",
        "_inside",
        "_make",
        "_outgoing",
        "_socket",
        "_terms",
        "_tls",
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
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = self._terms.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
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
        self._incoming.write(data)
        self._unread_bytes += len(data)
        if self._inside is None:
            self._shake_hands()
        if self._inside is not None:
            self._read(self._inside)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.flush()
        self._keep_bounded()

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

    def _shake_hands(self) -> None:
        if self._socket is None or self._socket.is_closing():
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._socket.write(self._outgoing.read())
            return
        except ssl.SSLError as error:
            self._refuse(_describe(error))
            return
        terms = self._terms
        name = terms.name_of(self._tls.getpeercert()) if terms.asks_for_certificate else None
        if terms.asks_for_certificate and name is None:
            self._refuse("the client's certificate does not name exactly one client")
            return
        self._handshakes.over(self)
        self._unread_bytes = 0
        self._transport = TlsTransport(self._socket, self._tls, self._outgoing, name)
        self._transport.flush()
        self._inside = self._make()
        self._inside.connection_made(self._transport)

    def _refuse(self, reason: str) -> None:
        """End the handshake; the client is told why, as far as TLS has words for it."""
        self._handshakes.over(self)
        self._handshakes.note_failure(reason, self.peer)
        if self._socket is not None:
            self._socket.write(self._outgoing.read())
            self._socket.close()

    def _read(self, inside: BufferedReader) -> None:
        """Hand on everything that can be decrypted now."""
        while self._transport is not None and not self._transport.is_closing():
            room, filled, is_over = self._read_buffer.lend(), 0, False
            try:
                while filled < len(room):
                    count = cast("int", self._tls.read(len(room) - filled, room[filled:]))  # with a buffer, it counts
                    is_over = not count
                    if is_over:
                        break
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
