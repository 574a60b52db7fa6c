"""Certificates for tests, made anew by the same code as those of `gateway init`."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING

from gateway.cli import site_ca

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400


class SiteCertificates:
    """An authority with files below `folder`: `ca.crt`, `<name>.crt`, `<name>.key`."""

    def __init__(self, folder: Path, authority: str = "test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = site_ca.make_authority(authority, time.time() - 300 * DAY_S)
        self.ca_path = folder / "ca.crt"
        self.ca_path.write_bytes(self.authority.certificate)

    def issue(
        self,
        name: str,
        purpose: str = "client",
        *,
        common_name: str | None = None,
        alternatives: tuple[str, ...] = (),
        began_days_ago: float = 1,
        days: int = 90,
    ) -> tuple[Path, Path]:
        """Certificate and key, in files of this name, which are replaced if they are there."""
        now_s = time.time() - began_days_ago * DAY_S
        common_name = name if common_name is None else common_name
        pair = site_ca.issue(self.authority, common_name, alternatives, purpose, now_s, days)  # type: ignore[arg-type]
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        for path, content in zip(paths, pair, strict=True):
            path.write_bytes(content)
        return paths

    def server(self, name: str = "server", **options: object) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1."""
        return self.issue(name, "server", alternatives=("127.0.0.1",), **options)  # type: ignore[arg-type]

    def trusting(self, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """What a client needs that trusts this authority, with its own certificate if it has one."""
        context = ssl.create_default_context(cafile=str(self.ca_path))
        if client is not None:
            context.load_cert_chain(*client)
        return context
