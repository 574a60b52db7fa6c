"""A gateway with TLS listeners, and the certificates of its site."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.site.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.certificates import SiteCertificates
    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]


def tls_section(site: SiteCertificates, **options: str) -> str:
    keys = {"certificate": str(site.folder / "server.crt"), "key": str(site.folder / "server.key"), **options}
    return "[broker.tls]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


class Guarded:
    """A gateway with listeners `mqtts` and `wss`, and `mqtt` beside them."""

    def __init__(self, make: Gateways, site: SiteCertificates, broker: str = "", **tls: str) -> None:
        if not (site.folder / "server.crt").exists():
            site.server()
        self.port, self.tls_port, self.wss_port = free_port(), free_port(), free_port()
        listen = [f"{kind}://127.0.0.1:{port}" for kind, port in self.ports.items()]
        lines = f"listen = {json.dumps(listen)}\n{broker or 'allow_anonymous = true'}\n{tls_section(site, **tls)}"
        self.gateway = make(broker=lines)
        self.site = site

    @property
    def ports(self) -> dict[str, int]:
        return {"mqtt": self.port, "mqtts": self.tls_port, "wss": self.wss_port}

    def tls(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.status()["broker"]["tls"]
        return found
