"""Keys of every upstream that is reached through TLS; what they mean is done by `gateway.client_tls`."""

from __future__ import annotations

from gateway.client_tls import ClientTlsConfig
from gateway.forward.config import UpstreamConfig


class TlsUpstreamConfig(UpstreamConfig, ClientTlsConfig):
    """An upstream's section with the keys of TLS."""
