"""`gateway init`: a site's own authority, a certificate for this gateway, and a configuration that is safe at once.

Nothing that exists is overwritten; `--renew` replaces one file, the certificate of the server, in one step.
"""

from __future__ import annotations

import grp
import ipaddress
import json
import os
import re
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.health.clocksync import BUILT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.cli.site_ca import Pair

_DEFAULT_DIR = Path("/etc/gateway")
_GROUP = "gateway"
"""Of the user the service runs as (systemd/gateway.sysusers)."""
_PUBLIC, _SERVICE, _SECRET = 0o644, 0o640, 0o600

_CONFIG = """\
# Made by `gateway init`. Every key: docs/configuration.md; `gateway check` tells what is wrong.

[gateway]
id = {id}
data_dir = {data_dir}

[broker]
# TLS for devices; without it only for programs on this machine. Both ask for a login: `gateway devices add NAME`.
listen = ["mqtts://0.0.0.0:8883", "mqtt://127.0.0.1:1883"]
allow_anonymous = false

[broker.tls]
certificate = {certificate}
key = {key}

# Where events go; without an upstream they are only stored.
# [upstreams.cloud]
# type = "mqtt"
# url = "mqtts://broker.example"
# username = "gateway-1"
# password_file = "cloud-password"   # a path, or the name of a systemd credential
"""


def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the files go.")] = _DEFAULT_DIR,
    renew: Annotated[
        bool, typer.Option("--renew", help="Only make a new server certificate, for the same key.")
    ] = False,
    names: Annotated[
        list[str] | None, typer.Option("--name", help="One more host name of this gateway; may be repeated.")
    ] = None,
    addresses: Annotated[
        list[str] | None, typer.Option("--address", help="An IP address of this gateway; may be repeated.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="DIR", help="Where ca.key is, if it was moved away from DIR/ca.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=7300, help="How long the certificate is valid.")] = 1825,
) -> None:
    """Make an authority for this site, a server certificate and a safe configuration; nothing is overwritten."""
    now_s = SystemClock().wall_ns() / 1e9
    if now_s < BUILT.timestamp():
        raise ConfigError(
            f"the clock of this machine shows {datetime.fromtimestamp(now_s, UTC):%Y-%m-%d}, which cannot be",
            "Set it first: a certificate made now would be valid at the wrong time.",
        )
    given = [_host_name(name) for name in names or []] + [_address(text) for text in addresses or []]
    directory = directory.absolute()
    if renew:
        _renew(directory, ca or directory / "ca", given, now_s, days)
    else:
        _begin(directory, ca or directory / "ca", given, now_s, days)


def _begin(directory: Path, ca: Path, given: list[str], now_s: float, days: int) -> None:
    from gateway.cli import site_ca  # noqa: PLC0415 - 15 MB that no other command needs

    host = _own_name()
    names = [host, *([] if "." in host else [f"{host}.local"]), *given]
    authority = site_ca.make_authority(f"Site authority of {host}"[:64], now_s)
    server = site_ca.issue(authority, host[:64], names, "server", now_s, days)
    config = _CONFIG.format(
        id=json.dumps(re.sub(r"[^A-Za-z0-9._-]|^[._-]", "-", host).strip("-")[:64] or "gateway"),
        data_dir=json.dumps("/var/lib/gateway" if directory == _DEFAULT_DIR else str(directory / "data")),
        certificate=json.dumps(str(directory / "server.crt")),
        key=json.dumps(str(directory / "server.key")),
    )
    _write_new(
        [
            (ca / "ca.key", authority.key, _SECRET),
            (directory / "ca.crt", authority.certificate, _PUBLIC),
            (directory / "server.key", server.key, _SERVICE),
            (directory / "server.crt", server.certificate, _PUBLIC),
            (directory / "gateway.toml", config.encode(), _SERVICE),
        ]
    )
    option = "" if directory == _DEFAULT_DIR else f" --config {directory / 'gateway.toml'}"
    typer.echo(
        f"""Made in {directory}:
  ca.crt         the authority of this site: copy it to every device, as the one to trust
  server.crt     this gateway as {", ".join(names)}; valid for {days:,} days
  server.key     its private key
  gateway.toml   TLS on port 8883 for devices, port 1883 for this machine only, nobody without a login
  {ca / "ca.key"}
                 the authority's private key: whoever has it can pass for this gateway. Move it to a safe place;
                 only `gateway init --renew` needs it again.
Next:
  gateway devices add NAME{option}   gives a device its login
  gateway check{option}
  systemctl restart gateway"""
    )
    if (directory / "server.key").stat().st_mode & 0o777 == _SECRET and os.geteuid() == 0:
        typer.echo(
            f"There is no group {_GROUP}, so only root can read server.key and gateway.toml. "
            f"Once the service is installed: chgrp {_GROUP} and chmod 640 both."
        )


def _renew(directory: Path, ca: Path, given: list[str], now_s: float, days: int) -> None:
    from gateway.cli import site_ca  # noqa: PLC0415 - as above

    path = directory / "server.crt"
    authority = site_ca.Pair(_read(directory / "ca.crt"), _read(ca / "ca.key", "Name its folder with --ca DIR."))
    try:
        host, names = site_ca.names_in(_read(path))
        names = list(dict.fromkeys([*names, *given]))
        renewed = site_ca.issue(authority, host, names, "server", now_s, days, _read(directory / "server.key"))
    except ValueError as error:
        raise ConfigError(f"{directory}: cannot renew: {error}", "Were these files made by `gateway init`?") from error
    _replace(path, renewed)
    typer.echo(
        f"""Renewed {path}: {", ".join(names)}; valid for {days:,} days, at most as long as the authority.
Next:
  systemctl reload gateway   has it shown to devices that connect from then on"""
    )


# --- names ---


def _own_name() -> str:
    name = socket.gethostname().lower()
    return name if re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", name) else "gateway"


def _host_name(text: str) -> str:
    try:
        name = text.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not re.fullmatch(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?", name):
        raise ConfigError(f"--name {text!r} is no host name", "Addresses are given by --address.")
    return name


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ConfigError(f"--address {text!r} is no IP address", "Host names are given by --name.") from error


# --- files ---


def _read(path: Path, hint: str = "`gateway init` without --renew makes it.") -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file", hint) from error


def _write_new(files: Sequence[tuple[Path, bytes, int]]) -> None:
    """Write all of them or none."""
    for path, _, _ in files:
        if path.is_symlink() or path.exists():
            raise ConfigError(
                f"{path} exists; nothing was changed",
                "A new server certificate: gateway init --renew. To begin anew, move the old files away first.",
            )
    made: list[Path] = []
    try:
        for path, content, mode in files:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if mode == _SECRET else 0o755)
            _write(path, content, mode)
            made.append(path)
    except OSError as error:
        for path in made:
            path.unlink()
        if isinstance(error, PermissionError):
            raise
        raise ConfigError(f"{path}: {error.strerror}; nothing was changed") from error


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is not there yet; nobody but its owner can read it before it has its mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if mode == _SERVICE:
                mode = _give_to_service(file.fileno())
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def _give_to_service(descriptor: int) -> int:
    """Let the group of the service own a file, if we can; the mode that is safe then."""
    try:
        os.fchown(descriptor, -1, grp.getgrnam(_GROUP).gr_gid)
    except (KeyError, PermissionError):  # not installed (yet), or not root
        return _SECRET
    return _SERVICE


def _replace(path: Path, renewed: Pair) -> None:
    """Put a certificate in the place of the old one, at once."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    _write(beside, renewed.certificate, _PUBLIC)
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
