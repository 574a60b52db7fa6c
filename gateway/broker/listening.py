"""Sockets that devices connect to: inherited where systemd kept them, else bound."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.broker.config import Listen
    from gateway.health.keptsockets import KeptSockets

BACKLOG = 1024
"""Connections that wait in the kernel until they are accepted, also while the gateway restarts."""


class _Wanted(NamedTuple):
    address: Listen
    family: int
    sockaddr: Any


async def listen(addresses: Iterable[Listen], kept: KeptSockets | None = None) -> list[tuple[Listen, socket.socket]]:
    """Listen on every address of `addresses`; a name may stand for several. New sockets are handed to `kept`.

    Raises:
        ConfigError: an address cannot be listened on, or a socket was inherited that none of them names.
    """
    wanted = [each for address in addresses for each in await _resolve(address)]
    if kept is None:
        return [(each.address, _bind(each)) for each in wanted]
    claimed = [kept.claim(each.family, each.sockaddr) for each in wanted]
    store_is_empty = kept.release(each.address for each in wanted)
    sockets = [found or _bind(each) for each, found in zip(wanted, claimed, strict=True)]
    kept.keep(each for each, found in zip(sockets, claimed, strict=True) if found is None or store_is_empty)
    return [(each.address, listening) for each, listening in zip(wanted, sockets, strict=True)]


async def _resolve(address: Listen) -> list[_Wanted]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise _cannot(address, error) from error
    return [
        _Wanted(address, family, sockaddr) for family, sockaddr in dict.fromkeys((each[0], each[4]) for each in found)
    ]


def _bind(wanted: _Wanted) -> socket.socket:
    listening = None
    try:
        listening = socket.socket(wanted.family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if wanted.family == socket.AF_INET6:  # else 0.0.0.0 beside it would be taken
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(wanted.sockaddr)
        listening.listen(BACKLOG)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise _cannot(wanted.address, error) from error
    return listening


def _cannot(address: Listen, error: OSError) -> ConfigError:
    return ConfigError(
        f"broker.listen: cannot listen on {address}: {error.strerror or error}",
        "Another program may use the port (see: ss -ltnp). Stop it, or write another one into broker.listen.",
    )
