"""Addresses of MQTT servers that we connect to: `mqtt://host:port`, and `mqtts://host:port` for TLS. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"mqtt": 1883, "mqtts": 8883}


class MqttAddress(NamedTuple):
    """Where a server is, and how it is spoken to."""

    host: str
    port: int
    tls: bool


def parse(url: str) -> MqttAddress:
    """Read an address.

    Raises:
        ValueError: it is none, with what to write instead.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is no MQTT address: write mqtt://host:port or mqtts://host:port")
    parts.hostname.encode("idna")  # raises for a name that no resolver would accept
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials do not belong into the URL: use username and password_file")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.port == 0:
        raise ValueError(f"{url!r} has more than a host and a port: write mqtt://host:port")
    return MqttAddress(parts.hostname, parts.port or _PORTS[parts.scheme], parts.scheme == "mqtts")
